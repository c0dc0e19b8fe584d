"""Where an edit is: the segmenter's masks of what goes, stays or changes colour, and the area that is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitron.regions import to_mask
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.gligen_edit_pixels import ground_of, grow
from vitron.specialists.gligen_edit_request import Edit
from vitron.specialists.seem.model import Seem
from vitron.types import BoolMask, DrawnRegion, Image

LEAST_FIT = 0.3
"""Of a box, and of the mask found at it, the other must hold at least this part; else the box itself is meant."""
MARGIN = 0.03
"""How far beyond an object its hole reaches, as a part of the picture's side: edges are soft."""
ROOM = 0.02
"""How far beyond its box a new object may reach."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Areas:
    """Parts of a picture, bool [H, W].

    Attributes:
        gone: Objects that go, with their soft edges.
        objects: The same, one mask each and without the edges.
        tinted: Objects that get another colour, one mask each.
        stays: Objects that are not touched.
        paint: Everything that may change.
    """

    gone: BoolMask
    objects: tuple[BoolMask, ...]
    tinted: tuple[BoolMask, ...]
    stays: BoolMask
    paint: BoolMask


def find_areas(edit: Edit, image: Image, seem: Seem) -> Areas:
    """Return where an edit is in a picture."""
    height, width = image.shape[:2]
    side = min(height, width)
    nothing = np.zeros((height, width), np.bool_)
    margin = max(round(MARGIN * side), 1)
    if edit.area is not None:
        area = to_mask(DrawnRegion(kind="mask", mask=edit.area), height, width)
        return Areas(gone=area, objects=(), tinted=(), stays=nothing, paint=area)
    if edit.search:
        found = seem.run(SpecialistRequest(instruction=edit.search, image=image)).detections[0].mask
        hole = grow(found if found.any() else ~nothing, margin)
        return Areas(gone=hole, objects=(), tinted=(), stays=nothing, paint=hole)
    prompts = (*edit.gone, *edit.tinted, *edit.stays)
    masks = segment(seem, image, prompts)
    gone, rest = masks[: len(edit.gone)], masks[len(edit.gone) :]
    tinted, kept = rest[: len(edit.tinted)], rest[len(edit.tinted) :]
    stays = _union(kept, nothing)
    if edit.ground:
        paint = ground_of(image, kept) if edit.tint_ground else ~stays
        return Areas(gone=nothing, objects=(), tinted=(), stays=~paint, paint=paint)
    holes = grow(_union(gone, nothing), margin)
    room = max(round(ROOM * side), 1)
    boxes = [] if edit.tinted else [to_mask(DrawnRegion(kind="box", box=p.box), height, width) for p in edit.painted]
    paint = holes | grow(_union(boxes, nothing), room) | grow(_union(tinted, nothing), margin)
    return Areas(gone=holes, objects=tuple(gone), tinted=tuple(tinted), stays=nothing, paint=paint)


def segment(seem: Seem, image: Image, prompts: Sequence[DrawnRegion]) -> list[BoolMask]:
    """Return the mask of the object that each prompt lies on, bool [H, W]; for a box that has none, the box."""
    if not prompts:
        return []
    found = seem.run(SpecialistRequest(instruction="", image=image, drawn=tuple(prompts))).detections
    return [_fitting(detection.mask, region) for detection, region in zip(found, prompts, strict=True)]


def _fitting(mask: BoolMask, region: DrawnRegion) -> BoolMask:
    """Return the part of a mask that belongs to what was drawn, or the drawing where they have little in common."""
    height, width = mask.shape
    drawn = to_mask(region, height, width)
    if region.kind != "box":
        return mask if (mask & drawn).any() else drawn
    near = grow(drawn, max(round(MARGIN * min(height, width)), 1))
    inside = mask & near
    common = int((mask & drawn).sum())
    fits = common >= LEAST_FIT * drawn.sum() and common >= LEAST_FIT * mask.sum()
    return np.asarray(inside if fits else drawn, dtype=np.bool_)


def _union(masks: Sequence[BoolMask], nothing: BoolMask) -> BoolMask:
    return np.any([nothing, *masks], axis=0)
