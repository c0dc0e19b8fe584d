"""The LLM as a deployment: streams text and, when it invokes a specialist, calls it.

The signal embedding goes from here to the specialist's replica directly; the caller sees text and results.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

import torch

from deployments.args import AppArgs
from deployments.chat_arrays import open_arrays
from deployments.invoke import SpecialistCaller
from deployments.messages import (
    ChatCall,
    ChatEvent,
    Done,
    EdgeRecord,
    Failure,
    Progress,
    RunResult,
    TextDelta,
    Working,
)
from deployments.parts import Handle, Loaders
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
from vitron.types import Message

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
        self._engine = EngineThread(self._language.engine)
        self._specialists = SpecialistCaller(
            specialists, source=_PART, revision=load.revision(args), max_retries=args.limits.max_retries
        )

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
            arrays: its media and their features, see `deployments.chat_arrays`.

        Yields:
            Text as it is written, the progress of a specialist, then `Done`, or `Failure` if there is no reply.
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
        async with aclosing(self._conclude(call, prepared, result, stream)) as rest:
            async for event in rest:
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
        given = open_arrays(call, arrays, _PART)
        sampling = call.sampling
        params = SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
        )
        # A client may use one id twice, and a retry may reach the replica that still winds the first attempt down.
        unique = f"{call.request_id}-{uuid.uuid4().hex[:8]}"
        request = self._language.start(
            given.messages,
            given.images,
            given.regions,
            params,
            unique,
            clip_features=given.clips,
            required=call.required,
        )
        return _Prepared(request, given.messages, given.edges)

    async def _conclude(
        self,
        call: ChatCall,
        prepared: _Prepared,
        result: GenerationResult,
        stream: TextStream,
    ) -> AsyncGenerator[ChatEvent]:
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
                call.seen_frames,
            )
        except ValueError as problem:
            yield dataclasses.replace(done, error=str(problem))
            return
        made = RunResult()
        async with aclosing(self._specialists.call(name, request)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    yield event
                else:
                    made = event
        yield dataclasses.replace(
            done,
            output=made.output,
            error=made.failure.message if made.failure else None,
            lost=made.failure is not None and made.failure.kind == "overloaded",
            edges=done.edges + made.edges,
        )


async def _drain(events: asyncio.Queue[EngineEvent]) -> list[EngineEvent]:
    """Wait for one event and take all that are there: a slow reader gets fewer, larger deltas."""
    batch = [await events.get()]
    while not events.empty():
        batch.append(events.get_nowait())
    return batch


def _stopped(prepared: _Prepared, stream: TextStream) -> Done:
    """End a reply at a stop word: whatever the LLM would have invoked later was not asked for."""
    return Done(
        prompt_tokens=prepared.request.prompt_tokens,
        completion_tokens=stream.num_tokens,
        edges=prepared.edges,
    )
