"""A specialist as a deployment: one class, bound once for each specialist."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from deployments.args import AppArgs
from deployments.batching import MicroBatcher
from deployments.envelope import Envelope, unpack
from deployments.messages import EdgeRecord, Failure, Progress, RunResult
from deployments.parts import Loaders
from vitron.specialists.base import Cancelled, OnProgress, SpecialistError, SpecialistRequest
from vitron.types import Clip, Image, SpecialistOutput

SIGNAL = "signal"
BATCHED = frozenset({"seem"})
"""Specialists that run what waits as one batch. The others let requests join while they run, step by step, so each
request gets a thread of its own."""
_THREADS = 32
"""Above any `max_ongoing_requests`, which is what bounds them."""
_PROGRESS_S = 0.2
"""How often progress is told."""


class _Job(NamedTuple):
    request: SpecialistRequest
    cancelled: threading.Event
    on_progress: OnProgress | None


class _Newest:
    """The newest progress of a run; written by the thread that runs it."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        self.progress = Progress(done=done, total=total)


class Specialist:
    """Carries out requests, several together."""

    def __init__(self, args: AppArgs, load: Loaders, name: str) -> None:
        """Load the weights of the specialist `name` (`vitron.routing.NAMES`)."""
        torch.set_num_threads(args.torch_threads)
        self._name = name
        self._specialist = load.specialist(args, name)
        self._batcher: MicroBatcher[_Job, SpecialistOutput] = MicroBatcher(
            self._run_batch, max_size=args.specialist_batch, wait_s=args.batch_wait_s
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)

    async def run(
        self,
        request: SpecialistRequest,
        signal: Envelope | None = None,
        image: Image | None = None,
        reference: Image | None = None,
        clip: Clip | None = None,
    ) -> RunResult:
        """Carry out one request.

        Args:
            request: without signal, pictures and clip, which come on their own.
            signal: the signal embedding.
            image: the source picture.
            reference: the picture of a reference prompt.
            clip: the source clip.

        Returns:
            The output, or why the request cannot be carried out. Any other exception is a fault of this part.
        """
        whole = dataclasses.replace(request, image=image, reference=reference, clip=clip)
        return await self._carry_out(whole, signal, None)

    async def stream(
        self,
        request: SpecialistRequest,
        signal: Envelope | None = None,
        image: Image | None = None,
        reference: Image | None = None,
        clip: Clip | None = None,
    ) -> AsyncIterator[Progress | RunResult]:
        """Carry out one request as `run` does; yield how far it is now and then, and its result last.

        A caller that stops listening stops the work at its next step.
        """
        whole = dataclasses.replace(request, image=image, reference=reference, clip=clip)
        newest = _Newest()
        told: Progress | None = None
        work = asyncio.ensure_future(self._carry_out(whole, signal, newest))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=_PROGRESS_S)
                if newest.progress is not told and not work.done():
                    told = newest.progress
                    assert told is not None
                    yield told
            yield work.result()
        finally:
            work.cancel()

    async def _carry_out(
        self, request: SpecialistRequest, signal: Envelope | None, on_progress: OnProgress | None
    ) -> RunResult:
        edges: tuple[EdgeRecord, ...] = ()
        if signal is not None:
            tensor, record = unpack(signal, name=SIGNAL, target=self._name)
            request, edges = dataclasses.replace(request, signal=tensor), (record,)
        job = _Job(request, threading.Event(), on_progress)
        try:
            output = await self._submit(job)
        except ValueError as error:
            return RunResult(failure=Failure(kind="invalid", message=str(error)), edges=edges)
        except SpecialistError as error:
            return RunResult(failure=Failure(kind="failed", message=str(error)), edges=edges)
        finally:
            job.cancelled.set()
        return RunResult(output=output, edges=edges)

    async def _submit(self, job: _Job) -> SpecialistOutput:
        if self._name in BATCHED:
            return await self._batcher.submit(job)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, job)

    def _run_batch(self, jobs: Sequence[_Job]) -> list[SpecialistOutput]:
        if len(jobs) == 1:
            return [self._run(jobs[0])]
        return self._specialist.run_batch([job.request for job in jobs])

    def _run(self, job: _Job) -> SpecialistOutput:
        try:
            return self._specialist.run(job.request, on_progress=job.on_progress, cancelled=job.cancelled.is_set)
        except Cancelled:
            # Nobody waits for it any more: the future it would go to is cancelled already.
            return SpecialistOutput()
