"""Whether the assistant's reply to a sample of the Shapes world is right, by task. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from train.data.sample import Sample
from train.data.shapes.captions import VOCABULARY, names_exactly
from vitron.evaluation.captions import mentioned
from vitron.evaluation.grounding import box_iou, first_box
from vitron.evaluation.vqa import exact
from vitron.invocation import parse_groundings, parse_reply, verb_of
from vitron.routing import ANIMATION
from vitron.types import Grounding, Module, Reply

ENOUGH_IOU = 0.5
SPAN_TOLERANCE = 1
"""Frames by which the start and the end of a track may be off."""
_ANSWER = re.compile(r"the answer is (.+?)\.?$")


def right(sample: Sample, reply: Reply) -> bool:
    """Tell whether a reply does what the sample asks for.

    Raises:
        ValueError: nothing here can judge the sample's task.
    """
    if sample.turns[-1].invokes:
        return _invocation(sample, reply)
    if sample.task not in _JUDGES:
        raise ValueError(f"task: got {sample.task!r}, expected one that invokes, or of {', '.join(_JUDGES)}")
    return _JUDGES[sample.task](sample, reply)


def located_answer(text: str) -> str:
    """Return the answer at the end of a reply that locates first; "" without one."""
    found = _ANSWER.search(text.strip())
    return found[1] if found else ""


def _invocation(sample: Sample, reply: Reply) -> bool:
    """The same module and instruction, and the same boxes; a layout or plan is free in where things go.

    What a picture shows is where it is, though: a plan that sets it in motion begins there.
    """
    wanted, made = parse_reply(sample.turns[-1].text).invocation, reply.invocation
    if made is None or wanted is None or (made.module, made.instruction) != (wanted.module, wanted.instruction):
        return False
    if wanted.module is Module.IMAGE_GENERATION:
        return sorted(region.label for region in made.regions) == sorted(region.label for region in wanted.regions)
    if wanted.module is Module.VIDEO_GENERATION:
        same = {region.label for region in made.regions} == {region.label for region in wanted.regions}
        return same and (verb_of(wanted.instruction) != ANIMATION or _meet(made.regions[:1], wanted.regions[:1]))
    return _meet(made.regions, wanted.regions)


def _meet(found: tuple[Grounding, ...], wanted: tuple[Grounding, ...]) -> bool:
    """As many boxes with the same labels, each over its counterpart and in about the same frames."""
    return len(found) == len(wanted) and all(
        a.label == b.label and _same_span(a.span, b.span) and box_iou(a.box, b.box) > ENOUGH_IOU
        for a, b in zip(found, wanted, strict=True)
    )


def _same_span(found: tuple[int, int] | None, wanted: tuple[int, int] | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return all(abs(a - b) <= SPAN_TOLERANCE for a, b in zip(found, wanted, strict=True))


def _talk(sample: Sample, reply: Reply) -> bool:
    return reply.invocation is None and reply.error is None


def _caption(sample: Sample, reply: Reply) -> bool:
    """All objects with size, colour and shape, as often as there are, and no others."""
    return names_exactly(reply.text, sample.target["required"])


def _region_caption(sample: Sample, reply: Reply) -> bool:
    return mentioned(reply.text, VOCABULARY) == mentioned(str(sample.target["answer"]), VOCABULARY)


def _rec(sample: Sample, reply: Reply) -> bool:
    box = first_box(reply.text)
    return box is not None and box_iou(box, sample.target["box"]) > ENOUGH_IOU


def _groundings(text: str) -> tuple[Grounding, ...]:
    try:
        return tuple(parse_groundings(text))
    except ValueError:
        return ()


def _grounded_caption(sample: Sample, reply: Reply) -> bool:
    wanted = _groundings(str(sample.target["answer"]).partition(". ")[2])
    return _meet(_groundings(reply.text.partition(". ")[2]), wanted)


def _tracks(sample: Sample, reply: Reply) -> bool:
    return _meet(_groundings(reply.text), _groundings(str(sample.target["answer"])))


def _vqa(sample: Sample, reply: Reply) -> bool:
    return exact(reply.text, str(sample.target["answer"]))


def _grounded_vqa(sample: Sample, reply: Reply) -> bool:
    return exact(located_answer(reply.text), str(sample.target["answer"]))


_JUDGES: Mapping[str, Callable[[Sample, Reply], bool]] = {
    "chat": _talk,
    "chat_picture": _talk,
    "caption": _caption,
    "region_caption": _region_caption,
    "rec": _rec,
    "grounded_caption": _grounded_caption,
    "vqa": _vqa,
    "vqa_compare": _vqa,
    "region_vqa": _vqa,
    "grounded_vqa": _grounded_vqa,
    "video_caption": _vqa,
    "video_qa": _vqa,
    "video_motion": _vqa,
    "video_place": _rec,
    "video_grounding": _tracks,
    "video_grounded_caption": _grounded_caption,
    "grounded_video_qa": _grounded_vqa,
}
