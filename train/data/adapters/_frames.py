"""Which frames of a video become a clip, and reading them from a folder of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.adapters._dataset import Opening
from train.data.adapters._files import existing, read_image
from train.data.sample import Clip


class Frames(NamedTuple):
    """A clip `uint8 [T, H, W, 3]` and the number of each of its frames in the video, from 0 and increasing."""

    clip: Clip
    numbers: npt.NDArray[np.int64]


def uniform(count: int, num_frames: int | None) -> npt.NDArray[np.int64]:
    """Return numbers of frames spread evenly over a video of `count`, its first and last among them.

    All of them if the video has no more than `num_frames`, or `num_frames` is None; the first alone for 1.
    """
    if count < 1:
        raise ValueError(f"count: got {count}, expected a video of at least one frame")
    if num_frames is None or num_frames >= count:
        return np.arange(count)
    return np.rint(np.linspace(0, count - 1, num_frames)).astype(np.int64)


def frame_paths(opening: Opening, folder: Path, suffixes: Sequence[str] = (".jpg", ".png")) -> list[Path]:
    """Return the pictures of a folder in the order of their names; ValueError if there are none."""
    found = sorted(
        path for path in existing(opening, folder, "a folder of frames").iterdir() if path.suffix in suffixes
    )
    if not found:
        raise ValueError(f"{folder}: got no frames, expected pictures named {' or '.join(suffixes)}")
    return found


def read_sequence(opening: Opening, paths: Sequence[Path], numbers: npt.NDArray[np.int64]) -> Frames:
    """Read the frames `numbers` of a video that is stored as pictures; ValueError if they differ in size."""
    frames = [read_image(opening, paths[number]) for number in numbers]
    for number, frame in zip(numbers, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise ValueError(f"{paths[number]}: got {frame.shape[:2]} pixels, expected {frames[0].shape[:2]}")
    return Frames(np.stack(frames), numbers)
