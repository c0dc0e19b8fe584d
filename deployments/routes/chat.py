"""`POST /v1/chat/completions`: the assistant itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, NamedTuple, NoReturn

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from deployments import sse
from deployments.body import read_model
from deployments.conversation import Conversation, read_conversation
from deployments.errors import ApiError, from_exception, from_failure
from deployments.extension import extension
from deployments.messages import ChatEvent, Done, Failure, Progress, TextDelta
from deployments.models import check_model
from deployments.reply import ChatWriter
from deployments.schema import ChatRequest
from deployments.service import Service

_logger = logging.getLogger(__name__)


def chat_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        limits = service.args.limits
        body = await read_model(request, ChatRequest, limits)
        check_model(body.model, service.args)
        request_id = str(request.scope["request_id"])
        owner = str(request.scope["owner"])
        conversation = await read_conversation(body, service.args, service.media, owner, request_id)
        answer = _Answer(service, body, conversation, owner, ChatWriter(request_id, body.model))
        if not body.stream:
            async with asyncio.timeout(limits.request_timeout_s):
                return JSONResponse(await _whole(answer))
        beats = sse.with_heartbeat(answer.events(), limits.heartbeat_s, limits.request_timeout_s)
        first = await _first(beats, service)
        stream = _stream(answer, first, beats)
        return StreamingResponse(stream, media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)

    return router


class _Answer(NamedTuple):
    """One request on its way to its answer."""

    service: Service
    body: ChatRequest
    conversation: Conversation
    owner: str
    writer: ChatWriter

    def events(self) -> AsyncGenerator[ChatEvent]:
        asked = self.conversation
        return self.service.graph.chat(asked.call, asked.images, asked.clips)

    async def extension(self, done: Done) -> dict[str, Any]:
        seen = self.conversation.call.seen_frames
        return await extension(done, self.body.vitron, seen, self.service.files, self.owner)

    def raise_for(self, failure: Failure) -> NoReturn:
        raise from_failure(failure, self.service.args.limits.retry_after_s)


async def _whole(answer: _Answer) -> dict[str, Any]:
    text = ""
    async with aclosing(answer.events()) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                text += event.text
            elif isinstance(event, Failure):
                answer.raise_for(event)
            elif isinstance(event, Done):
                return answer.writer.completion(text, event, await answer.extension(event))
    raise ApiError(500, "the reply ended before it was complete")


async def _first(beats: AsyncGenerator[ChatEvent | None], service: Service) -> ChatEvent | None:
    """Wait for the first sign of a reply: what fails before it can still become a status code."""
    first = await anext(beats)
    if isinstance(first, Failure):
        await beats.aclose()
        raise from_failure(first, service.args.limits.retry_after_s)
    return first


async def _stream(
    answer: _Answer, first: ChatEvent | None, beats: AsyncGenerator[ChatEvent | None]
) -> AsyncIterator[bytes]:
    try:
        async with aclosing(beats):
            yield sse.event(answer.writer.chunk({"role": "assistant", "content": ""}))
            async for piece in _pieces(answer, first):
                yield piece
            async for event in beats:
                async for piece in _pieces(answer, event):
                    yield piece
        yield sse.DONE
    # The status line has gone out: the error can only be an event. OpenAI's clients raise it.
    except Exception as error:
        problem = from_exception(error, answer.service.args.limits.retry_after_s)
        if problem.status >= 500:
            _logger.error("a stream failed", exc_info=error)
        yield sse.event(problem.body())


async def _pieces(answer: _Answer, event: ChatEvent | None) -> AsyncIterator[bytes]:
    writer, asked = answer.writer, answer.body.stream_options
    if event is None:
        yield sse.HEARTBEAT
    elif isinstance(event, TextDelta):
        yield sse.event(writer.chunk({"content": event.text}))
    elif isinstance(event, Progress):
        progress = {"done": event.done, "total": event.total}
        yield sse.event(writer.chunk({"vitron": {"progress": progress}}))
    elif isinstance(event, Failure):
        answer.raise_for(event)
    elif isinstance(event, Done):
        yield sse.event(writer.chunk({"vitron": await answer.extension(event)}, event.finish_reason))
        if asked is not None and asked.include_usage:
            yield sse.event(writer.usage_chunk(event))
