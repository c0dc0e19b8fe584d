"""What an edit invocation asks for: what goes, what is painted where, what stays. Pure: no picture is looked at.

The regions of the invocation say where, and by their labels what will be there; "background" is what is no object.
The instruction's verb decides what the regions leave open. What the user drew outranks the box that it lies on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitron.regions import box_of, to_mask
from vitron.specialists.base import SpecialistRequest
from vitron.types import BoolMask, Box, DrawnRegion, Grounding

BACKGROUND = "background"
FULL: Box = (0.0, 0.0, 1.0, 1.0)
ERASING = ("remove", "delete", "erase", "clear")
ADDING = ("add", "draw", "put", "insert", "place")
MOVING = ("move", "shift", "drag", "slide", "push", "bring")
TINTING = ("make", "paint", "recolor", "recolour", "color", "colour", "turn", "dye")
COLOR_WORDS = frozenset(
    [
        "red",
        "orange",
        "yellow",
        "green",
        "cyan",
        "blue",
        "purple",
        "violet",
        "magenta",
        "pink",
        "brown",
        "black",
        "white",
        "gray",
        "grey",
        "beige",
        "gold",
        "silver",
        "teal",
        "navy",
        "olive",
        "sand",
        "slate",
        "mint",
        "lavender",
        "rose",
        "cream",
        "tan",
        "khaki",
        "turquoise",
        "crimson",
        "maroon",
    ]
)
"""A request to "make" something one of these keeps its shape and texture."""
_RASTER = 64
"""Side of the maps on which drawings and boxes are compared."""
_LIES_ON = 0.5
"""A drawing belongs to a box that holds at least this part of it."""
_COVERS = 0.9
"""A background region of at least this area means the whole picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """An edit, read.

    Attributes:
        text: What will be there, for the generator's text condition; "" if nobody says.
        gone: Prompts for the segmenter: what will not be there any more.
        painted: Boxes to paint, by label what they will show.
        tinted: Prompts for the segmenter: what gets another colour alone, one for each of `painted`.
        moved: The box that the one object of `gone` is carried to as it is; None: nothing is carried.
        stays: Prompts for the segmenter: the objects that stay when `ground` is set.
        ground: Whether everything but `stays` is painted.
        tint_ground: Whether the ground gets another colour alone.
        area: bool `[h, w]` of any size: paint exactly there; None: find out.
        search: Text for the segmenter when nobody says where; "" otherwise.
        is_free: Whether `painted` is something new that the user did not place.
    """

    text: str = ""
    gone: tuple[DrawnRegion, ...] = ()
    painted: tuple[Grounding, ...] = ()
    tinted: tuple[DrawnRegion, ...] = ()
    moved: Box | None = None
    stays: tuple[DrawnRegion, ...] = ()
    ground: bool = False
    tint_ground: bool = False
    area: BoolMask | None = None
    search: str = ""
    is_free: bool = False


def read_edit(request: SpecialistRequest, *, exact: bool) -> Edit:
    """Return what a request asks for.

    Args:
        request: Of an image editor.
        exact: Whether what is drawn is the very area to paint, as for a mask of an API, and not a mark on an object.

    Raises:
        ValueError: `exact` is set and nothing is drawn.
    """
    verb = request.instruction.strip().lower().split(" ", 1)[0]
    if exact:
        return _in_area(request)
    whole = next((region for region in request.regions if is_ground(region) and is_full(region)), None)
    if whole is not None:
        others = [region for region in request.regions if region is not whole and not is_ground(region)]
        named = ", ".join(region.label for region in others if region.label)
        return Edit(
            text=f"{named} on a {whole.label}" if named else f"a {whole.label}",
            stays=tuple(prompt(region.box, request.drawn) for region in others),
            painted=tuple(region for region in others if region.label),
            ground=True,
            tint_ground=tints(verb, whole.label),
        )
    if request.regions:
        return _by_regions(request, verb)
    if request.drawn:
        return _by_drawings(request, verb)
    return _by_words(request, verb)


