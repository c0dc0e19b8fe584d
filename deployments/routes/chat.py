"""`POST /v1/chat/completions`: the assistant itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from deployments import sse
from deployments.body import read_model
from deployments.conversation import Conversation, read_conversation
from deployments.errors import ApiError, from_exception, from_failure
from deployments.messages import ChatEvent, Done, Failure, TextDelta
from deployments.models import check_model
from deployments.reply import ChatWriter, extension
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
        conversation = await read_conversation(body, service.args, service.pictures, request_id)
        writer = ChatWriter(request_id, body.model)
        if not body.stream:
            async with asyncio.timeout(limits.request_timeout_s):
                return JSONResponse(await _whole(service, body, conversation, writer))
        events = service.graph.chat(conversation.call, conversation.images)
        beats = sse.with_heartbeat(events, limits.heartbeat_s, limits.request_timeout_s)
        first = await _first(beats, service)
        stream = _stream(service, body, first, beats, writer)
        return StreamingResponse(stream, media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)

    return router


async def _whole(service: Service, body: ChatRequest, conversation: Conversation, writer: ChatWriter) -> dict[str, Any]:
    text = ""
    async with aclosing(service.graph.chat(conversation.call, conversation.images)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                text += event.text
            elif isinstance(event, Failure):
                raise from_failure(event, service.args.limits.retry_after_s)
            elif isinstance(event, Done):
                vitron = await asyncio.to_thread(extension, event, body.vitron.mask_format)
                return writer.completion(text, event, vitron)
    raise ApiError(500, "the reply ended before it was complete")


async def _first(beats: AsyncGenerator[ChatEvent | None], service: Service) -> ChatEvent | None:
    """Wait for the first sign of a reply: what fails before it can still become a status code."""
    first = await anext(beats)
    if isinstance(first, Failure):
        await beats.aclose()
        raise from_failure(first, service.args.limits.retry_after_s)
    return first


async def _stream(
    service: Service,
    body: ChatRequest,
    first: ChatEvent | None,
    beats: AsyncGenerator[ChatEvent | None],
    writer: ChatWriter,
) -> AsyncIterator[bytes]:
    try:
        async with aclosing(beats):
            yield sse.event(writer.chunk({"role": "assistant", "content": ""}))
            async for piece in _pieces(service, body, first, writer):
                yield piece
            async for event in beats:
                async for piece in _pieces(service, body, event, writer):
                    yield piece
        yield sse.DONE
    # The status line has gone out: the error can only be an event. OpenAI's clients raise it.
    except Exception as error:
        problem = from_exception(error, service.args.limits.retry_after_s)
        if problem.status >= 500:
            _logger.error("a stream failed", exc_info=error)
        yield sse.event(problem.body())


async def _pieces(
    service: Service, body: ChatRequest, event: ChatEvent | None, writer: ChatWriter
) -> AsyncIterator[bytes]:
    if event is None:
        yield sse.HEARTBEAT
    elif isinstance(event, TextDelta):
        yield sse.event(writer.chunk({"content": event.text}))
    elif isinstance(event, Failure):
        raise from_failure(event, service.args.limits.retry_after_s)
    elif isinstance(event, Done):
        vitron = await asyncio.to_thread(extension, event, body.vitron.mask_format)
        yield sse.event(writer.chunk({"vitron": vitron}, event.finish_reason))
        if body.stream_options is not None and body.stream_options.include_usage:
            yield sse.event(writer.usage_chunk(event))
