"""Reading request bodies that strangers send: size, time, depth and form are bounded before anything is built."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from deployments.args import Limits
from deployments.errors import ApiError, from_validation

M = TypeVar("M", bound=BaseModel)
# One token of JSON that matters for depth: a whole string (skipped), or a bracket.
# Possessive, so that a string of megabytes costs no memory, and an unterminated one no second look.
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_THREAD_BYTES = 256 * 1024
"""Bodies from this size on are parsed outside the event loop."""


async def read_model(request: Request, model: type[M], limits: Limits) -> M:
    """Read a JSON body as `model`, or raise the `ApiError` that fits."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise ApiError(415, f"content-type: got {content_type or 'none'!r}, expected application/json")
    data = await read_bytes(request, limits)
    if len(data) < _THREAD_BYTES:
        return _to_model(data, model, limits)
    return await asyncio.to_thread(_to_model, data, model, limits)


async def read_bytes(request: Request, limits: Limits) -> bytes:
    """Read a whole body; its size is bounded by `deployments.middleware.BodyLimit`."""
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            return await request.body()
    except TimeoutError as error:
        raise ApiError(408, f"the body did not arrive within {limits.body_timeout_s:g} s") from error


def _to_model(data: bytes, model: type[M], limits: Limits) -> M:
    return to_model(parse_json(data, limits.max_json_depth), model)


def to_model(document: Any, model: type[M]) -> M:
    """Validate a JSON document."""
    if not isinstance(document, dict):
        raise ApiError(400, f"body: got {type(document).__name__}, expected a JSON object")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise from_validation(error) from error


def parse_json(data: bytes, max_depth: int) -> Any:
    """Parse strict JSON: UTF-8, no NaN or Infinity, no repeated key, at most `max_depth` open brackets."""
    _check_depth(data, max_depth)
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_repeats,
        )
    # Also a number of thousands of digits, which Python refuses to convert.
    except (UnicodeDecodeError, ValueError) as error:
        raise ApiError(400, f"body: not valid JSON ({error})", code="invalid_json") from error


def _check_depth(data: bytes, max_depth: int) -> None:
    depth = 0
    for match in _BRACKETS.finditer(data):
        first = match[0][:1]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise ApiError(400, f"body: nested deeper than {max_depth} levels", code="invalid_json")
        elif first in b"]}":
            depth -= 1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object repeats a key")
    return document
