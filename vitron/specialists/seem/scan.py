"""Finding in a clip what words, a signal or a reference picture mean: every frame is asked, and the best is followed.

What fits best in any frame is followed through the clip. What its track covers is no longer looked at, and the next
best is followed, until nothing is left that might be meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vitron.specialists.seem.memory import iou
from vitron.specialists.seem.pixel_decoder import PixelFeatures
from vitron.specialists.seem.prompts import Prompts
from vitron.specialists.seem.tracking import LEAST_CELLS, SAME_OBJECT_IOU, FrameFeatures, Tracker, Trail

MAX_TRAILS = 4
"""Objects that are followed at most."""
LEAST_MATCH = 0.02
"""Objects that fit less than this in every frame are not followed."""
PART = 0.8
"""A mask of which this part lies inside an object shows that object."""


class Question(NamedTuple):
    """A prompt of one row that holds for every frame, and the picture that its visual marks are drawn on."""

    prompts: Prompts
    reference: PixelFeatures | None = None


class Scan(NamedTuple):
    """How candidates of T frames fit: logits `[T, Q]`, and their masks bool `[T, Q, h, w]`."""

    match: Tensor
    masks: Tensor


class Found(NamedTuple):
    """An object's trail, and its logit of fitting in each frame, -inf where it is not seen `[T]`."""

    trail: Trail
    match: Tensor


def scan(tracker: Tracker, frames: FrameFeatures, question: Question, tick: Callable[[], None]) -> Scan:
    """Ask every frame; `tick` is called after each."""
    match, masks = [], []
    for index in range(len(frames)):
        output = tracker.network(frames[index], question.prompts, question.reference)[-1]
        match.append(output.match[0].float())
        masks.append(output.masks[0] > 0)
        tick()
    return Scan(torch.stack(match), torch.stack(masks))


def find(tracker: Tracker, frames: FrameFeatures, question: Question, tick: Callable[[], None]) -> list[Found]:
    """Follow what may be meant, best first; at least one, unless no frame shows anything."""
    seen = scan(tracker, frames, question, tick)
    free = seen.match.masked_fill(seen.masks.flatten(2).sum(2) < LEAST_CELLS, -torch.inf)
    found: list[Found] = []
    for _ in range(MAX_TRAILS):
        place = int(free.argmax())
        frame, query = divmod(place, free.shape[1])
        best = float(free[frame, query].sigmoid())
        if best < (LEAST_MATCH if found else 1e-9):
            break
        features = frames[frame]
        offered = tracker.point(features, question.prompts, question.reference)
        seed = tracker.seed(features, frame, offered, 0, query)
        assert seed is not None  # its mask is not empty: it is that of the scan
        trail = tracker.follow(frames, [[seed]], tick)[0]
        covered = _covered(trail, seen.masks)
        covered[frame, query] = True
        free = free.masked_fill(covered, -torch.inf)
        # A poor mask of an object that is followed already leads to its trail again.
        if not any(_same(trail, other.trail) for other in found):
            found.append(Found(trail, seen.match.masked_fill(~covered, -torch.inf).amax(dim=1)))
    return found


def _same(one: Trail, other: Trail) -> bool:
    """Tell whether two trails show one object in most frames."""
    pairs = [(a, b) for a, b in zip(one.masks, other.masks, strict=True) if a is not None or b is not None]
    met = [a is not None and b is not None and float(iou(a[None] > 0, b > 0)) > SAME_OBJECT_IOU for a, b in pairs]
    return 2 * sum(met) > len(met)


def _covered(trail: Trail, masks: Tensor) -> Tensor:
    """Which candidates `[T, Q]` show the object of a trail, or a part of it."""
    rows = []
    for mask, inside in zip(trail.masks, masks, strict=True):
        if mask is None:
            rows.append(torch.zeros_like(inside[:, 0, 0]))
            continue
        within = (inside & (mask > 0)).flatten(1).sum(1) > PART * inside.flatten(1).sum(1)
        rows.append(within | (iou(inside, mask > 0) > SAME_OBJECT_IOU))
    return torch.stack(rows)
