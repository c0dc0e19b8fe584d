"""Denoising with step-level continuous batching.

Requests join and leave at every step, each with a scheduler, a step count, a guidance scale and a random
generator of its own, so that a seed gives the same latent whoever its neighbours are. The engine knows
rows, steps and noise; what a row is conditioned on is the denoiser's business, and pictures are the caller's.
"""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic

import torch
from torch import Tensor

from vitron.diffusion.noise import draw_noise
from vitron.diffusion.request import (
    ConditionT,
    Denoiser,
    DenoiseRequest,
    DenoiseResult,
    Event,
    StepEvent,
)
from vitron.engine_thread import EngineFullError


class _Live(Generic[ConditionT]):
    """A request that has joined: its latent, and the state of its scheduler."""

    def __init__(self, request: DenoiseRequest[ConditionT], scheduler: Any, device: torch.device) -> None:
        self.request, self.scheduler = request, scheduler
        scheduler.set_timesteps(request.num_steps, device=device)
        self.timesteps: Tensor = scheduler.timesteps
        self.step = 0
        # On the CPU whatever the model's device: a seed then means the same noise on both.
        self._generator = torch.Generator().manual_seed(request.seed)
        self.latents = self._start(device)
        takes = inspect.signature(scheduler.step).parameters
        self._step_options = {"generator": self._generator} if "generator" in takes else {}

    @property
    def num_steps(self) -> int:
        """Forwards it takes: some schedulers make more of them than they were asked for steps."""
        return len(self.timesteps)

    def inputs(self) -> Tensor:
        """Return what the denoiser sees in the coming step, kept parts put back."""
        timestep = self.timesteps[self.step]
        if (kept := self.request.kept) is not None:
            device = self.latents.device
            source, mask = kept.latents.to(device), kept.mask.to(device)
            noised = self.scheduler.add_noise(source[None], self._noise(device)[None], timestep.reshape(1))[0]
            self.latents = noised * mask + self.latents * (1.0 - mask)
        scaled: Tensor = self.scheduler.scale_model_input(self.latents, timestep)
        return scaled

    def advance(self, predictions: Tensor) -> None:
        """Take the step that one or two (unconditional, conditional) rows of prediction give."""
        predicted = predictions[-1]
        if self.request.guided:
            predicted = predictions[0] + self.request.guidance_scale * (predicted - predictions[0])
        # Schedulers expect a batch; a few of them mix up a lone latent's channels with it.
        self.latents = self.scheduler.step(
            predicted[None], self.timesteps[self.step], self.latents[None], **self._step_options
        ).prev_sample[0]
        self.step += 1

    def result(self) -> Tensor:
        """Return the clean latent."""
        kept = self.request.kept
        if kept is None:
            return self.latents
        mask = kept.mask.to(self.latents)
        return kept.latents.to(self.latents) * mask + self.latents * (1.0 - mask)

    def _start(self, device: torch.device) -> Tensor:
        """Return the latent of the first step; steps above the start's strength are left out."""
        noise, start = self._noise(device), self.request.start
        if start is None:
            noisy: Tensor = noise * self.scheduler.init_noise_sigma
            return noisy
        skipped = len(self.timesteps) - max(round(start.strength * len(self.timesteps)), 1)
        self.timesteps = self.timesteps[skipped:]
        self.scheduler.set_begin_index(skipped)
        begun: Tensor = self.scheduler.add_noise(start.latents.to(device)[None], noise[None], self.timesteps[:1])[0]
        return begun

    def _noise(self, device: torch.device) -> Tensor:
        return draw_noise(self.request.shape, self._generator, shared=self.request.shared_noise).to(device)


