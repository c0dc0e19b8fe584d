"""Failures as HTTP clients see them: one exception, the OpenAI error body, and who may retry.

Everything a route or a part raises is turned into an `ApiError` here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import ray.exceptions
from pydantic import ValidationError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from deployments.jobs.model import (
    IdempotencyError,
    StorageError,
    StorageFullError,
    TooManyJobsError,
)
from deployments.messages import Failure
from vitron.llm.request import EngineStoppedError
from vitron.media import MediaError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
}
_CODES = {
    400: "invalid_value",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    411: "length_required",
    413: "request_too_large",
    415: "unsupported_media_type",
    429: "overloaded",
    500: "internal_error",
    503: "unavailable",
}
_LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.TaskUnschedulableError,
)
_UNION_TAGS = ("str", "float", "constrained-str", "constrained-float", "RleField", "ImageUrl")
_MAX_CAUSES = 8
SHOWN_CHARS = 80
"""Longest piece of a client's own input that an error message repeats."""


class ApiError(Exception):
    """An answer that is an error, in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep the parts; `code` defaults to the usual one of `status`."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code or _CODES.get(status, "error")
        self.headers = dict(headers or {})
        if status == 400 or status == 413:
            # The same request will fail again: tell OpenAI's client not to try.
            self.headers.setdefault("x-should-retry", "false")

    @property
    def type(self) -> str:
        """OpenAI's coarse class of the error."""
        fallback = "server_error" if self.status >= 500 else "invalid_request_error"
        return _TYPES.get(self.status, fallback)

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def response(self) -> Response:
        """Return the HTTP response."""
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers)


def overloaded(retry_after_s: int, *, status: int = 429, message: str | None = None) -> ApiError:
    """Return the error that asks a client to come back later."""
    text = message or f"the server is busy; retry after {retry_after_s} s"
    return ApiError(status, text, headers={"Retry-After": str(retry_after_s)})


def from_validation(error: ValidationError) -> ApiError:
    """Name one wrong field of a body, what was given and what is allowed."""
    # Of a union every member complains; the one that got furthest is the one that was meant.
    first = max(error.errors(include_url=False), key=lambda item: len(item["loc"]))
    field = dotted(_without_tags(first["loc"]))
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"{field}: unknown field", param=field, code="unknown_parameter")
    if first["type"] == "missing":
        return ApiError(400, f"{field}: field required", param=field, code="missing_required_parameter")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] != "value_error":  # ours say what was given themselves
        message = f"{message} (got {shown(first['input'])})"
    return ApiError(400, f"{field}: {message}" if field else message, param=field or None)


def dotted(path: list[int | str]) -> str:
    """Spell a path into a JSON document: `messages[0].content`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _without_tags(path: tuple[int | str, ...]) -> list[int | str]:
    """Leave a client's keys of pydantic's path, which also names the members of unions."""
    kept: list[int | str] = []
    for part in path:
        is_tag = isinstance(part, str) and (part in _UNION_TAGS or any(c in part for c in "[("))
        # A tagged union repeats the tag: `content[0].image_url.image_url.url`.
        if not is_tag and not (kept and kept[-1] == part and isinstance(part, str)):
            kept.append(part)
    return kept


def shown(value: object) -> str:
    """Repeat a client's value, cut to a length that cannot flood a log."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."


def unwrap(error: BaseException) -> BaseException:
    """Return what a remote part really raised."""
    while isinstance(error, ray.exceptions.RayTaskError):
        cause = getattr(error, "cause", None)
        if not isinstance(cause, BaseException) or cause is error:
            break
        error = cause
    return error


def is_replica_loss(error: BaseException) -> bool:
    """Tell whether a part's process was lost, so that another replica may do the work."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if isinstance(cause, (*_LOST, EngineStoppedError)):
            return True
        # When a part that made an argument is lost, Ray Serve wraps that in an error of its own.
        cause = cause.cause if isinstance(cause, ray.exceptions.RayTaskError) else getattr(cause, "__cause__", None)
    return False


def from_failure(failure: Failure, retry_after_s: int) -> ApiError:
    """Translate what a part reports as the end of a request."""
    if failure.kind == "invalid":
        return ApiError(400, failure.message, code=failure.code)
    if failure.kind == "overloaded":
        return overloaded(retry_after_s, message=failure.message)
    return ApiError(500, failure.message, code=failure.code)


def from_storage(error: StorageError, retry_after_s: int) -> ApiError:
    """Translate what could not be kept or read."""
    if isinstance(error, IdempotencyError):
        return ApiError(400, str(error), param="Idempotency-Key", code="idempotency_key_reused")
    headers = {"Retry-After": str(retry_after_s)}
    if isinstance(error, TooManyJobsError):
        return ApiError(429, str(error), code="too_many_jobs", headers=headers)
    if isinstance(error, StorageFullError):
        return ApiError(507, f"{error}; nothing was accepted", code="storage_full", headers=headers)
    return ApiError(503, f"{error}; nothing was accepted", code="storage_unavailable", headers=headers)


def from_exception(error: BaseException, retry_after_s: int) -> ApiError:
    """Translate anything. What is not known to be the client's doing tells no detail."""
    cause = unwrap(error)
    if isinstance(cause, ApiError):
        return cause
    if isinstance(cause, MediaError):
        return ApiError(cause.status, cause.message, code=cause.code)
    if isinstance(cause, ValidationError):
        return from_validation(cause)
    if isinstance(cause, StorageError):
        return from_storage(cause, retry_after_s)
    if isinstance(cause, HTTPException):
        return ApiError(cause.status_code, str(cause.detail), headers=cause.headers)
    if isinstance(cause, BackPressureError):
        return overloaded(retry_after_s)
    if isinstance(cause, DeploymentUnavailableError) or is_replica_loss(cause):
        return overloaded(retry_after_s, status=503, message="a part of the model is not available")
    if isinstance(cause, (TimeoutError, asyncio.TimeoutError)):
        # It would take as long again: no work is to be done twice for it.
        headers = {"x-should-retry": "false"}
        return ApiError(408, "the request took longer than the server allows", headers=headers)
    return ApiError(500, "the server failed to answer; the log names the cause by request id")
