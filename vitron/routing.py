"""From an invocation to a specialist's request: which one, and what of the conversation it needs. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from vitron.invocation import strip_verb, verb_of
from vitron.specialists.base import Option, SpecialistRequest
from vitron.types import Clip, DrawnRegion, Grounding, Image, Invocation, Message, MessageMode, Module

SPECIALISTS: dict[Module, str] = {
    Module.IMAGE_GENERATION: "gligen",
    Module.IMAGE_SEGMENTATION: "seem",
    Module.IMAGE_EDITING: "gligen_edit",
    Module.VIDEO_GENERATION: "zeroscope",
    Module.VIDEO_SEGMENTATION: "seem_video",
    Module.VIDEO_EDITING: "stablevideo",
}
"""Which specialist carries out which module; see `ANIMATION` for the exception."""
ANIMATION = "animation"
"""Verb of a Video Generation that begins with a picture of the conversation: it goes to I2VGen-XL."""
ANIMATOR = "i2vgen"
NAMES: tuple[str, ...] = (*SPECIALISTS.values(), ANIMATOR)
"""All specialists."""


class RoutingError(ValueError):
    """The invocation lacks what its specialist needs."""


class _Sources(NamedTuple):
    image: Image | None = None
    clip: Clip | None = None
    clip_index: int = 0
    drawn: tuple[DrawnRegion, ...] = ()
    reference: Image | None = None
    reference_drawn: DrawnRegion | None = None


def specialist_of(invocation: Invocation) -> str:
    """Return the name of the specialist that an invocation is for."""
    if invocation.module is Module.VIDEO_GENERATION and verb_of(invocation.instruction) == ANIMATION:
        return ANIMATOR
    return SPECIALISTS[invocation.module]


def route(
    invocation: Invocation,
    messages: Sequence[Message],
    signal: Tensor | None,
    mode: MessageMode,
    seed: int = 0,
    options: Mapping[str, Option] | None = None,
    seen_frames: Sequence[Sequence[int]] = (),
) -> tuple[str, SpecialistRequest]:
    """Return the specialist's name and its request.

    `mode` decides which half of the message goes through: in "text" the signal is dropped, in "signal" everything
    the text says (instruction, boxes, drawings) is. The LLM counts the frames that it saw; with `seen_frames` (of each
    clip of the conversation, see `vitron.prompt`) the request's spans are frame numbers of the video.

    Raises:
        RoutingError: a picture or a clip is needed and the conversation has none.
    """
    name = specialist_of(invocation)
    sources = _READERS[name](messages) if name in _READERS else _Sources()
    textual = mode != "signal"
    regions = invocation.regions
    if sources.clip is not None and seen_frames:
        regions = _in_video(regions, seen_frames[sources.clip_index])
    return name, SpecialistRequest(
        instruction=strip_verb(invocation.instruction) if textual else "",
        regions=regions if textual else (),
        signal=signal if mode != "text" else None,
        image=sources.image,
        clip=sources.clip,
        drawn=sources.drawn if textual else (),
        reference=sources.reference if textual else None,
        reference_drawn=sources.reference_drawn if textual else None,
        seed=seed,
        options=dict(options or {}),
    )


def _picture_sources(messages: Sequence[Message]) -> _Sources:
    """Find the picture to work on, what is drawn on it, and a reference picture.

    The last user turn decides. If it brings two or more pictures and a drawing on an earlier one, that one is the
    reference and the last picture is worked on ("find this one there"); otherwise the picture drawn on is worked on.
    """
    images = [image for message in messages for image in message.images]
    if not images:
        raise RoutingError("images: this needs a picture, the conversation has none")
    last = _last_turn(messages)
    drawn = tuple(region for region in last.regions if region.clip is None)
    target = len(images) - 1
    if drawn and len(last.images) < 2:
        target = drawn[-1].image
    here = tuple(region for region in drawn if region.image == target)
    elsewhere = [region for region in drawn if region.image != target]
    reference = elsewhere[0] if elsewhere else None
    return _Sources(
        image=images[target],
        drawn=here,
        reference=images[reference.image] if reference else None,
        reference_drawn=reference,
    )


def _clip_sources(messages: Sequence[Message]) -> _Sources:
    """Find the clip to work on and what is drawn on its frames: the one drawn on, or else the last one.

    A picture of the last turn that is drawn on is a reference: it shows what is meant.
    """
    clips = [clip for message in messages for clip in message.clips]
    if not clips:
        raise RoutingError("videos: this needs a video, the conversation has none")
    last = _last_turn(messages)
    drawn = tuple(region for region in last.regions if region.clip is not None)
    target = drawn[-1].clip if drawn else len(clips) - 1
    assert target is not None
    on_pictures = [region for region in last.regions if region.clip is None]
    reference = on_pictures[0] if on_pictures else None
    images = [image for message in messages for image in message.images]
    return _Sources(
        clip=clips[target],
        clip_index=target,
        drawn=tuple(region for region in drawn if region.clip == target),
        reference=images[reference.image] if reference else None,
        reference_drawn=reference,
    )


def _in_video(regions: Sequence[Grounding], numbers: Sequence[int]) -> tuple[Grounding, ...]:
    """Turn spans of frames seen into spans of the video; beyond the last frame seen there is only that one."""
    last = len(numbers) - 1
    return tuple(
        region
        if region.span is None
        else dataclasses.replace(region, span=(numbers[min(region.span[0], last)], numbers[min(region.span[1], last)]))
        for region in regions
    )


def _last_turn(messages: Sequence[Message]) -> Message:
    return [message for message in messages if message.role == "user"][-1]


_READERS = {
    "seem": _picture_sources,
    "gligen_edit": _picture_sources,
    ANIMATOR: _picture_sources,
    "seem_video": _clip_sources,
    "stablevideo": _clip_sources,
}
"""What of the conversation a specialist works on; the others draw from the message alone."""
