"""The arguments that come beside a `ChatCall`: pictures, clips, and the envelopes with their features."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from torch import Tensor

from deployments.encoder import FEATURES, REGION_TOKENS
from deployments.envelope import Envelope, unpack
from deployments.messages import ChatCall, EdgeRecord, Medium
from deployments.video_encoder import CLIP_FRAMES, CLIP_MEAN, EncodedClip
from vitron.encoders.video_projector import ClipFeatures
from vitron.types import Clip, Image, Message


class ChatArrays(NamedTuple):
    """What the arguments hold, opened.

    Attributes:
        messages: the conversation with its pictures and clips.
        images: features of each picture.
        clips: of each clip.
        regions: tokens of each region, in the order in which they were drawn.
        edges: the crossings that led here.
    """

    messages: tuple[Message, ...]
    images: list[Tensor]
    clips: list[ClipFeatures]
    regions: list[Tensor]
    edges: tuple[EdgeRecord, ...]


class _Given(NamedTuple):
    images: tuple[Image, ...]
    clips: tuple[Clip, ...]
    features: tuple[Envelope, ...]
    clip_features: tuple[EncodedClip, ...]
    tokens: tuple[Envelope, ...]


def open_arrays(call: ChatCall, arrays: tuple[Any, ...], target: str) -> ChatArrays:
    """Open what came with a call at part `target`.

    Args:
        call: the conversation.
        arrays: all its pictures, all its clips, the features of each picture, those of each clip, and the region tokens
            of each of them that is drawn on, in the order of `ChatCall.drawn_media`.
        target: the part that opens it.
    """
    given = _split(call, arrays)
    features, edges = _open_all(given.features, FEATURES, target)
    means, mean_edges = _open_all(tuple(clip.mean for clip in given.clip_features), CLIP_MEAN, target)
    frames, frame_edges = _open_all(tuple(clip.frames for clip in given.clip_features), CLIP_FRAMES, target)
    tokens, token_edges = _open_all(given.tokens, REGION_TOKENS, target)
    rows: dict[Medium, Any] = {on: iter(each.unbind(0)) for on, each in zip(call.drawn_media(), tokens, strict=True)}
    return ChatArrays(
        messages=_with_media(call, given.images, given.clips),
        images=features,
        clips=[ClipFeatures(*each) for each in zip(means, frames, strict=True)],
        regions=[next(rows[on]) for on, _ in call.regions()],
        edges=edges + mean_edges + frame_edges + token_edges,
    )


def _split(call: ChatCall, arrays: tuple[Any, ...]) -> _Given:
    left = iter(arrays)
    images, clips = call.num_images, call.num_clips
    counts = (images, clips, images, clips, len(call.drawn_media()))
    return _Given(*[tuple(next(left) for _ in range(count)) for count in counts])


def _open_all(envelopes: tuple[Envelope, ...], name: str, target: str) -> tuple[list[Tensor], tuple[EdgeRecord, ...]]:
    tensors: list[Tensor] = []
    edges: tuple[EdgeRecord, ...] = ()
    for envelope in envelopes:
        tensor, record = unpack(envelope, name=name, target=target)
        tensors.append(tensor)
        edges += (*envelope.edges, record)
    return tensors, edges


def _with_media(call: ChatCall, images: tuple[Image, ...], clips: tuple[Clip, ...]) -> tuple[Message, ...]:
    left, films = iter(images), iter(clips)
    clip_counts = call.clips_per_message or (0,) * len(call.messages)
    return tuple(
        dataclasses.replace(
            message,
            images=tuple(next(left) for _ in range(image_count)),
            clips=tuple(next(films) for _ in range(clip_count)),
        )
        for message, image_count, clip_count in zip(call.messages, call.images_per_message, clip_counts, strict=True)
    )
