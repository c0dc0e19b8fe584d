"""The engine with a made-up denoiser: joining, leaving, seeds, progress, cancelling, failing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler
from torch import Tensor

from tests.unit.diffusion import models
from vitron.diffusion.engine import DenoiseEngine
from vitron.diffusion.request import (
    DenoiseRequest,
    DenoiseResult,
    EngineFullError,
    EngineStoppedError,
    Kept,
    StepEvent,
)
from vitron.diffusion.thread import DenoiseThread

SHAPE = (2, 4, 4)


class Pulling:
    """Predicts a mixture of the sample and the condition, row by row; conditions are numbers."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, Hashable]] = []
        self.fail = False

    def phase(self, condition: float, step: int, num_steps: int) -> Hashable:
        return condition > 0 and step < num_steps // 2

    def denoise(self, samples_B: Tensor, timesteps_B: Tensor, conditions: Sequence[float], phase: Hashable) -> Tensor:
        if self.fail:
            raise RuntimeError("out of memory")
        self.calls.append((len(samples_B), phase))
        weight = 0.1 * torch.tensor(conditions) + timesteps_B / 1e4
        return torch.tanh(samples_B) * weight.view(-1, 1, 1, 1)


def make_engine(
    denoiser: Pulling | None = None,
    scheduler: Callable[..., object] = DPMSolverMultistepScheduler,
    **options: int,
) -> DenoiseEngine[float]:
    return DenoiseEngine(denoiser or Pulling(), lambda: scheduler(prediction_type="v_prediction"), **options)


def job(name: str, *, condition: float = 1.0, steps: int = 5, seed: int = 0, **more: object) -> DenoiseRequest[float]:
    settings = {"unconditional": 0.0, "guidance_scale": 3.0, **more}
    return DenoiseRequest(request_id=name, shape=SHAPE, condition=condition, num_steps=steps, seed=seed, **settings)


def alone(request: DenoiseRequest[float], **options: object) -> Tensor:
    engine = make_engine(**options)
    engine.submit(request)
    return engine.run()[request.request_id]


@pytest.mark.parametrize("scheduler", [DPMSolverMultistepScheduler, DDIMScheduler, EulerAncestralDiscreteScheduler])
def test_neighbours_that_join_and_leave_do_not_change_a_latent(scheduler: type) -> None:
    jobs = [
        job("a", condition=1.0, steps=6, seed=1),
        job("b", condition=-2.0, steps=3, seed=2, guidance_scale=1.0),
        job("c", condition=0.5, steps=4, seed=3, unconditional=None),
        job("d", condition=2.0, steps=2, seed=1, guidance_scale=5.0),
    ]
    engine = make_engine(scheduler=scheduler)
    made: dict[str, Tensor] = {}
    for each in jobs:
        engine.submit(each)
        made |= {i: e.latents for i, e in engine.step() if isinstance(e, DenoiseResult)}
    made |= engine.run()
    for each in jobs:
        torch.testing.assert_close(made[each.request_id], alone(each, scheduler=scheduler))


