"""Videos as bytes: decoding what strangers send, encoding what we made.

MP4 (and MOV), WebM (and Matroska) and GIF are read, through PyAV. The container is told from the first bytes and named
to FFmpeg, which therefore never guesses a format that opens other files. Size and length are checked on the header
where it tells them, and again on what is decoded; files are read from memory only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from vitron.frames import sample_numbers
from vitron.media import MediaError
from vitron.types import Clip

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_FORMATS = ("mp4", "webm", "gif")
_DEMUXERS = {"mp4": "mp4", "webm": "matroska", "gif": "gif"}
_DEFAULT_FPS = Fraction(8)
_MAX_FPS = 240
# Of what is larger than this (and than the limit), FFmpeg tells no size; its first frame takes 64 MiB.
_PROBED_PIXELS = 4096 * 4096


@dataclass(frozen=True, kw_only=True)
class VideoLimits:
    """What a video may be.

    Attributes:
        max_bytes: size of the encoded file.
        max_pixels: width times height of a frame.
        max_frames: frames in the file.
        max_seconds: length.
        max_decoded_bytes: size of the frames that are kept, as RGB.
        formats: some of `VIDEO_FORMATS`.
    """

    max_bytes: int = 100 * 2**20
    max_pixels: int = 4096 * 2304
    max_frames: int = 3600
    max_seconds: float = 120.0
    max_decoded_bytes: int = 2**30
    formats: tuple[str, ...] = VIDEO_FORMATS

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_frames", "max_seconds", "max_decoded_bytes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number above 0")
        unknown = sorted(set(self.formats) - set(VIDEO_FORMATS))
        if unknown or not self.formats:
            raise ValueError(f"formats: got {unknown}, expected some of {', '.join(VIDEO_FORMATS)}")


class VideoInfo(NamedTuple):
    """What a file holds: its format, and size, number and rate of its frames."""

    format: str
    width: int
    height: int
    num_frames: int
    fps: float

    @property
    def seconds(self) -> float:
        """Length by number and rate of frames."""
        return self.num_frames / self.fps


def probe(data: bytes, limits: VideoLimits | None = None) -> VideoInfo:
    """Say what a file holds without decoding it.

    Frames are counted in the container: headers lie, and WebM has no number in them.

    Raises:
        MediaError: 413 too large or too long, 415 not a format of `limits`, 400 empty or broken.
    """
    limits = limits or VideoLimits()
    name = _sniff(data, limits)
    with _opened(data, name, limits) as container:
        stream = _stream(container, limits)
        count = 0
        for packet in container.demux(stream):
            # The last packet is empty: it flushes the decoder. Discarded ones are cut off by an edit list.
            count += packet.size > 0 and not packet.is_discard
            if packet.is_corrupt:
                raise _broken("a frame is cut off")
            if count > limits.max_frames:
                raise _too_long(f"more than {limits.max_frames} frames", limits)
        if not count:
            raise _broken("it has no frames")
        if stream.frames > count:
            raise _broken(f"it ends after {count} of {stream.frames} frames")
        fps = float(_rate(stream))
        info = VideoInfo(name, stream.codec_context.width, stream.codec_context.height, count, fps)
        _check_length(max(info.seconds, _stated_seconds(container, stream)), limits)
        return info


def decode_clip(
    data: bytes,
    limits: VideoLimits | None = None,
    *,
    max_frames: int | None = None,
    keep: Collection[int] = (),
) -> Clip:
    """Decode a video, or frames spread evenly over it.

    Args:
        data: the encoded file.
        limits: what is accepted; None: `VideoLimits()`.
        max_frames: how many frames at most; None: all.
        keep: numbers of frames that must be among them.

    Returns:
        The frames as shown, RGB, with their numbers.

    Raises:
        MediaError: 413 too large or too long, 415 not a format of `limits`, 400 empty, broken or cut off, or a frame
            of `keep` that is not there.
    """
    limits = limits or VideoLimits()
    info = probe(data, limits)
    missing = sorted(number for number in keep if not 0 <= number < info.num_frames)
    if missing:
        raise MediaError(400, "video_frame_missing", f"video: has {info.num_frames} frames, no frame {missing[0]}")
    count = info.num_frames if max_frames is None else max_frames
    numbers = sample_numbers(range(info.num_frames), count, keep)
    size = len(numbers) * info.width * info.height * 3
    if size > limits.max_decoded_bytes:
        raise MediaError(
            413,
            "video_too_many_pixels",
            f"video: got {len(numbers)} frames of {info.width} x {info.height} pixels ({size} bytes), "
            f"expected at most {limits.max_decoded_bytes} bytes",
        )
    with _opened(data, info.format, limits) as container:
        frames = _decode(container, limits, numbers)
    return Clip(frames=frames, numbers=numbers, fps=info.fps)


def encode_mp4(frames: npt.NDArray[np.uint8], fps: float = 8.0, crf: int = 16) -> bytes:
    """Encode frames as H.264 that every browser plays: yuv420p, index first.

    Odd sides are made even by repeating the last column or row, as yuv420p needs.

    Args:
        frames: `uint8 [T, height, width, 3]`.
        fps: frames per second, at most 240.
        crf: x264's constant rate factor from 0 (best) to 51.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ValueError(f"frames: got {frames.dtype} {list(frames.shape)}, expected uint8 [T, height, width, 3]")
    if not 0 < fps <= _MAX_FPS or not 0 <= crf <= 51:
        raise ValueError(f"fps, crf: got {fps}, {crf}, expected fps above 0 to {_MAX_FPS}, crf 0 to 51")
    height, width = frames.shape[1:3]
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    # The index can be put first only in a file that can be read again.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.width, stream.height, stream.pix_fmt = even.shape[2], even.shape[1], "yuv420p"
            stream.options = {"crf": str(crf), "preset": "veryfast"}
            for frame in even:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode())
        return path.read_bytes()


