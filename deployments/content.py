"""Kept media as HTTP answers: whole, or the part that a player asks for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from deployments.errors import ApiError
from deployments.jobs.storage import Storage

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CHUNK = 1 << 20


class KeptMedium(NamedTuple):
    """An artifact as a client may have it."""

    key: str
    mime: str
    num_bytes: int
    name: str


async def serve_medium(storage: Storage, medium: KeptMedium, request: Request) -> Response:
    """Answer with an artifact, or with one range of its bytes."""
    # The first piece is read before the status is sent: what is gone or unreachable is an error, no cut answer.
    start, end = _range(request.headers.get("range"), medium.num_bytes)
    first = await storage.call(storage.artifacts.get, medium.key, start, min(end, start + _CHUNK))
    if first is None:
        raise ApiError(404, "the content is gone", code="content_expired")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", medium.name)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
        "Content-Disposition": f'inline; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=3600",
    }
    partial = request.headers.get("range") is not None and (start, end) != (0, medium.num_bytes)
    if partial:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{medium.num_bytes}"
    pieces = _pieces(storage, medium.key, first, start, end)
    return StreamingResponse(pieces, status_code=206 if partial else 200, media_type=medium.mime, headers=headers)


async def _pieces(storage: Storage, key: str, first: bytes, start: int, end: int) -> AsyncIterator[bytes]:
    yield first
    for place in range(start + _CHUNK, end, _CHUNK):
        piece = await storage.call(storage.artifacts.get, key, place, min(end, place + _CHUNK))
        if piece is None:
            raise RuntimeError("the content vanished while it was sent")
        yield piece


def _range(header: str | None, size: int) -> tuple[int, int]:
    """Return first byte and end of what is asked for; several ranges, or none that we know, are the whole."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return 0, size
    if match[1]:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
    else:
        start, end = max(0, size - int(match[2])), size
    if start >= min(end, size):
        raise ApiError(
            416,
            f"Range: got {header!r}, expected bytes within {size}",
            code="range_not_satisfiable",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end
