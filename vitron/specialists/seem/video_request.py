"""What a request to segment a clip points at: checking it, and its drawings and boxes as pointers to frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vitron.config import SignalConfig
from vitron.regions import validate
from vitron.specialists.base import SpecialistRequest, check_options
from vitron.specialists.seem.request import check_meant
from vitron.types import Clip, DrawnRegion, Grounding

OPTIONS: dict[str, tuple[float, float]] = {"threshold": (0.0, 1.0), "multiple": (0, 1)}


class Pointer(NamedTuple):
    """A region on a frame.

    Attributes:
        frame: index of the frame in the clip.
        region: what is drawn there.
        label: of the object, "" when nobody said so.
        name: of the field that it comes from, for messages.
        exact: drawn by the user; the LLM's boxes are less exact, and help only where the object is out of sight.
        until: index of the last frame in which it may be looked for.
        group: number of the object that it is a run of frames of; None: nothing is said of that.
    """

    frame: int
    region: DrawnRegion
    label: str
    name: str
    exact: bool
    until: int
    group: int | None = None


def check_request(request: SpecialistRequest, signal: SignalConfig) -> Clip:
    """Return the clip of a request that can be carried out; otherwise raise ValueError saying why."""
    check_options(request.options, OPTIONS)
    if request.clip is None:
        raise ValueError("clip: got None, expected a clip to segment")
    check_meant(request, signal)
    if request.reference_drawn is not None:
        validate(request.reference_drawn)
    return request.clip


def pointers(request: SpecialistRequest, clip: Clip) -> list[Pointer]:
    """Return what a request points at, in the request's order.

    What the user drew comes first; the LLM's boxes, each on the first frame of its span, stand in where nobody drew
    anything and no reference is shown. Boxes of one label whose spans do not meet are runs of one object.

    Raises:
        ValueError: a frame that the clip has not, or a region that is none.
    """
    found = [_drawn(f"drawn[{i}]", region, clip) for i, region in enumerate(request.drawn)]
    if not found and request.reference is None:
        found = _boxes(request.regions, clip)
    return found


def _drawn(name: str, region: DrawnRegion, clip: Clip) -> Pointer:
    try:
        validate(region)
    except ValueError as error:
        raise ValueError(f"{name}.{error}") from error
    if region.frame not in clip.numbers:
        raise ValueError(f"{name}.frame: got {region.frame}, expected one of the clip's frames, {_range(clip)}")
    frame = clip.numbers.index(region.frame)
    return Pointer(frame, region, "", name, exact=True, until=frame)


def _boxes(regions: Sequence[Grounding], clip: Clip) -> list[Pointer]:
    found: list[Pointer] = []
    for i, region in enumerate(regions):
        start = clip.numbers[0] if region.span is None else region.span[0]
        if not clip.numbers[0] <= start <= clip.numbers[-1]:
            raise ValueError(f"regions[{i}].span: got {region.span}, expected a start in the clip, {_range(clip)}")
        # A frame that was left out of the clip is replaced by the next one.
        frame = next(index for index, number in enumerate(clip.numbers) if number >= start)
        end = clip.numbers[-1] if region.span is None else region.span[1]
        until = max(frame, sum(number <= end for number in clip.numbers) - 1)
        group = next((found[j].group for j, other in enumerate(regions[:i]) if _one_object(other, region)), i)
        drawn = DrawnRegion(kind="box", box=region.box)
        found.append(Pointer(frame, drawn, region.label, f"regions[{i}]", exact=False, until=until, group=group))
    return found


def _one_object(first: Grounding, second: Grounding) -> bool:
    """Tell whether two boxes are spelled as runs of frames of one object."""
    if first.label != second.label or first.span is None or second.span is None:
        return False
    return first.span[1] < second.span[0]


def _range(clip: Clip) -> str:
    whole = clip.numbers == tuple(range(clip.numbers[0], clip.numbers[-1] + 1))
    ends = f"{clip.numbers[0]} to {clip.numbers[-1]}"
    return ends if whole else f"{', '.join(map(str, clip.numbers[:8]))}{', ...' if len(clip.numbers) > 8 else ''}"