def test_a_seed_gives_the_same_latent_and_another_seed_another() -> None:
    first, again, other = (alone(job("a", seed=seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_the_global_random_state_is_neither_read_nor_advanced() -> None:
    kept = Kept(latents=torch.ones(SHAPE), mask=torch.ones(1, 4, 4))
    torch.manual_seed(0)
    first = alone(job("a", kept=kept, steps=3))
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(first, alone(job("a", kept=kept, steps=3)))
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())


def test_progress_counts_every_step_of_every_request_once() -> None:
    engine = make_engine()
    for name, steps in (("a", 5), ("b", 2)):
        engine.submit(job(name, steps=steps))
    seen: dict[str, list[StepEvent]] = {"a": [], "b": []}
    while engine.has_work:
        for name, event in engine.step():
            if isinstance(event, StepEvent):
                seen[name].append(event)
    assert seen["a"] == [StepEvent(step, 5) for step in range(1, 6)]
    assert seen["b"] == [StepEvent(1, 2), StepEvent(2, 2)]


def test_requests_beyond_max_rows_wait_and_join_in_order() -> None:
    denoiser = Pulling()
    engine = make_engine(denoiser, max_rows=4)
    for name in "abc":
        engine.submit(job(name, steps=2, condition=-1.0))
    engine.step()
    assert (engine.num_live, engine.num_waiting) == (2, 1)
    assert set(engine.run()) == set("abc")
    assert max(rows for rows, _ in denoiser.calls) == 4


def test_rows_of_different_phases_are_computed_apart() -> None:
    denoiser = Pulling()
    engine = make_engine(denoiser)
    engine.submit(job("a", condition=1.0))
    engine.submit(job("b", condition=-1.0))
    engine.step()
    assert sorted(denoiser.calls) == [(2, False), (2, True)]


def test_a_request_without_guidance_takes_one_row() -> None:
    denoiser = Pulling()
    engine = make_engine(denoiser)
    engine.submit(job("a", guidance_scale=1.0))
    engine.step()
    assert denoiser.calls == [(1, True)]


def test_a_cancelled_request_ends_at_the_next_step_and_leaves_the_others() -> None:
    engine = make_engine(max_rows=4)
    for name in "abc":
        engine.submit(job(name, steps=3))
    engine.step()
    assert engine.cancel("a") and engine.cancel("c")  # one in progress, one waiting
    assert not engine.cancel("nobody")
    events = dict(engine.step())
    assert events["a"] == events["c"] == DenoiseResult(None)
    torch.testing.assert_close(engine.run()["b"], alone(job("b", steps=3)))


def test_kept_latents_come_out_as_they_were_and_the_hole_does_not() -> None:
    mask = torch.ones(1, 4, 4)
    mask[:, 1:3, 1:3] = 0.0
    source = torch.full(SHAPE, 0.5)
    made = alone(job("a", kept=Kept(latents=source, mask=mask)))
    outside = mask.bool().expand(SHAPE)
    assert torch.equal(made[outside], source[outside])
    assert not torch.isclose(made[~outside], source[~outside]).all()


def test_a_live_id_and_a_full_queue_are_refused() -> None:
    engine = make_engine(max_waiting=1)
    engine.submit(job("a"))
    with pytest.raises(ValueError, match="request_id"):
        engine.submit(job("a"))
    with pytest.raises(EngineFullError):
        engine.submit(job("b"))


@pytest.mark.parametrize("field", [{"steps": 0}, {"guidance_scale": -1.0}, {"seed": -1}])
def test_values_out_of_range_are_refused_by_name(field: dict[str, float]) -> None:
    name = "num_steps" if "steps" in field else next(iter(field))
    with pytest.raises(ValueError, match=name):
        job("a", **field)


def collect(thread: DenoiseThread, request: DenoiseRequest[float]) -> tuple[list[object], threading.Event]:
    events: list[object] = []
    over = threading.Event()

    def on_event(event: object) -> None:
        events.append(event)
        if not isinstance(event, StepEvent):
            over.set()

    thread.submit(request, on_event)
    return events, over


def test_the_thread_delivers_progress_and_then_the_result() -> None:
    thread = DenoiseThread(make_engine())
    pending = [collect(thread, job(name, steps=steps)) for name, steps in (("a", 3), ("b", 6))]
    for _, over in pending:
        assert over.wait(10)
    thread.stop()
    for (events, _), name, steps in zip(pending, "ab", (3, 6), strict=True):
        assert events[:-1] == [StepEvent(step, steps) for step in range(1, steps + 1)]
        assert torch.allclose(events[-1].latents, alone(job(name, steps=steps)))


def test_a_failed_forward_reaches_the_caller_and_the_thread_goes_on() -> None:
    denoiser = Pulling()
    thread = DenoiseThread(make_engine(denoiser))
    denoiser.fail = True
    events, over = collect(thread, job("a"))
    assert over.wait(10)
    assert isinstance(events[-1], RuntimeError)
    denoiser.fail = False
    events, over = collect(thread, job("a"))
    assert over.wait(10)
    assert isinstance(events[-1], DenoiseResult)
    thread.stop()


def test_a_callback_that_fails_harms_only_its_own_request() -> None:
    thread = DenoiseThread(make_engine())

    def broken(event: object) -> None:
        raise KeyError("mine")

    thread.submit(job("a", steps=50), broken)
    events, over = collect(thread, job("b"))
    assert over.wait(10)
    assert isinstance(events[-1], DenoiseResult)
    thread.stop()


def test_stopping_the_thread_tells_those_who_wait() -> None:
    thread = DenoiseThread(make_engine())
    events, over = collect(thread, job("a", steps=1000))
    thread.stop()
    assert over.wait(10)
    assert isinstance(events[-1], EngineStoppedError)
    with pytest.raises(EngineStoppedError):
        thread.submit(job("b"), events.append)


def test_the_real_denoiser_gives_rows_that_ignore_their_neighbours() -> None:
    specialist = models.gligen()
    conditions = [
        condition for text in ("a red star", "two rings") for condition in specialist.plan(models.request(text))[:1]
    ]
    samples = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([900, 100])
    rows = [each.condition for each in conditions]
    with torch.no_grad():
        together = specialist.denoiser.denoise(samples, times, rows, True)
        apart = [
            specialist.denoiser.denoise(samples[i : i + 1], times[i : i + 1], rows[i : i + 1], True) for i in range(2)
        ]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=1e-4)
