"""Where to what each patch of a clip's frames shows moves: what `vitron.encoders.motion_field` learns to see."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes.motion_paths import Path
from train.data.shapes.render_clip import Footage
from vitron.encoders.motion_field import REACH, UNIT

COVERED = 0.35
"""Share of a patch from which on it shows an object."""


class Vectors(NamedTuple):
    """Of N patches of T frames.

    Attributes:
        vectors: float32 [T, N, 2], the way from REACH frames before to REACH frames after, in `UNIT`s, x to the right
            and y down; 0 where no object is.
        shown: bool [T, N], whether an object is.
    """

    vectors: npt.NDArray[np.float32]
    shown: npt.NDArray[np.bool_]


def vectors(film: Footage, side: int) -> Vectors:
    """Return those of side * side patches, row-major. Beyond its first and last frame an object stays where it is."""
    clip = film.clip
    size = np.array([clip.width, clip.height])
    made = np.zeros((clip.frames, side, side, 2), dtype=np.float32)
    shown = np.zeros((clip.frames, side, side), dtype=np.bool_)
    for mover, masks, seen in zip(clip.movers, film.masks, film.seen, strict=True):
        for frame in np.flatnonzero(seen).tolist():
            squares = masks[frame].reshape(side, clip.height // side, side, clip.width // side)
            covered = squares.mean(axis=(1, 3)) > COVERED
            earlier, later = (_place(mover.path, each, clip.frames) for each in (frame - REACH, frame + REACH))
            made[frame][covered] = (later - earlier) / size / UNIT
            shown[frame][covered] = True
    return Vectors(made.reshape(clip.frames, -1, 2), shown.reshape(clip.frames, -1))


def _place(path: Path, frame: int, frames: int) -> npt.NDArray[np.float64]:
    within = min(max(frame, path.first, 0), path.last, frames - 1)
    offset = path.offset(within)
    assert offset is not None
    return np.array(offset)
