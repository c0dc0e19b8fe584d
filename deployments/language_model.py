"""The LLM as a deployment: streams text and, when it invokes a specialist, calls it.

The signal embedding goes from here to the specialist's replica directly; the caller sees text and results.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deployments.args import AppArgs
from deployments.encoder import FEATURES, REGION_TOKENS
from deployments.envelope import Envelope, pack, unpack
from deployments.errors import is_replica_loss
from deployments.messages import (
    ChatCall,
    ChatEvent,
    Done,
    EdgeRecord,
    Failure,
    RunResult,
    TextDelta,
    Working,
)
from deployments.parts import Handle, Loaders
from deployments.specialist import SIGNAL
from deployments.text import TextStream
from vitron.language import Detokenizer
from vitron.llm.engine import (
    EngineFullError,
    EngineThread,
    GenerationRequest,
    GenerationResult,
    SamplingParams,
    TokenEvent,
)
from vitron.specialists.base import SpecialistRequest
from vitron.types import Image, Message

_logger = logging.getLogger(__name__)
_PART = "language_model"
EngineEvent = TokenEvent | GenerationResult | BaseException


class _Prepared(NamedTuple):
    request: GenerationRequest
    messages: tuple[Message, ...]
    edges: tuple[EdgeRecord, ...]


class LanguageModel:
    """Answers conversations with continuous batching; `specialists` are handles by specialist name."""

    def __init__(self, args: AppArgs, load: Loaders, specialists: Mapping[str, Handle]) -> None:
        """Load the weights and start the engine's thread."""
        torch.set_num_threads(args.torch_threads)
        self._load = load
        self._language = load.language(args)
        self._revision = load.revision(args)
        self._engine = EngineThread(self._language.engine)
        self._max_retries = args.limits.max_retries
        self._specialists = {name: handle.options(_by_reference=True) for name, handle in specialists.items()}

    def check_health(self) -> None:
        """Raise once the engine has died, so that this replica is replaced."""
        if not self._engine.healthy:
            raise RuntimeError("the LLM engine has stopped") from self._engine.error

    async def live(self) -> dict[str, int]:
        """Count the requests that run, wait, and the slots that are free."""
        engine = self._engine.engine
        return {
            "running": engine.num_running,
            "waiting": engine.num_waiting,
            "free_slots": engine.num_free_slots,
        }

    async def chat(self, call: ChatCall, *arrays: Any) -> AsyncIterator[ChatEvent]:
        """Stream the reply to a conversation.

        Args:
            call: the conversation.
            arrays: all its pictures, then the features of each picture, then the region tokens of each
                picture that is drawn on.

        Yields:
            Text as it is written, then `Done`, or `Failure` if there is no reply.
        """
        try:
            prepared = await asyncio.to_thread(self._prepare, call, arrays)
        except ValueError as error:
            yield Failure(kind="invalid", message=str(error))
            return
        events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        refused = self._submit(prepared.request, events)
        if refused is not None:
            yield refused
            return
        stream = TextStream(Detokenizer(self._language), call.sampling.stop)
        result: GenerationResult | None = None
        try:
            while result is None:
                delta, result = self._absorb(await _drain(events), stream)
                if delta:
                    yield TextDelta(text=delta)
                if stream.stopped:
                    break
        finally:
            # Also reached when the client has gone: its slot goes to the next request.
            if result is None:
                self._engine.cancel(prepared.request.request_id)
        if result is None:
            yield _stopped(prepared, stream)
            return
        async for event in self._conclude(call, prepared, result, stream):
            yield event

    def _submit(self, request: GenerationRequest, events: asyncio.Queue[EngineEvent]) -> Failure | None:
        loop = asyncio.get_running_loop()

        def on_event(event: EngineEvent) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        try:
            self._engine.submit(request, on_event)
        except ValueError as error:
            return Failure(kind="invalid", message=str(error), code="context_length_exceeded")
        except EngineFullError as error:
            return Failure(kind="overloaded", message=str(error))
        return None

    def _absorb(self, batch: list[EngineEvent], stream: TextStream) -> tuple[str, GenerationResult | None]:
        delta = ""
        for event in batch:
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, GenerationResult):
                return delta, event
            delta += stream.feed(event.token_id)
        return delta, None

    def _prepare(self, call: ChatCall, arrays: tuple[Any, ...]) -> _Prepared:
        count = call.num_images
        images: tuple[Image, ...] = arrays[:count]
        features, edges = _open_all(arrays[count : 2 * count], FEATURES)
        tokens, more = _open_all(arrays[2 * count :], REGION_TOKENS)
        rows = {image: iter(t.unbind(0)) for image, t in zip(call.drawn_images(), tokens, strict=True)}
        in_order = [next(rows[image]) for image, _ in call.regions()]
        messages = _with_images(call, images)
        sampling = call.sampling
        params = SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
        )
        # A client may use one id twice, and a retry may reach the replica that still winds the first attempt down.
        unique = f"{call.request_id}-{uuid.uuid4().hex[:8]}"
        request = self._language.start(messages, features, in_order, params, unique)
        return _Prepared(request, messages, edges + more)

    async def _conclude(
        self,
        call: ChatCall,
        prepared: _Prepared,
        result: GenerationResult,
        stream: TextStream,
    ) -> AsyncIterator[ChatEvent]:
        """Send the rest of the text, and carry out the invocation."""
        answer = await asyncio.to_thread(self._language.answer, result)
        rest = stream.finish(answer.text)
        if rest:
            yield TextDelta(text=rest)
        done = Done(
            invocation=answer.invocation,
            error=answer.error,
            finish_reason="length" if result.finish_reason == "length" else "stop",
            prompt_tokens=result.prompt_tokens,
            completion_tokens=len(result.token_ids),
            cached_tokens=result.cached_tokens,
            edges=prepared.edges,
        )
        if stream.stopped:
            yield dataclasses.replace(done, invocation=None, error=None)
            return
        if answer.invocation is None or answer.error is not None:
            yield done
            return
        yield Working(invocation=answer.invocation)
        try:
            name, request = self._load.route(
                answer.invocation,
                prepared.messages,
                answer.signal,
                call.message,
                call.sampling.seed or 0,
                call.options,
            )
        except ValueError as problem:
            yield dataclasses.replace(done, error=str(problem))
            return
        made = await self._run_specialist(name, request)
        yield dataclasses.replace(
            done,
            output=made.output,
            error=made.failure.message if made.failure else None,
            edges=done.edges + made.edges,
        )

    async def _run_specialist(self, name: str, request: SpecialistRequest) -> RunResult:
        """Call the specialist; if its replica dies, another one does the work."""
        if name not in self._specialists:
            known = sorted(self._specialists)
            message = f"specialist: got {name!r}, expected one of {known}"
            return RunResult(failure=Failure(kind="failed", message=message))
        header = dataclasses.replace(request, signal=None, image=None, reference=None)
        for attempt in range(self._max_retries + 1):
            signal = self._pack_signal(request.signal)
            pending = self._specialists[name].run.remote(header, signal, request.image, request.reference)
            try:
                made: RunResult = await pending
                return made
            except asyncio.CancelledError:
                pending.cancel()
                raise
            # Which errors mean a lost replica is decided in one place; the rest is raised again.
            except Exception as error:
                if not is_replica_loss(error):
                    raise
                _logger.warning("a replica of %s was lost, attempt %d", name, attempt + 1)
                await asyncio.sleep(0.2 * 2**attempt)
        return RunResult(failure=Failure(kind="failed", message=f"{name}: its replicas were lost repeatedly"))

    def _pack_signal(self, signal: Tensor | None) -> Envelope | None:
        if signal is None:
            return None
        return pack(signal, name=SIGNAL, source=_PART, revision=self._revision)


