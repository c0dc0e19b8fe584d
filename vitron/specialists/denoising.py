"""What all specialists that denoise latents share: one engine for concurrent calls, progress, cancellation, errors.

A subclass knows how a request becomes latents to make (`plan`) and how latents become its output (`decode`).
"""

from __future__ import annotations

import queue
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor, nn

from vitron.diffusion.engine import DenoiseEngine
from vitron.diffusion.request import ConditionT, Denoiser, DenoiseRequest, DenoiseResult, StepEvent
from vitron.diffusion.thread import DenoiseThread, EventCallback
from vitron.specialists.base import Cancelled, IsCancelled, OnProgress, Option, SpecialistError, SpecialistRequest
from vitron.specialists.output_projection import OutputProjection
from vitron.types import Module, SpecialistOutput

POLL_SECONDS = 0.1
"""How often a request that waits for its turn asks whether it is still wanted."""


class _Message(NamedTuple):
    request_id: str
    event: StepEvent | DenoiseResult | BaseException


class _EngineHolder:
    """The engine's thread, started on first use. A copy starts its own: it may have other weights."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: DenoiseThread | None = None

    def __reduce__(self) -> tuple[type[_EngineHolder], tuple[()]]:
        return type(self), ()

    def get(self, owner: DenoisingSpecialist[Any]) -> DenoiseThread:
        with self._lock:
            if self._thread is None or not self._thread.healthy:
                self._thread = DenoiseThread(owner.make_engine())
            return self._thread

    def stop(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()


class Prepared(NamedTuple, Generic[ConditionT]):
    """A request on its way.

    Attributes:
        jobs: The latents to make.
        finish: Makes the output of them, in the jobs' order.
    """

    jobs: Sequence[DenoiseRequest[ConditionT]]
    finish: Callable[[Sequence[Tensor]], SpecialistOutput]


class DenoisingSpecialist(nn.Module, Generic[ConditionT]):
    """A `Specialist` whose output is denoised from noise; concurrent `run` calls share one engine."""

    module: Module
    projection: OutputProjection

    def __init__(self, scheduler: Mapping[str, Any], max_rows: int) -> None:
        """Set the engine up.

        Args:
            scheduler: Keyword arguments of `DPMSolverMultistepScheduler`.
            max_rows: Rows of all requests in progress.
        """
        super().__init__()
        self._scheduler, self._max_rows = dict(scheduler), max_rows
        self._holder = _EngineHolder()

    @abstractmethod
    def plan(self, request: SpecialistRequest) -> list[DenoiseRequest[ConditionT]]:
        """Return the latents that a request needs.

        Raises:
            ValueError: The request is wrong; the message names the field.
        """

    @abstractmethod
    def decode(self, latents: Sequence[Tensor]) -> SpecialistOutput:
        """Return what finished latents show."""

    def prepare(self, request: SpecialistRequest) -> Prepared[ConditionT]:
        """Return the latents that a request needs, and what makes its output of them; raises as `plan`."""
        return Prepared(self.plan(request), lambda latents: self.output_of(request, latents))

    def output_of(self, request: SpecialistRequest, latents: Sequence[Tensor]) -> SpecialistOutput:
        """Return a request's output from its finished latents."""
        return self.decode(latents)

    @abstractmethod
    def network(self) -> Denoiser[ConditionT]:
        """Return the denoiser."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the weights are."""

    def make_engine(self) -> DenoiseEngine[ConditionT]:
        """Return an engine of its own over these weights."""
        return DenoiseEngine(
            self.network(),
            lambda: DPMSolverMultistepScheduler(**self._scheduler),
            max_rows=self._max_rows,
            device=self.device,
        )

    def close(self) -> None:
        """End the engine's thread; a later `run` starts another."""
        self._holder.stop()

    def run(
        self,
        request: SpecialistRequest,
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> SpecialistOutput:
        """Carry out one request; see `Specialist.run`. May be called from several threads."""
        return self._run([request], on_progress, cancelled)[0]

    def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
        """Carry out several requests together; see `Specialist.run_batch`."""
        return self._run(requests, None, None) if requests else []

    def _run(
        self,
        requests: Sequence[SpecialistRequest],
        on_progress: OnProgress | None,
        cancelled: IsCancelled | None,
    ) -> list[SpecialistOutput]:
        try:
            prepared = [self.prepare(request) for request in requests]
            latents = self._denoise([job for each in prepared for job in each.jobs], on_progress, cancelled)
            return [each.finish([latents[job.request_id] for job in each.jobs]) for each in prepared]
        # RuntimeError is what torch raises for all that can go wrong in a forward, memory included.
        except (RuntimeError, FloatingPointError) as error:
            raise SpecialistError(self.module.value, str(error)) from error

    def _denoise(
        self,
        jobs: Sequence[DenoiseRequest[ConditionT]],
        on_progress: OnProgress | None,
        cancelled: IsCancelled | None,
    ) -> dict[str, Tensor]:
        """Have the engine make all latents; progress and cancellation happen in the caller's thread."""
        thread = self._holder.get(self)
        inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        total, done = sum(job.steps_taken for job in jobs), 0
        results: dict[str, Tensor] = {}
        submitted: list[str] = []
        try:
            for job in jobs:
                thread.submit(job, _forward_to(inbox, job.request_id))
                submitted.append(job.request_id)
            while len(results) < len(jobs):
                if cancelled is not None and cancelled():
                    raise Cancelled
                try:
                    message = inbox.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    continue
                if isinstance(message.event, BaseException):
                    raise message.event
                if isinstance(message.event, StepEvent):
                    done += 1
                    if on_progress is not None:
                        on_progress(done, total)
                else:
                    results[message.request_id] = _finite(message.event.latents)
        finally:
            for request_id in submitted:
                if request_id not in results:
                    thread.cancel(request_id)
        return results

    def _project(self, request: SpecialistRequest) -> Tensor | None:
        """Return condition tokens [Q, D] of a request's signal; None: it has none."""
        if request.signal is None:
            return None
        parameter = next(self.projection.parameters())
        tokens: Tensor = self.projection(request.signal.to(parameter)[None])[0]
        return tokens

    def _check(self, request: SpecialistRequest) -> None:
        """Refuse what no denoising specialist can work from."""
        if not request.instruction.strip() and request.signal is None:
            raise ValueError("instruction: got '' and no signal, expected at least one of them")
        if not 0 <= request.seed < 2**63:
            raise ValueError(f"seed: got {request.seed}, expected 0 to 2**63 - 1")
        width = self.projection.input.in_features
        if (signal := request.signal) is not None and (signal.ndim, signal.shape[-1]) != (2, width):
            raise ValueError(f"signal: got shape {tuple(signal.shape)}, expected [n, {width}]")


def check_whole(options: Mapping[str, Option], names: Sequence[str]) -> None:
    """Raise ValueError for an option that is not a whole number."""
    for name in names:
        value = options.get(name, 1)
        if int(value) != value:
            raise ValueError(f"options.{name}: got {value!r}, expected a whole number")


def _forward_to(inbox: queue.SimpleQueue[_Message], request_id: str) -> EventCallback:
    return lambda event: inbox.put(_Message(request_id, event))


def _finite(latents: Tensor | None) -> Tensor:
    if latents is None:
        raise Cancelled
    if not bool(torch.isfinite(latents).all()):
        raise FloatingPointError("the latents are not finite")
    return latents
