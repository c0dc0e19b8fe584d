"""What happens to every request around its route: identity, key, size, admission, measuring, last resort.

Plain ASGI, so that streams pass through untouched.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from deployments.args import Limits
from deployments.auth import Authenticator
from deployments.errors import ApiError, from_exception, overloaded
from deployments.metrics import GatewayMetrics

Scope = MutableMapping[str, Any]
MessageDict = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MessageDict]]
Send = Callable[[MessageDict], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_logger = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
OPEN_PATHS = ("/health",)
"""Served without a key."""
UNCOUNTED_PATHS = ("/health", "/metrics")
"""Served however busy the gateway is."""


class Around:
    """Wraps the routes of one gateway."""

    def __init__(self, app: App, limits: Limits, authenticator: Authenticator, metrics: GatewayMetrics) -> None:
        """Keep the parts; `app` is the application with its routes."""
        self._app = app
        self._limits = limits
        self._authenticator = authenticator
        self._metrics = metrics
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, _request_id(scope))
        scope["request_id"] = answer.request_id
        start = time.perf_counter()
        try:
            await self._admit(scope, receive, answer)
        # The HTTP edge: whatever was not foreseen becomes an error body, never a broken connection.
        except Exception as error:
            await self._last_resort(error, scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            seconds = time.perf_counter() - start
            self._metrics.request(route, str(scope["method"]), answer.status, seconds)

    async def _admit(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        path = str(scope["path"])
        if path not in OPEN_PATHS:
            scope["owner"] = self._authenticator.check(scope)
        if path in UNCOUNTED_PATHS:
            await self._app(scope, receive, answer)
            return
        if self._active >= self._limits.max_active:
            raise overloaded(self._limits.retry_after_s)
        body = _BodyLimit(scope, receive, self._limits.max_body_bytes)
        self._active += 1
        try:
            await self._app(scope, body, answer)
        finally:
            self._active -= 1

    async def _last_resort(self, error: Exception, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if answer.complete:  # the framework has sent the error and raises it again
            return
        problem = from_exception(error, self._limits.retry_after_s)
        if problem.status >= 500:
            _logger.error("request %s failed", answer.request_id, exc_info=error)
        if answer.started:
            raise error
        await problem.response()(scope, receive, answer)


class _Answer:
    """Sends a response on, adding the request id; knows the status and whether it has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.started = False
        self.complete = False
        self.status = 499  # what is counted for a client that left before an answer began

    async def __call__(self, message: MessageDict) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, int(message["status"])
            headers = [*message.get("headers", []), (b"x-request-id", self.request_id.encode())]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self.complete = True
        await self._send(message)


class _BodyLimit:
    """Receives a body and stops at its limit, at once if the client announces more."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0
        announced = _header(scope, b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > limit:
            raise self._too_large()

    async def __call__(self) -> MessageDict:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                raise self._too_large()
        return message

    def _too_large(self) -> ApiError:
        return ApiError(413, f"body: expected at most {self._limit} bytes")


def _request_id(scope: Scope) -> str:
    """Return the client's id if it is fit for logs and headers, else a new one."""
    given = (_header(scope, b"x-request-id") or b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key.lower() == name:
            return bytes(value)
    return None