async def _drain(events: asyncio.Queue[EngineEvent]) -> list[EngineEvent]:
    """Wait for one event and take all that are there: a slow reader gets fewer, larger deltas."""
    batch = [await events.get()]
    while not events.empty():
        batch.append(events.get_nowait())
    return batch


def _open_all(envelopes: tuple[Envelope, ...], name: str) -> tuple[list[Tensor], tuple[EdgeRecord, ...]]:
    tensors: list[Tensor] = []
    edges: tuple[EdgeRecord, ...] = ()
    for envelope in envelopes:
        tensor, record = unpack(envelope, name=name, target=_PART)
        tensors.append(tensor)
        edges += (*envelope.edges, record)
    return tensors, edges


def _with_images(call: ChatCall, images: tuple[Image, ...]) -> tuple[Message, ...]:
    messages, start = [], 0
    for message, count in zip(call.messages, call.images_per_message, strict=True):
        messages.append(dataclasses.replace(message, images=images[start : start + count]))
        start += count
    return tuple(messages)


def _stopped(prepared: _Prepared, stream: TextStream) -> Done:
    """End a reply at a stop word: whatever the LLM would have invoked later was not asked for."""
    return Done(
        prompt_tokens=prepared.request.prompt_tokens,
        completion_tokens=stream.num_tokens,
        edges=prepared.edges,
    )
