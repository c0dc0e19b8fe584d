"""The way of one request along the edges, held by the gateway. Which deployments there are is `app`'s business.

Results of one part are passed to the next before they exist: as responses in top-level arguments, which Ray
resolves at the receiver. So this process names features and never holds them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from deployments.args import Limits
from deployments.errors import is_replica_loss
from deployments.messages import ChatCall, ChatEvent, Done, RunResult, TextDelta
from deployments.metrics import GatewayMetrics
from deployments.parts import Handle
from vitron.media import fingerprint
from vitron.specialists.base import SpecialistRequest
from vitron.types import Image

_logger = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.25
Put = Callable[[Image], Any]
"""Stores a picture once and returns what stands for it in arguments (`ray.put`, or nothing in one process)."""


@dataclass(frozen=True, kw_only=True)
class Handles:
    """The parts, as handles."""

    image_encoder: Handle
    region_encoder: Handle
    language_model: Handle
    specialists: Mapping[str, Handle]


class Graph:
    """Runs requests through the parts; survives the loss of any replica before text was sent."""

    def __init__(self, handles: Handles, limits: Limits, metrics: GatewayMetrics, *, put: Put) -> None:
        """Keep the handles, set so that large arguments travel by reference."""
        self._encoder = handles.image_encoder.options(_by_reference=True)
        self._regions = handles.region_encoder.options(_by_reference=True)
        self._language = handles.language_model.options(stream=True, _by_reference=True)
        self._specialists = {name: handle.options(_by_reference=True) for name, handle in handles.specialists.items()}
        self._limits = limits
        self._metrics = metrics
        self._put = put

    async def chat(self, call: ChatCall, images: list[Image]) -> AsyncGenerator[ChatEvent]:
        """Stream the reply to a conversation whose pictures are `images`."""
        names = await asyncio.to_thread(lambda: [fingerprint(image) for image in images])
        stored = [self._put(image) for image in images]
        spoken = False
        for attempt in range(self._limits.max_retries + 1):
            try:
                async with aclosing(self._attempt(call, images, names, stored)) as events:
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

    async def _attempt(
        self, call: ChatCall, images: list[Image], names: list[str], stored: list[Any]
    ) -> AsyncGenerator[ChatEvent]:
        features = [self._encoder.encode.remote(name, picture) for name, picture in zip(names, stored, strict=True)]
        tokens = [
            self._regions.encode.remote(
                tuple(region for at, region in call.regions() if at == index),
                images[index].shape[0],
                images[index].shape[1],
                features[index],
            )
            for index in call.drawn_images()
        ]
        events = self._language.chat.remote(call, *stored, *features, *tokens)
        pending = [*features, *tokens, events]
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
