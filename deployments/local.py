"""A deployment handle for a part that lives in the same process.

It answers to the few things the graph asks of Ray Serve's handle (`options`, a method's `remote`, awaiting,
iterating, cancelling), so that one code runs the graph with every part on its own and with all parts in one
replica. Nothing is serialised.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import Any


class LocalResponse:
    """The pending result of one call."""

    def __init__(self, call: Any) -> None:
        self._task: asyncio.Task[Any] = asyncio.ensure_future(call)
        # A result nobody asks for any more (its request was cancelled) is no unhandled error.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result; a waiter that is cancelled leaves the call running for the others."""
        return asyncio.shield(self._task).__await__()

    def cancel(self) -> None:
        """Stop the call."""
        self._task.cancel()


class LocalStream:
    """The pending items of one streaming call."""

    def __init__(self, items: AsyncGenerator[Any]) -> None:
        self._items = items
        self._closing: asyncio.Future[None] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over the items as they come."""
        return self._items

    def cancel(self) -> None:
        """Stop the call; it is not being iterated any more."""
        self._closing = asyncio.ensure_future(self._items.aclose())


class _Method:
    def __init__(self, method: Any) -> None:
        self._method = method

    def remote(self, *args: Any) -> LocalResponse | LocalStream:
        if inspect.isasyncgenfunction(self._method):
            return LocalStream(self._stream(args))
        return LocalResponse(self._call(args))

    async def _call(self, args: tuple[Any, ...]) -> Any:
        return await self._method(*[await _resolved(arg) for arg in args])

    async def _stream(self, args: tuple[Any, ...]) -> AsyncGenerator[Any]:
        items = self._method(*[await _resolved(arg) for arg in args])
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()


async def _resolved(arg: Any) -> Any:
    return await arg if isinstance(arg, LocalResponse) else arg


class LocalHandle:
    """Calls the async methods of `part`."""

    def __init__(self, part: object) -> None:
        """Keep the part; the caller owns it."""
        self.part = part

    def options(self, **_: Any) -> LocalHandle:
        """Return itself: transport options mean nothing inside one process."""
        return self

    def __getattr__(self, name: str) -> _Method:
        """Return the callable side of the part's method."""
        if name.startswith("_"):
            raise AttributeError(name)
        return _Method(getattr(self.part, name))