def sniff_video(data: bytes) -> str:
    """Return what container a file seems to be, "mp4", "webm" or "gif", from its first bytes; "": none of them."""
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mp4"
    if data[:4] == b"\x1aE\xdf\xa3":
        return "webm"
    return "gif" if data[:6] in (b"GIF87a", b"GIF89a") else ""


def _sniff(data: bytes, limits: VideoLimits) -> str:
    """Tell the container of a file within the limits."""
    if not data:
        raise MediaError(400, "video_empty", "video: got 0 bytes, expected a video")
    if len(data) > limits.max_bytes:
        raise MediaError(413, "video_too_large", f"video: got {len(data)} bytes, expected at most {limits.max_bytes}")
    name = sniff_video(data)
    if name not in limits.formats:
        expected = ", ".join(limits.formats)
        raise MediaError(415, "video_unsupported", f"video: format not recognised, expected {expected}")
    if _cut_off(data, name):
        raise _broken("the file is cut off")
    return name


def _cut_off(data: bytes, name: str) -> bool:
    """Whether a file ends early, where FFmpeg would not say so; in MP4 it does."""
    if name == "gif":
        return not data.rstrip(b"\0\r\n").endswith(b";")
    start = data.find(b"\x18\x53\x80\x67", 0, 256) + 4  # the Segment of Matroska, which holds all the rest
    if name != "webm" or start < 4 or start >= len(data):
        return False
    # The size is as many bytes as there are zeros before its first bit, and all ones if it was not known.
    length = 9 - data[start].bit_length()
    size = int.from_bytes(data[start : start + length], "big") & ((1 << 7 * length) - 1)
    return size != (1 << 7 * length) - 1 and start + length + size > len(data)


@contextmanager
def _opened(data: bytes, name: str, limits: VideoLimits) -> Iterator[InputContainer]:
    """Open a container; FFmpeg's errors become `MediaError`."""
    # Opening looks at the first frame; the decoder itself refuses a huge one, before it makes room for it.
    options = {"max_pixels": str(max(limits.max_pixels, _PROBED_PIXELS))}
    try:
        opened = av.open(BytesIO(data), "r", format=_DEMUXERS[name], options=options, metadata_errors="replace")
        with opened as container:
            yield container
    except MediaError:
        raise
    except av.FFmpegError as error:
        raise _broken(error.strerror or str(error)) from error
    except (ValueError, OverflowError) as error:  # what PyAV makes of numbers that no file should hold
        raise _broken(str(error)) from error


def _stream(container: InputContainer, limits: VideoLimits) -> VideoStream:
    if not container.streams.video:
        raise _broken("it has no pictures")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None:
        raise MediaError(415, "video_unsupported", "video: its codec is not read")
    if context.width < 1 or context.height < 1:
        raise _broken(f"its size is unknown, or above {max(limits.max_pixels, _PROBED_PIXELS)} pixels")
    _check_pixels(context.width, context.height, limits)
    context.options = {"max_pixels": str(limits.max_pixels)}
    # A frame a thread would be decoded ahead of a limit; threads within a frame are not.
    stream.thread_type = "SLICE"
    return stream


def _decode(container: InputContainer, limits: VideoLimits, numbers: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    stream = _stream(container, limits)
    wanted, kept = set(numbers), []
    for number, frame in enumerate(container.decode(stream)):
        _check_pixels(frame.width, frame.height, limits)
        if frame.is_corrupt:
            raise _broken(f"frame {number} is damaged")
        if number in wanted:
            # Telephones film in one orientation and note how it was held.
            kept.append(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
            if kept[-1].shape != kept[0].shape:
                raise _broken("its frames differ in size")
        if len(kept) == len(wanted):
            return np.stack(kept)
    raise _broken(f"it ends before frame {numbers[len(kept)]}")


def _check_pixels(width: int, height: int, limits: VideoLimits) -> None:
    if width * height > limits.max_pixels:
        raise MediaError(
            413,
            "video_too_many_pixels",
            f"video: got {width} x {height}, expected at most {limits.max_pixels} pixels",
        )


def _check_length(seconds: float, limits: VideoLimits) -> None:
    if seconds > limits.max_seconds:
        raise _too_long(f"{seconds:.1f} s", limits)


def _stated_seconds(container: InputContainer, stream: VideoStream) -> float:
    """The longest length that the headers state, in seconds; 0 if they state none."""
    own = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    whole = container.duration / av.time_base if container.duration else 0.0
    return max(own, whole)


def _rate(stream: VideoStream) -> Fraction:
    """Frames per second; the default where the file states none that makes sense."""
    rate = stream.average_rate or stream.base_rate
    return Fraction(rate) if rate and 0 < rate <= _MAX_FPS else _DEFAULT_FPS


def _too_long(got: str, limits: VideoLimits) -> MediaError:
    return MediaError(
        413,
        "video_too_long",
        f"video: got {got}, expected at most {limits.max_frames} frames and {limits.max_seconds:g} s",
    )


def _broken(reason: str) -> MediaError:
    return MediaError(400, "video_broken", f"video: cannot be decoded ({reason})")
