"""Reading clips from video files with PyAV."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from train.data.adapters._dataset import Opening
from train.data.adapters._files import existing
from train.data.adapters._frames import Frames, uniform
from train.data.sample import Clip


def read_video(opening: Opening, path: Path) -> Frames:
    """Read `opening.num_frames` frames of a video of a data set; raises as `read_frames` does."""
    return read_frames(existing(opening, path, "a video"), opening.num_frames)


def read_frames(path: Path, num_frames: int | None) -> Frames:
    """Decode frames spread evenly over a video.

    Frames are counted in the container and decoded from the start, so that numbers are exact whatever key frames,
    frame rate and time stamps are. A rotation that the file asks for is applied.

    Args:
        path: any file that FFmpeg reads.
        num_frames: how many at most; None: all.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no video, it ends before its last frame, or its frames differ in size.
    """
    try:
        numbers = uniform(_count(path), num_frames)
        return Frames(_decode(path, numbers), numbers)
    except FileNotFoundError:  # PyAV's is an FFmpegError as well
        raise
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be decoded ({error})") from error


def _count(path: Path) -> int:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path}: got no video stream, expected one")
        packets = container.demux(container.streams.video[0])
        # The last packet is empty: it flushes the decoder. Discarded ones are cut off by an edit list.
        count = sum(packet.size > 0 and not packet.is_discard for packet in packets)
    if not count:
        raise ValueError(f"{path}: got no frames, expected a video")
    return count


def _decode(path: Path, numbers: npt.NDArray[np.int64]) -> Clip:
    wanted = set(numbers.tolist())
    frames: list[npt.NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                # Phones film sideways and say so; both angles are counterclockwise.
                frames.append(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))
            if len(frames) == len(wanted):
                break
    if len(frames) < len(wanted):
        got = f"got {len(frames)} of the frames {numbers.tolist()}"
        raise ValueError(f"{path}: {got}; the video ends before the last one")
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{path}: got frames of different sizes, expected one size")
    return np.stack(frames)