class DenoiseEngine(Generic[ConditionT]):
    """Runs many requests through one denoiser, a step of each at a time.

    `submit` and `cancel` may be called from any thread; `step` from one at a time. The engine owns nothing of
    the denoiser's and never changes it.
    """

    def __init__(
        self,
        denoiser: Denoiser[ConditionT],
        make_scheduler: Callable[[], Any],
        *,
        max_rows: int = 8,
        max_waiting: int = 256,
        device: torch.device | str = "cpu",
    ) -> None:
        """Build an engine without requests.

        Args:
            denoiser: The network.
            make_scheduler: Makes a diffusers scheduler: one per request, for it carries state.
            max_rows: Rows of all requests in progress; a guided request takes two.
            max_waiting: Requests that may wait to join.
            device: Where latents live.
        """
        if max_rows < 2:
            raise ValueError(f"max_rows: got {max_rows}, expected 2 or more")
        if max_waiting < 1:
            raise ValueError(f"max_waiting: got {max_waiting}, expected 1 or more")
        self._denoiser, self._make_scheduler = denoiser, make_scheduler
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._device = torch.device(device)
        self._lock = threading.Lock()  # guards the three below
        self._waiting: deque[DenoiseRequest[ConditionT]] = deque()
        self._live: dict[str, _Live[ConditionT]] = {}
        self._cancelled: set[str] = set()

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        with self._lock:
            return bool(self._waiting or self._live)

    @property
    def num_waiting(self) -> int:
        """Requests that have not joined yet."""
        with self._lock:
            return len(self._waiting)

    @property
    def num_live(self) -> int:
        """Requests in progress."""
        with self._lock:
            return len(self._live)

    def submit(self, request: DenoiseRequest[ConditionT]) -> None:
        """Queue a request; it joins when there are rows free, first come, first served.

        Raises:
            ValueError: A live request has the same id.
            EngineFullError: `max_waiting` requests are waiting.
        """
        with self._lock:
            waiting = {item.request_id for item in self._waiting}
            if request.request_id in waiting or request.request_id in self._live:
                raise ValueError(f"request_id: got {request.request_id!r}, which is live already")
            if len(self._waiting) >= self._max_waiting:
                raise EngineFullError(f"{self._max_waiting} requests are waiting")
            self._waiting.append(request)

    def cancel(self, request_id: str) -> bool:
        """End a request at the next step; False if there is none of this id."""
        with self._lock:
            known = request_id in self._live or any(item.request_id == request_id for item in self._waiting)
            if known:
                self._cancelled.add(request_id)
            return known

    def clear(self) -> list[str]:
        """Drop every request and return their ids: what is left to do when a forward has failed."""
        with self._lock:
            ids = [*self._live, *(item.request_id for item in self._waiting)]
            self._live, self._cancelled = {}, set()
            self._waiting.clear()
        return ids

    @torch.no_grad()
    def step(self) -> list[Event]:
        """Take one step of every request in progress; waiting ones join first.

        Returns:
            A `StepEvent` for each step taken, and a `DenoiseResult` for each request that is over.
        """
        events = self._drop_cancelled()
        self._admit()
        for phase, group in self._groups():
            self._forward(group, phase)
            for live in group:
                event = StepEvent(live.step, live.num_steps)
                events.append((live.request.request_id, event))
        return events + self._collect()

    def run(self) -> dict[str, Tensor]:
        """Step until nothing is left; return the latents of the requests that were not cancelled."""
        results: dict[str, Tensor] = {}
        while self.has_work:
            for request_id, event in self.step():
                if isinstance(event, DenoiseResult) and event.latents is not None:
                    results[request_id] = event.latents
        return results

    def _drop_cancelled(self) -> list[Event]:
        with self._lock:
            ids, self._cancelled = self._cancelled, set()
            kept = deque(item for item in self._waiting if item.request_id not in ids)
            self._waiting = kept
            for request_id in ids:
                self._live.pop(request_id, None)
        return [(request_id, DenoiseResult(None)) for request_id in sorted(ids)]

    def _admit(self) -> None:
        with self._lock:
            used = sum(live.request.num_rows for live in self._live.values())
            while self._waiting and used + self._waiting[0].num_rows <= self._max_rows:
                request = self._waiting.popleft()
                used += request.num_rows
                live = _Live(request, self._make_scheduler(), self._device)
                self._live[request.request_id] = live

    def _groups(self) -> Iterator[tuple[Hashable, list[_Live[ConditionT]]]]:
        """Yield the requests that can share a forward: of one shape and one phase."""
        groups: dict[tuple[tuple[int, ...], Hashable], list[_Live[ConditionT]]] = {}
        for live in self._live.values():
            request = live.request
            phase = self._denoiser.phase(request.condition, live.step, live.num_steps)
            groups.setdefault((request.shape, phase), []).append(live)
        for (_, phase), group in groups.items():
            yield phase, group

    def _forward(self, group: list[_Live[ConditionT]], phase: Hashable) -> None:
        samples: list[Tensor] = []
        timesteps: list[Tensor] = []
        conditions: list[ConditionT] = []
        for live in group:
            request, rows = live.request, live.request.num_rows
            samples += [live.inputs()] * rows
            timesteps += [live.timesteps[live.step]] * rows
            if request.guided:
                assert request.unconditional is not None
                conditions.append(request.unconditional)
            conditions.append(request.condition)
        predicted_B = self._denoiser.denoise(torch.stack(samples), torch.stack(timesteps), conditions, phase).float()
        rows_of = [live.request.num_rows for live in group]
        for live, rows in zip(group, predicted_B.split(rows_of), strict=True):
            live.advance(rows)

    def _collect(self) -> list[Event]:
        with self._lock:
            done = [live for live in self._live.values() if live.step == live.num_steps]
            for live in done:
                del self._live[live.request.request_id]
            self._cancelled -= {live.request.request_id for live in done}
        return [(live.request.request_id, DenoiseResult(live.result())) for live in done]
