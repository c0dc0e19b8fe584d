"""Where something new goes: where it was planned, or as near to there as it hides nothing and is seen whole.

A language model knows roughly where things are. Users who say what is to be added and not where want it to be seen,
and what was there before as well.
"""

from __future__ import annotations

from collections.abc import Callable
from math import hypot

import numpy as np
import numpy.typing as npt

from vitron.specialists.gligen_edit_pixels import ground_of
from vitron.types import Box

Floats = npt.NDArray[np.float32]
Way = Callable[[Box], Floats]
"""What begins in a box -> how far it is from there in each frame, [T, 2] as parts of width and height."""
STEP = 1 / 32
"""Between places that are tried, as a part of the picture's side."""
GAP = 0.02
"""What is kept free around it."""
ENOUGH = 0.8
"""Part of the longest way there is that is long enough."""


def free_box(frames: npt.NDArray[np.uint8], box: Box, way: Way) -> Box:
    """Return a box of the same size from which something new covers least of the objects that are there.

    Objects are what has another colour than the background. Where that has many itself, none are told from it, and the
    box stays within the picture at least.

    Args:
        frames: uint8 [T, H, W, 3], those in which it is seen.
        box: Where it is to begin.
        way: How it moves.
    """
    taken = _sums(np.stack([~ground_of(frame, []) for frame in frames]))
    places = [box, *_shifted(box)]
    ways = [way(place) for place in places]
    longest = max(_length(shifts) for shifts in ways)
    prices = [
        (round(_covered(taken, place, shifts) + len(shifts) * _cut(shifts, longest), 2), _distance(box, place))
        for place, shifts in zip(places, ways, strict=True)
    ]
    return places[min(range(len(places)), key=prices.__getitem__)]


def resting(box: Box) -> Floats:
    """The way of what is in one frame, or does not move."""
    return np.zeros((1, 2), np.float32)


def _length(shifts: Floats) -> float:
    return float(np.hypot(*shifts[-1]))


def _cut(shifts: Floats, longest: float) -> float:
    """Return how much of its way something lacks, as a part of it: near the edge it has no room to move."""
    return max(0.0, ENOUGH - _length(shifts) / longest) if longest > 0.0 else 0.0


def _shifted(box: Box) -> list[Box]:
    left, top, right, bottom = box
    columns, rows = (_starts(low, high) for low, high in ((left, right), (top, bottom)))
    return [(x, y, x + right - left, y + bottom - top) for y in rows for x in columns]


def _starts(low: float, high: float) -> list[float]:
    """Return where an edge may be so that both are within the picture, at steps from where it is."""
    most = 1.0 - (high - low)
    steps = range(-int(low / STEP), int((most - low) / STEP) + 1)
    return [low + step * STEP for step in steps if 0.0 <= low + step * STEP <= most]


def _sums(area: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the sums of all rectangles from the corner, [T, H + 1, W + 1]."""
    return np.pad(area.astype(np.int64), ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)


def _covered(taken: npt.NDArray[np.int64], box: Box, shifts: Floats) -> float:
    """Return how much of a box on its way lies over objects or outside, in boxes, summed over the frames."""
    height, width = taken.shape[1] - 1, taken.shape[2] - 1
    wide, tall = box[2] - box[0], box[3] - box[1]
    x1, y1 = box[0] + shifts[:, 0], box[1] + shifts[:, 1]
    inside = _within(x1, x1 + wide) * _within(y1, y1 + tall)
    left, right = (np.clip(np.round(x * width).astype(int), 0, width) for x in (x1 - GAP, x1 + wide + GAP))
    top, bottom = (np.clip(np.round(y * height).astype(int), 0, height) for y in (y1 - GAP, y1 + tall + GAP))
    t = np.arange(len(shifts)) if len(taken) > 1 else np.zeros(len(shifts), int)
    hit = taken[t, bottom, right] - taken[t, top, right] - taken[t, bottom, left] + taken[t, top, left]
    return float((hit / (wide * tall * width * height) + (1.0 - inside / (wide * tall))).sum())


def _within(low: Floats, high: Floats) -> Floats:
    return np.clip(np.minimum(high, 1.0) - np.maximum(low, 0.0), 0.0, None)


def _distance(a: Box, b: Box) -> float:
    return hypot(a[0] - b[0], a[1] - b[1])
