"""Plans of clips to be made: labelled boxes with spans, from which every object's box in every frame follows.

    <Region>small red circle: (0.10, 0.40, 0.30, 0.60 | 0, 1); right: (0.60, 0.40, 0.80, 0.60 | 6, 7)</Region>

An object stays at a box over its span and goes straight from one box to the next. A box belongs to the object before it
if it comes later and is labelled with one of `WAYS` or the same name. Saying the way first helps a language model:
where the box is then depends on the words next to it. Moments count from 0 to `LAST`, whatever a clip's length. The
paper has regions for other modules alone (Table 13); a plan is to a video what GLIGEN's boxes are to a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitron.types import Grounding

LAST = 7
"""The last moment of every plan."""
WAYS = ("left", "right", "up", "down", "up left", "up right", "down left", "down right")
"""Labels of boxes to which the object before them goes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedTrack:
    """An object of a plan.

    Attributes:
        label: what it is, "" where nothing says so.
        boxes: float32 [F, 4], `xyxy` in [0, 1]; before and after it is there, the first and the last one.
        there: bool [F].
    """

    label: str
    boxes: npt.NDArray[np.float32]
    there: npt.NDArray[np.bool_]


def planned_tracks(regions: Sequence[Grounding], frames: int) -> list[PlannedTrack]:
    """Return the objects of a plan in a clip of F frames.

    Regions without a span are no part of a plan and are left out, and so are ways that nothing can go. Another label
    than that of the object before it, or one that does not come later, begins another object.
    """
    return [_track(run, frames) for run in _runs(regions)]


def _runs(regions: Sequence[Grounding]) -> list[list[Grounding]]:
    runs: list[list[Grounding]] = []
    for region in regions:
        if region.span is None:
            continue
        before = runs[-1] if runs else None
        later = before is not None and before[-1].span is not None and region.span[0] > before[-1].span[1]
        if before is not None and later and region.label in (before[0].label, *WAYS):
            before.append(region)
        elif region.label not in WAYS:
            runs.append([region])
    return runs


def _track(run: Sequence[Grounding], frames: int) -> PlannedTrack:
    moments = np.linspace(0.0, LAST, frames)
    known = [(float(min(at, LAST)), region.box) for region in run for at in region.span or ()]
    times, corners = np.array([at for at, _ in known]), np.array([box for _, box in known])
    # A clip longer than the plan has frames between its moments.
    half = 0.5 * LAST / max(frames - 1, LAST)
    there = (moments >= times[0] - half) & (moments <= times[-1] + half)
    boxes = np.stack([np.interp(moments, times, corner) for corner in corners.T], axis=1)
    return PlannedTrack(label=run[0].label, boxes=boxes.astype(np.float32), there=there)
