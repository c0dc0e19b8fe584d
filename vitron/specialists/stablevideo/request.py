"""What a request to edit a clip asks for: which objects, since when, and what becomes of them. Pure.

The regions of the invocation carry spans. They, or what the user drew, are handed to the video segmenter as they are:
it knows that several runs of frames may be one object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vitron.regions import box_of, to_mask
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.gligen_edit_request import (
    ADDING,
    ERASING,
    is_full,
    is_ground,
    tints,
)
from vitron.types import DrawnRegion, Grounding


class Kind(StrEnum):
    """What becomes of the target."""

    RECOLOR = "recolor"
    REMOVE = "remove"
    REPLACE = "replace"
    ADD = "add"
    BACKGROUND = "background"


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipEdit:
    """An edit of a clip, read.

    Attributes:
        kind: What becomes of it.
        label: What will be there; "" for "remove".
        regions, drawn: What the segmenter is shown: the object to be changed or, for "background", those that stay.
        place: Where "add" begins; None for the others.
        tint: Whether the background gets another colour alone.
    """

    kind: Kind
    label: str = ""
    regions: tuple[Grounding, ...] = ()
    drawn: tuple[DrawnRegion, ...] = ()
    place: Grounding | None = None
    tint: bool = False


def read_clip_edit(request: SpecialistRequest) -> ClipEdit:
    """Return what a request asks for.

    Raises:
        ValueError: nobody says where; the message names the field.
    """
    if not request.regions and not request.drawn:
        raise ValueError("regions: got none and nothing drawn, expected where the edit is")
    verb = request.instruction.strip().lower().split(" ", 1)[0]
    objects = tuple(region for region in request.regions if not is_ground(region))
    label = objects[0].label if objects else ""
    whole = next((region for region in request.regions if is_ground(region) and is_full(region)), None)
    if whole is not None:
        ground = whole.label or request.instruction
        return ClipEdit(kind=Kind.BACKGROUND, label=ground, regions=objects, tint=tints(verb, whole.label))
    if verb in ADDING:
        place = request.regions[0] if request.regions else Grounding(box=box_of(to_mask(request.drawn[0], 512, 512)))
        return ClipEdit(kind=Kind.ADD, label=label or request.instruction, place=place)
    if verb in ERASING or (request.regions and not objects):
        return ClipEdit(kind=Kind.REMOVE, regions=request.regions, drawn=request.drawn)
    kind = Kind.RECOLOR if tints(verb, label or request.instruction) else Kind.REPLACE
    return ClipEdit(kind=kind, label=label or request.instruction, regions=request.regions, drawn=request.drawn)