def is_ground(region: Grounding) -> bool:
    """Tell whether a region will show no object."""
    return region.label == BACKGROUND or region.label.endswith(f" {BACKGROUND}")


def is_full(region: Grounding) -> bool:
    """Tell whether a region is the whole picture."""
    left, top, right, bottom = region.box
    return (right - left) * (bottom - top) >= _COVERS


def prompt(box: Box, drawn: Sequence[DrawnRegion]) -> DrawnRegion:
    """Return what the segmenter is shown for a box: what the user drew on it, or else the box itself."""
    inside = to_mask(DrawnRegion(kind="box", box=box), _RASTER, _RASTER)
    best, share = DrawnRegion(kind="box", box=box), _LIES_ON
    for region in drawn:
        marked = to_mask(region, _RASTER, _RASTER)
        part = float((marked & inside).sum() / marked.sum())
        if part >= share:
            best, share = region, part
    return best


def _by_regions(request: SpecialistRequest, verb: str) -> Edit:
    erased = tuple(prompt(region.box, request.drawn) for region in request.regions if is_ground(region))
    painted = tuple(region for region in request.regions if not is_ground(region))
    text = ", ".join(region.label for region in painted if region.label)
    prompts = tuple(prompt(region.box, request.drawn) for region in painted)
    if verb in MOVING and len(erased) == len(painted) == 1:
        return Edit(gone=erased, moved=painted[0].box)
    if erased or verb in ADDING:
        return Edit(text=text, gone=erased, painted=painted, is_free=not erased and not request.drawn)
    if verb in ERASING:
        return Edit(gone=prompts)
    if tints(verb, text or request.instruction):
        return Edit(text=text, painted=painted, tinted=prompts)
    return Edit(text=text, gone=prompts, painted=painted)


def _by_drawings(request: SpecialistRequest, verb: str) -> Edit:
    """The user drew, the invocation names no box."""
    if verb in ERASING:
        return Edit(gone=request.drawn)
    boxes = [box_of(to_mask(region, _RASTER, _RASTER)) for region in request.drawn]
    painted = tuple(Grounding(box=box) for box in boxes)
    if verb in ADDING:
        return Edit(text=request.instruction, painted=painted)
    recolors = tints(verb, request.instruction)
    return Edit(
        text=request.instruction,
        painted=painted,
        tinted=request.drawn if recolors else (),
        gone=() if recolors else request.drawn,
    )


def _by_words(request: SpecialistRequest, verb: str) -> Edit:
    """Nobody says where: the segmenter is asked in words; with a signal alone the whole picture is painted."""
    if not request.instruction.strip() or verb in ADDING:
        return Edit(text=request.instruction, area=np.ones((1, 1), np.bool_))
    text = "" if verb in ERASING else request.instruction
    return Edit(text=text, search=request.instruction)


def _in_area(request: SpecialistRequest) -> Edit:
    if not request.drawn:
        raise ValueError("drawn: got nothing, expected a mask when options.exact_mask is 1")
    masks = [region.mask for region in request.drawn if region.mask is not None]
    height, width = (max((mask.shape[i] for mask in masks), default=512) for i in (0, 1))
    area = np.any([to_mask(region, height, width) for region in request.drawn], axis=0)
    painted = tuple(region for region in request.regions if not is_ground(region))
    erases = bool(request.regions) and all(region.label == BACKGROUND for region in request.regions)
    ground = [region.label for region in request.regions if is_ground(region)]
    text = ", ".join([region.label for region in painted if region.label] or ground) or request.instruction
    return Edit(text="" if erases else text, painted=painted or _around(area, bool(ground)), area=area)


def _around(area: BoolMask, is_no_object: bool) -> tuple[Grounding, ...]:
    return () if is_no_object else (Grounding(box=box_of(area)),)


def tints(verb: str, label: str) -> bool:
    """Tell whether a request with this verb asks for another colour alone: "make it blue", not "make it a dog"."""
    return verb in TINTING and bool(COLOR_WORDS & set(label.lower().replace(",", " ").split()))
