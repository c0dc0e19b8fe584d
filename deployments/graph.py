"""The way of one request along the edges, held by the gateway. Which deployments there are is `app`'s business.

Results of one part are passed to the next before they exist: as responses in top-level arguments, which Ray
resolves at the receiver. So this process names features and never holds them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from deployments.args import Limits
from deployments.errors import is_replica_loss
from deployments.media_reader import NamedClip
from deployments.messages import ChatCall, ChatEvent, Done, Medium, Progress, RunResult, TextDelta
from deployments.metrics import GatewayMetrics
from deployments.parts import Handle
from vitron.media import fingerprint
from vitron.specialists.base import SpecialistRequest
from vitron.types import Clip, Image

_logger = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.25
Put = Callable[[Any], Any]
"""Stores a picture or clip once and returns what stands for it in arguments (`ray.put`, or nothing in one process)."""


class _Media(NamedTuple):
    """The media of one conversation, stored, with what the graph must know of them.

    Attributes:
        images, clips: stored as they are.
        names: of the pictures by content.
        frames: of each clip, those that are seen, stored.
        frame_names: of those by content.
        sizes: height and width.
    """

    images: list[Any]
    clips: list[Any]
    names: list[str]
    frames: list[Any]
    frame_names: list[str]
    sizes: dict[Medium, tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Handles:
    """The parts, as handles."""

    image_encoder: Handle
    video_encoder: Handle
    region_encoder: Handle
    language_model: Handle
    specialists: Mapping[str, Handle]


class Graph:
    """Runs requests through the parts; survives the loss of any replica before text was sent."""

    def __init__(self, handles: Handles, limits: Limits, metrics: GatewayMetrics, *, put: Put) -> None:
        """Keep the handles, set so that large arguments travel by reference."""
        self._encoder = handles.image_encoder.options(_by_reference=True)
        self._videos = handles.video_encoder.options(_by_reference=True)
        self._regions = handles.region_encoder.options(_by_reference=True)
        self._language = handles.language_model.options(stream=True, _by_reference=True)
        self._specialists = {name: handle.options(_by_reference=True) for name, handle in handles.specialists.items()}
        self._limits = limits
        self._metrics = metrics
        self._put = put

    @property
    def specialists(self) -> frozenset[str]:
        """Names of the specialists that there are."""
        return frozenset(self._specialists)

    async def chat(
        self, call: ChatCall, images: list[Image], clips: Sequence[NamedClip] = ()
    ) -> AsyncGenerator[ChatEvent]:
        """Stream the reply to a conversation whose pictures and clips these are, in reading order."""
        media = await asyncio.to_thread(self._store, call, images, clips)
        spoken = False
        for attempt in range(self._limits.max_retries + 1):
            try:
                async with aclosing(self._attempt(call, media)) as events:
                    async for event in events:
                        spoken = spoken or isinstance(event, TextDelta)
                        self._count(event)
                        yield event
                return
            # Decided by `is_replica_loss` alone; every other error goes on to the client.
            except Exception as error:
                if spoken or attempt == self._limits.max_retries or not is_replica_loss(error):
                    raise
                await self._before_retry(call.request_id, attempt, error)

    def _store(self, call: ChatCall, images: list[Image], clips: Sequence[NamedClip]) -> _Media:
        """Store every medium once, whatever happens to the parts; of clips, also the frames that are seen alone."""
        stored = [self._put(each.clip) for each in clips]
        frames, names = [], []
        for each, seen in zip(clips, call.seen_frames, strict=True):
            places = [each.clip.numbers.index(number) for number in seen]
            frames.append(self._put(each.clip.frames[places]))
            names.append(f"{each.name}:{','.join(map(str, seen))}")
        sizes = {Medium(False, i): image.shape[:2] for i, image in enumerate(images)}
        sizes |= {Medium(True, i): each.clip.frames.shape[1:3] for i, each in enumerate(clips)}
        return _Media(
            images=[self._put(image) for image in images],
            clips=stored,
            names=[fingerprint(image) for image in images],
            frames=frames,
            frame_names=names,
            sizes=sizes,
        )

    async def _attempt(self, call: ChatCall, media: _Media) -> AsyncGenerator[ChatEvent]:
        features = [self._encoder.encode.remote(*each) for each in zip(media.names, media.images, strict=True)]
        clips = [
            self._videos.encode.remote(name, frames, _places(seen, call.drawn_frames(index)))
            for index, (name, frames, seen) in enumerate(
                zip(media.frame_names, media.frames, call.seen_frames, strict=True)
            )
        ]
        tokens = [
            self._draw(call, medium, media, clips if medium.is_clip else features) for medium in call.drawn_media()
        ]
        events = self._language.chat.remote(call, *media.images, *media.clips, *features, *clips, *tokens)
        pending = [*features, *clips, *tokens, events]
        finished = False
        try:
            async for event in events:
                yield event
            finished = True
        finally:
            # A client that left, or a part that failed: nobody waits for the others either.
            if not finished:
                for response in pending:
                    response.cancel()

    def _draw(self, call: ChatCall, medium: Medium, media: _Media, features: list[Any]) -> Any:
        """Encode what is drawn on one picture or clip, from its features to come."""
        regions = tuple(region for on, region in call.regions() if on == medium)
        height, width = media.sizes[medium]
        if not medium.is_clip:
            return self._regions.encode.remote(regions, height, width, features[medium.index])
        places = _places(call.drawn_frames(medium.index), [region.frame for region in regions])
        return self._regions.encode_on_clip.remote(regions, places, height, width, features[medium.index])

    async def run(self, name: str, request: SpecialistRequest, image: Image | None) -> RunResult:
        """Run a specialist directly, without the LLM and so without a signal."""
        stored = None if image is None else self._put(image)

        async def call() -> RunResult:
            pending = self._specialists[name].run.remote(request, None, stored, None)
            try:
                made: RunResult = await pending
                return made
            except asyncio.CancelledError:
                pending.cancel()
                raise

        result = await self._retried(f"{name} request", call)
        self._metrics.edges(result.edges)
        return result

    async def work(
        self, name: str, request: SpecialistRequest, image: Image | None, clip: Clip | None
    ) -> AsyncGenerator[Progress | RunResult]:
        """Run a specialist directly as `run` does, once; tell its progress, and give its result last."""
        stored = [None if medium is None else self._put(medium) for medium in (image, clip)]
        handle = self._specialists[name].options(stream=True)
        events = handle.stream.remote(request, None, stored[0], None, stored[1])
        finished = False
        try:
            async for event in events:
                if isinstance(event, RunResult):
                    self._metrics.edges(event.edges)
                yield event
            finished = True
        finally:
            if not finished:
                events.cancel()

    async def _retried(self, what: str, call: Callable[[], Awaitable[RunResult]]) -> RunResult:
        for attempt in range(self._limits.max_retries):
            try:
                return await call()
            # As in `chat`.
            except Exception as error:
                if not is_replica_loss(error):
                    raise
                await self._before_retry(what, attempt, error)
        return await call()

    async def _before_retry(self, what: str, attempt: int, error: Exception) -> None:
        _logger.warning("%s lost a replica (%s), attempt %d", what, type(error).__name__, attempt)
        self._metrics.retry()
        await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt)

    def _count(self, event: ChatEvent) -> None:
        if not isinstance(event, Done):
            return
        self._metrics.edges(event.edges)
        self._metrics.tokens(event.prompt_tokens, event.completion_tokens, event.cached_tokens)
        if event.invocation is not None:
            self._metrics.invocation(event.invocation.module.value, failed=event.error is not None)


def _places(numbers: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """Where among `numbers` the wanted ones are."""
    return tuple(numbers.index(number) for number in wanted)
