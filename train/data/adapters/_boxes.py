"""Boxes of data sets, in pixels of many conventions, to `xyxy` in [0, 1] of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from vitron.types import Box


def clip_corners(corners: Sequence[float], width: int, height: int) -> Box | None:
    """Normalise `(x1, y1, x2, y2)` in pixels and cut it to the picture; None if nothing of it is inside.

    Annotators draw over the border, and trackers' boxes go on where the object leaves the picture: both are common.
    """
    if min(width, height) < 1 or not all(isfinite(value) for value in corners):
        return None
    x1, y1, x2, y2 = corners
    box = (_unit(x1 / width), _unit(y1 / height), _unit(x2 / width), _unit(y2 / height))
    return box if box[0] < box[2] and box[1] < box[3] else None


def corners_box(corners: Sequence[float], width: int, height: int, where: str) -> Box:
    """Normalise a box given by its corners in pixels; ValueError naming `where` if it has no area in the picture."""
    box = clip_corners(corners, width, height)
    if box is None:
        got = tuple(corners)
        raise ValueError(f"{where}: got box {got}, expected corners with an area inside {width} x {height} pixels")
    return box


def xywh_box(values: Sequence[float], width: int, height: int, where: str) -> Box:
    """Normalise a box given by corner and size in pixels, the form of COCO."""
    x, y, w, h = values
    return corners_box((x, y, x + w, y + h), width, height, where)


def _unit(value: float) -> float:
    # Adding zero turns -0.0 into 0.0, which would be written "-0.00".
    return min(max(value, 0.0), 1.0) + 0.0
