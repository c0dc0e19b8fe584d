"""Links the objects that the picture oracle reads in each frame of a clip into chains, one for each object."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from math import hypot

import numpy as np
from scipy.optimize import linear_sum_assignment

from train.data.shapes.oracle import Reading, ReadObject
from vitron.types import Box

# The fastest object moves 5 pixels a frame; fits of half-hidden objects are off by a few more.
_REACH = 6.5
_SLACK = 3.5
# A shape that is misread for a frame costs this much distance, in pixels.
_SHAPE_PRICE = 4.0
# Where an object is last seen before it is hidden, this many pixels may be between its box and the screen's: a frame's
# motion, and a strip that is too narrow to be read.
_NEAR = 8.0
# A new chain is dearer than any that is in reach; what is out of reach is dearer still.
_NEW, _NEVER = 1e3, 1e6

Chain = list[tuple[int, ReadObject]]
"""An object through a clip: frame numbers, and what was read there."""


def link(frames: Sequence[Sequence[ReadObject]], size: float) -> list[Chain]:
    """Chains of (frame, object) by the best assignment of each frame's objects to the chains so far."""
    chains: list[Chain] = []
    for t, objects in enumerate(frames):
        if not objects:
            continue
        price = np.full((len(chains) + len(objects), len(objects)), _NEVER)
        for i, chain in enumerate(chains):
            for j, found in enumerate(objects):
                price[i, j] = _price(chain, t, found, size)
        for j in range(len(objects)):
            price[len(chains) + j, j] = _NEW
        rows, columns = linear_sum_assignment(price)
        known = len(chains)
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            if i < known:
                chains[i].append((t, objects[j]))
            else:
                chains.append([(t, objects[j])])
    return chains


def _price(chain: Chain, t: int, found: ReadObject, size: float) -> float:
    """How dear it is to continue a chain with an object: its distance from where the chain would be, in pixels."""
    last, before = chain[-1]
    if before.color != found.color:
        return _NEVER
    x, y = _predicted(chain, t)
    distance = hypot(found.center[0] - x, found.center[1] - y) * size
    moved = hypot(found.center[0] - before.center[0], found.center[1] - before.center[1]) * size
    if min(distance, moved) > _REACH * min(t - last, 2) + _SLACK:
        return _NEVER
    return min(distance, moved) + _SHAPE_PRICE * (usual_shape(chain) != found.shape)


def usual_shape(chain: Chain) -> str:
    """The shape that most of a chain was read as."""
    # Whole objects are read best, so frames vote with the area that they show.
    return vote([(obj.shape, float(np.count_nonzero(obj.mask))) for _, obj in chain])


def join_hidden(chains: list[Chain], readings: list[Reading], size: float) -> list[Chain]:
    """Joins a chain that ends at an object of another colour with one of its kind that begins there later."""
    joined = sorted(chains, key=lambda chain: chain[0][0])
    i = 0
    while i < len(joined):
        later = [k for k in range(len(joined)) if k != i and _goes_on(joined[i], joined[k], readings, size)]
        if later:
            joined[i] = joined[i] + joined.pop(later[0])
            i = 0  # Places have moved; there are a handful of chains at most.
        else:
            i += 1
    return joined


def _goes_on(first: Chain, then: Chain, readings: list[Reading], size: float) -> bool:
    (end, a), (start, b) = first[-1], then[0]
    if end >= start or a.color != b.color or usual_shape(first) != usual_shape(then):
        return False
    # The screen is looked for in the frames in which the object is gone.
    screens = [obj for obj in readings[end + 1].objects if obj.color != a.color]
    near = _NEAR / size
    return any(close(a.box, screen.box, near) and close(b.box, screen.box, near) for screen in screens)


def close(a: Box, b: Box, gap: float) -> bool:
    """Whether two boxes overlap or are less than `gap` apart."""
    return max(a[0], b[0]) - min(a[2], b[2]) < gap and max(a[1], b[1]) - min(a[3], b[3]) < gap


def _predicted(chain: Chain, t: int) -> tuple[float, float]:
    """Where a chain is in frame `t` if it goes on as in its last frames."""
    (t1, b) = chain[-1]
    if len(chain) < 2:
        return b.center
    (t0, a) = chain[-2]
    share = (t - t1) / (t1 - t0)
    return (
        b.center[0] + share * (b.center[0] - a.center[0]),
        b.center[1] + share * (b.center[1] - a.center[1]),
    )


def vote(votes: list[tuple[str, float]]) -> str:
    """The value with the most weight."""
    total: dict[str, float] = collections.defaultdict(float)
    for value, weight in votes:
        total[value] += weight
    return max(total, key=total.__getitem__)
