"""The loop that works on jobs: leases, beats, finishes, and sweeps what has expired.

Any number of runners share one store. Whatever ends a runner, its jobs go on: at once if it could still give them
back, else when their leases run out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.args import RunnerArgs
from deployments.errors import unwrap
from deployments.jobs.model import Job, Lease, Problem, StorageError, StorageFullError
from deployments.jobs.render import Rendered
from deployments.jobs.storage import Storage
from deployments.jobs.work import JobError, OverloadedError, Worker

P = ParamSpec("P")
_logger = logging.getLogger(__name__)
_MAX_PAUSE_S = 60.0
_BUSY = (OverloadedError, BackPressureError, DeploymentUnavailableError)


class Runner:
    """Works on jobs until it is closed."""

    def __init__(self, args: RunnerArgs, storage: Storage, worker: Worker) -> None:
        """Keep the parts; `start` begins."""
        self._args = args
        self._storage = storage
        self._worker = worker
        self._jobs: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._loops = [asyncio.create_task(self._take()), asyncio.create_task(self._sweep())]

    @property
    def num_running(self) -> int:
        """Jobs under way."""
        return len(self._jobs)

    def check_health(self) -> None:
        """Raise if a loop has ended."""
        for loop in self._loops:
            if loop.done():
                raise RuntimeError("a loop of the job runner has ended") from (
                    None if loop.cancelled() else loop.exception()
                )

    async def close(self) -> None:
        """Stop; jobs under way are given back for others."""
        for task in (*self._loops, *self._jobs):
            task.cancel()
        await asyncio.gather(*self._loops, *self._jobs, return_exceptions=True)
        self._storage.close()

    async def _take(self) -> None:
        """Take jobs while there is room for them."""
        failing = False
        while True:
            job = None
            try:
                if len(self._jobs) < self._args.concurrency:
                    job = await self._storage.call(self._storage.jobs.lease, self._args.lease_s)
                failing = False
            except StorageError as error:
                if not failing:
                    _logger.warning("no jobs can be taken: %s", error)
                failing = True
            if job is None:
                await asyncio.sleep(self._args.poll_s)
                continue
            task = asyncio.create_task(self._work(job))
            self._jobs.add(task)
            task.add_done_callback(self._jobs.discard)

    async def _work(self, job: Job) -> None:
        """Work on one job for as long as the lease holds."""
        shown = _Shown(job.progress)
        beating = asyncio.create_task(self._beat(job.lease, shown))
        working = asyncio.create_task(self._attempt(job, shown))
        try:
            await asyncio.wait({beating, working}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping = not working.done() and not beating.done()
            for task in (beating, working):
                task.cancel()
            await asyncio.gather(beating, working, return_exceptions=True)
            if stopping:  # this process ends
                await self._give_back(job)
        if not working.cancelled():
            working.result()

    async def _beat(self, lease: Lease, shown: _Shown) -> None:
        """Renew the lease; return once it is void."""
        while True:
            await asyncio.sleep(self._args.poll_s)
            try:
                if not await self._storage.call(self._storage.jobs.beat, lease, self._args.lease_s, shown.percent):
                    _logger.info("%s: cancelled, or taken by another runner", lease.job_id)
                    return
            # The work goes on: whether the lease still holds is decided when the database is back.
            except StorageError as error:
                _logger.warning("%s: no beat (%s)", lease.job_id, error)

    async def _attempt(self, job: Job, shown: _Shown) -> None:
        start = time.monotonic()
        try:
            async with asyncio.timeout(self._args.timeout_s):
                made = await self._worker.make(job, shown.tell)
            result = await self._keep(job, made)
        except JobError as error:
            await self._insist(self._storage.jobs.fail, job.lease, error.problem)
        except TimeoutError:
            problem = Problem("timeout", f"the work took longer than {self._args.timeout_s:g} s")
            await self._insist(self._storage.jobs.fail, job.lease, problem)
        # Somebody else's failure: a lost replica, a full storage. The job is tried again, a limited number of times.
        except Exception as error:
            await self._again(job, unwrap(error))
        else:
            result["seconds"] = round(time.monotonic() - start, 3)
            if not await self._insist(self._storage.jobs.complete, job.lease, result):
                await self._storage.call(self._storage.artifacts.remove, _folder(job))

    async def _keep(self, job: Job, made: Rendered) -> dict[str, Any]:
        """Store the media under names of this attempt alone."""
        kept = {}
        for variant, medium in made.media.items():
            key = f"{_folder(job)}/{medium.name}"
            await self._storage.call(self._storage.artifacts.put, key, medium.data)
            kept[variant] = {"key": key, "mime": medium.mime, "name": medium.name, "bytes": len(medium.data)}
        return {"artifacts": kept, **made.facts}

    async def _again(self, job: Job, error: BaseException) -> None:
        pause = min(_MAX_PAUSE_S, self._args.retry_s * 2**job.failures)
        if isinstance(error, _BUSY):
            _logger.info("%s: a part is busy", job.id)
            await self._insist(self._storage.jobs.release, job.lease, delay_s=pause, failed=None)
            return
        _logger.warning("%s: attempt %d was lost", job.id, job.token, exc_info=error)
        await self._insist(self._storage.jobs.release, job.lease, delay_s=pause, failed=_problem(error))

    async def _give_back(self, job: Job) -> None:
        try:
            await self._storage.call(self._storage.jobs.release, job.lease, delay_s=0.0, failed=None)
        except StorageError:
            _logger.warning("%s: could not be given back; its lease will run out", job.id)

    async def _insist(
        self, change: Callable[Concatenate[Lease, P], bool], lease: Lease, *args: P.args, **kwargs: P.kwargs
    ) -> bool:
        """Make a change however long the database is away; void leases end the wait in `_work`."""
        while True:
            try:
                return await self._storage.call(change, lease, *args, **kwargs)
            except StorageError as error:
                _logger.warning("%s: %s; waiting", lease.job_id, error)
                await asyncio.sleep(self._args.poll_s)

    async def _sweep(self) -> None:
        """Remove what has expired or was deleted."""
        while True:
            try:
                await self._storage.call(self._sweep_once)
            except StorageError as error:
                _logger.warning("nothing can be swept: %s", error)
            await asyncio.sleep(self._args.sweep_s)

    def _sweep_once(self) -> None:
        # A runner whose lease is void may still be writing for a moment.
        for job_id in self._storage.jobs.removable(grace_s=2 * self._args.lease_s):
            self._storage.artifacts.remove(f"jobs/{job_id}")
            self._storage.jobs.remove(job_id)
        self._storage.files.remove_expired()


class _Shown:
    """The progress to show: it only rises."""

    def __init__(self, percent: int) -> None:
        self.percent = percent

    def tell(self, percent: int) -> None:
        self.percent = max(self.percent, percent)


def _folder(job: Job) -> str:
    return f"jobs/{job.id}/{job.token}"


def _problem(error: BaseException) -> Problem:
    if isinstance(error, StorageFullError):
        return Problem("storage_full", "there is no room for the result")
    if isinstance(error, StorageError):
        return Problem("storage_unavailable", "the result could not be stored")
    return Problem("interrupted", "the work was interrupted too often")
