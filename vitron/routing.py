"""From an invocation to a specialist's request: which one, and what of the conversation it needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from vitron.invocation import strip_verb
from vitron.specialists.base import Option, SpecialistRequest
from vitron.types import DrawnRegion, Image, Invocation, Message, MessageMode, Module

SPECIALISTS: dict[Module, str] = {
    Module.IMAGE_GENERATION: "gligen",
    Module.IMAGE_SEGMENTATION: "seem",
}
"""Which specialist carries out which module."""


class RoutingError(ValueError):
    """The invocation names a module that nothing here carries out, or lacks what the module needs."""


class _Sources(NamedTuple):
    image: Image | None
    drawn: tuple[DrawnRegion, ...]
    reference: Image | None
    reference_drawn: DrawnRegion | None


def route(
    invocation: Invocation,
    messages: Sequence[Message],
    signal: Tensor | None,
    mode: MessageMode,
    seed: int = 0,
    options: Mapping[str, Option] | None = None,
) -> tuple[str, SpecialistRequest]:
    """Return the specialist's name and its request.

    `mode` decides which half of the message goes through: in "text" the signal is dropped, in "signal" everything
    the text says (instruction, boxes, drawings) is.

    Raises:
        RoutingError: no specialist for the module, or a picture is needed and the conversation has none.
    """
    name = SPECIALISTS.get(invocation.module)
    if name is None:
        known = [module.value for module in SPECIALISTS]
        raise RoutingError(f"module: {invocation.module.value!r} has no specialist here, expected one of {known}")
    textual = mode != "signal"
    sources = _sources(messages) if invocation.module is Module.IMAGE_SEGMENTATION else _Sources(None, (), None, None)
    if invocation.module is Module.IMAGE_SEGMENTATION and sources.image is None:
        raise RoutingError("images: segmentation needs a picture, the conversation has none")
    return name, SpecialistRequest(
        instruction=strip_verb(invocation.instruction) if textual else "",
        regions=invocation.regions if textual else (),
        signal=signal if mode != "text" else None,
        image=sources.image,
        drawn=sources.drawn if textual else (),
        reference=sources.reference if textual else None,
        reference_drawn=sources.reference_drawn if textual else None,
        seed=seed,
        options=dict(options or {}),
    )


def _sources(messages: Sequence[Message]) -> _Sources:
    """Find the picture to work on, what is drawn on it, and a reference picture.

    The last user turn decides. If it brings two or more pictures and a drawing on an earlier one, that one is the
    reference and the last picture is worked on ("find this one there"); otherwise the picture drawn on is worked on.
    """
    images = [image for message in messages for image in message.images]
    if not images:
        return _Sources(None, (), None, None)
    last = [message for message in messages if message.role == "user"][-1]
    drawn = tuple(region for region in last.regions if region.clip is None)
    target = len(images) - 1
    if drawn and len(last.images) < 2:
        target = drawn[-1].image
    here = tuple(region for region in drawn if region.image == target)
    elsewhere = [region for region in drawn if region.image != target]
    reference = elsewhere[0] if elsewhere else None
    return _Sources(images[target], here, images[reference.image] if reference else None, reference)
