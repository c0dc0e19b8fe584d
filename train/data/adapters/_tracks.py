"""Trackers' files: a box in every frame, in pixels, and frames in which the object is not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.data.adapters._boxes import clip_corners
from train.data.adapters._clips import Track, box_at, first_seen
from train.data.adapters._dataset import Opening
from train.data.adapters._files import read_table
from train.data.sample import BoolMask, Clip
from vitron.regions import to_mask
from vitron.types import DrawnRegion

Numbers = npt.NDArray[np.int64]
Corners = npt.NDArray[np.float64]
"""Boxes `(x1, y1, x2, y2)` in pixels, `[T, 4]`."""


def read_corners(opening: Opening, path: Path, count: int) -> Corners:
    """Read a file of lines `x,y,width,height`, one for each of `count` frames."""
    table = read_table(opening, path, "boxes", 4)
    if len(table) != count:
        raise ValueError(f"{path}: got {len(table)} lines, expected one for each of {count} frames")
    return np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1)


def read_flags(opening: Opening, path: Path, count: int) -> npt.NDArray[np.bool_]:
    """Read a file of 0 and 1, on one line or on many, one for each of `count` frames."""
    flags = read_table(opening, path, "flags of frames", 1).ravel()
    if len(flags) != count or not np.isin(flags, (0, 1)).all():
        raise ValueError(f"{path}: got {len(flags)} numbers, expected 0 or 1 for each of {count} frames")
    return flags.astype(np.bool_)


def make_track(corners: Corners, seen: npt.NDArray[np.bool_], height: int, width: int) -> Track:
    """Normalise boxes and cut them to the picture; zeros where the object is not seen, or outside."""
    track = np.zeros((len(corners), 4), dtype=np.float32)
    for frame in np.flatnonzero(seen):
        box = clip_corners(corners[frame].tolist(), width, height)
        if box is not None:
            track[frame] = box
    return track


def mark_first(track: Track, clip: Clip, where: str) -> tuple[int, BoolMask]:
    """Return the first frame in which an object is seen, and its box there as a mask."""
    frame = first_seen(track, where)
    return frame, to_mask(DrawnRegion(kind="box", box=box_at(track, frame)), *clip.shape[1:3])


def sequence_names(lines: Sequence[str]) -> list[str]:
    """Return the names of a list of sequences, one a line."""
    return [line.strip() for line in lines if line.strip()]
