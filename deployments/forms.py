"""Multipart forms as OpenAI's clients write them: files, text, and values in brackets (`video[id]`, `image[]`)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from deployments.args import Limits
from deployments.body import parse_json, read_bytes
from deployments.errors import ApiError, shown

_NAME = re.compile(r"([A-Za-z_]+)(?:\[([A-Za-z_]*)\])?")
_MAX_FIELDS = 64
_MAX_FIELD_BYTES = 1 << 20


class Upload(NamedTuple):
    """A file of a form: its bytes, and the name its owner gave it."""

    data: bytes
    name: str


class Fields(NamedTuple):
    """The fields of a body as a JSON document would have them, and files by field."""

    document: dict[str, Any]
    files: dict[str, list[Upload]]


async def read_fields(
    request: Request, limits: Limits, *, files: Collection[str], parsed: Collection[str] = ()
) -> Fields:
    """Read a JSON body, or a form with files.

    Args:
        request: whose content type decides.
        limits: of size, time and depth.
        files: the fields that may be files.
        parsed: the fields of a form that are not text: numbers, booleans, and nested values in JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return await _form(request, limits, files, parsed)
    if kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(415, f"content-type: got {kind or 'none'!r}, expected application/json or multipart/form-data")
    document = parse_json(await read_bytes(request, limits), limits.max_json_depth)
    if not isinstance(document, dict):
        raise ApiError(400, f"body: got {type(document).__name__}, expected a JSON object")
    return Fields(document, {})


async def _form(request: Request, limits: Limits, files: Collection[str], parsed: Collection[str]) -> Fields:
    fields = Fields({}, {})
    try:
        async with (
            asyncio.timeout(limits.body_timeout_s),
            request.form(max_files=limits.max_images, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form,
        ):
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    field = name.removesuffix("[]")
                    if field not in files:
                        raise ApiError(400, f"{shown(name)}: got a file, expected text", param=name[:64])
                    fields.files.setdefault(field, []).append(Upload(await value.read(), value.filename or "upload"))
                else:
                    _put(fields.document, name, value, parsed, limits)
    except TimeoutError as error:
        raise ApiError(408, f"the body did not arrive within {limits.body_timeout_s:g} s") from error
    except HTTPException as error:  # Starlette's own word for a broken form
        raise ApiError(400, f"body: not a valid form ({error.detail})") from error
    except (LookupError, UnicodeError) as error:  # a charset that nobody knows, or that the text is not in
        raise ApiError(400, f"body: not a valid form ({error})") from error
    for field in fields.files:
        if field in fields.document:
            raise ApiError(400, f"{field}: given as a file and as text", param=field)
    return fields


def _put(document: dict[str, Any], name: str, text: str, parsed: Collection[str], limits: Limits) -> None:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ApiError(400, f"{shown(name)}: not the name of a field", code="unknown_parameter")
    field, inner = match[1], match[2]
    value: Any = _parsed(field, text, limits) if field in parsed and not inner else text
    if inner == "":
        document.setdefault(field, []).append(value)
    elif inner is not None:
        place = document.setdefault(field, {})
        if not isinstance(place, dict) or inner in place:
            raise ApiError(400, f"{field}: given more than once", param=field)
        place[inner] = value
    elif field in document:
        raise ApiError(400, f"{field}: given more than once", param=field)
    else:
        document[field] = value


def _parsed(field: str, text: str, limits: Limits) -> Any:
    try:
        return parse_json(text.encode(), limits.max_json_depth)
    except ApiError as error:
        raise ApiError(400, f"{field}: got {shown(text)}, expected JSON", param=field, code=error.code) from error
