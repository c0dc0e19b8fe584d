"""Server-sent events: chunks as they come, comments in silence, an error as the last event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

T = TypeVar("T")
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": working\n\n"


def event(document: dict[str, Any]) -> bytes:
    """Encode one event."""
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


async def with_heartbeat(items: AsyncGenerator[T], interval_s: float, timeout_s: float) -> AsyncGenerator[T | None]:
    """Yield the items, and None whenever `interval_s` passed without one.

    Raises:
        TimeoutError: the whole took longer than `timeout_s`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    async with aclosing(items):
        while True:
            step = asyncio.ensure_future(anext(items, _END))
            try:
                while True:
                    left = end - loop.time()
                    if left <= 0:
                        raise TimeoutError
                    await asyncio.wait({step}, timeout=min(interval_s, left))
                    if step.done():
                        break
                    yield None
            finally:
                # The generator may only be closed once its step has ended.
                if not step.done():
                    step.cancel()
                    await asyncio.wait({step})
            item = step.result()
            if item is _END:
                return
            yield item


_END: Any = object()
