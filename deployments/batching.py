"""Gathers calls that arrive together into one run of a model, in one worker thread.

The event loop stays free, runs never overlap, and a bad request does not fail its neighbours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Waiting(NamedTuple):
    item: object
    future: asyncio.Future[object]


class MicroBatcher(Generic[T, R]):
    """Runs `run_batch` on what is waiting, at most `max_size` items at once."""

    def __init__(self, run_batch: Callable[[Sequence[T]], Sequence[R]], *, max_size: int, wait_s: float) -> None:
        """Keep the settings; work starts with the first call of `submit`."""
        self._run_batch = run_batch
        self._max_size = max_size
        self._wait_s = wait_s
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")

    async def submit(self, item: T) -> R:
        """Return the result of `item`; cancelled before its run has begun, it is never run."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future  # type: ignore[return-value]

    async def _work(self) -> None:
        while self._waiting:
            if len(self._waiting) < self._max_size and self._wait_s:
                await asyncio.sleep(self._wait_s)
            live = [entry for entry in self._waiting if not entry.future.done()]
            batch, self._waiting = live[: self._max_size], live[self._max_size :]
            if batch:
                await self._run(batch)

    async def _run(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        items = [entry.item for entry in batch]
        try:
            results = await loop.run_in_executor(self._thread, self._run_batch, items)  # type: ignore[arg-type]
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} requests")
        # Whatever a forward raises belongs to the callers, not to the worker.
        except Exception as error:
            if len(batch) > 1:
                for entry in batch:
                    await self._run([entry])
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)
            return
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                entry.future.set_result(result)
