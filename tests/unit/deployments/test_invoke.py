"""Calling a specialist from the language model's replica: what travels, and what happens when its replica dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
import ray.exceptions
import torch

from deployments.envelope import unpack
from deployments.invoke import SpecialistCaller
from deployments.local import LocalHandle
from deployments.messages import Progress, RunResult
from deployments.specialist import SIGNAL
from vitron.specialists.base import SpecialistRequest
from vitron.types import Clip, SpecialistOutput

REQUEST = SpecialistRequest(
    instruction="red circle",
    signal=torch.ones(2, 3),
    image=np.zeros((4, 4, 3), np.uint8),
    reference=np.ones((4, 4, 3), np.uint8),
    clip=Clip(frames=np.zeros((2, 4, 4, 3), np.uint8)),
)


class Flaky:
    """A specialist whose replica is lost the first `losses` times, after some progress."""

    def __init__(self, losses: int) -> None:
        self.losses, self.calls = losses, 0
        self.got: tuple[Any, ...] = ()
        self.closed = False

    async def stream(self, *given: Any) -> AsyncIterator[Any]:
        self.calls += 1
        self.got = given
        try:
            yield Progress(done=1, total=2)
            if self.calls <= self.losses:
                raise ray.exceptions.ActorDiedError()
            yield RunResult(output=SpecialistOutput())
        finally:
            self.closed = True


def caller(flaky: Flaky) -> SpecialistCaller:
    return SpecialistCaller({"seem": LocalHandle(flaky)}, source="language_model", revision="r", max_retries=2)


def events(flaky: Flaky, name: str = "seem") -> list[Any]:
    async def main() -> list[Any]:
        return [event async for event in caller(flaky).call(name, REQUEST)]

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.invoke._FIRST_PAUSE_S", 0.0)


def test_large_values_travel_beside_the_request() -> None:
    flaky = Flaky(0)
    assert isinstance(events(flaky)[-1], RunResult)
    header, signal, image, reference, clip = flaky.got
    assert (header.signal, header.image, header.reference, header.clip) == (None, None, None, None)
    assert header.instruction == "red circle"
    assert image is REQUEST.image and reference is REQUEST.reference and clip is REQUEST.clip
    tensor, record = unpack(signal, name=SIGNAL, target="seem")
    assert torch.equal(tensor, torch.ones(2, 3)) and record.source == "language_model"


def test_another_replica_does_the_work_of_one_that_died() -> None:
    flaky = Flaky(2)
    assert events(flaky)[-1].output == SpecialistOutput()
    assert flaky.calls == 3


def test_losses_without_end_are_a_failure_that_names_the_specialist() -> None:
    flaky = Flaky(9)
    failure = events(flaky)[-1].failure
    assert flaky.calls == 3 and "seem" in failure.message


def test_one_that_is_not_served_is_named_beside_those_that_are() -> None:
    (result,) = events(Flaky(0), "zeroscope")
    assert "'zeroscope'" in result.failure.message and "['seem']" in result.failure.message


def test_a_caller_that_leaves_ends_the_call() -> None:
    flaky = Flaky(0)

    async def main() -> None:
        async with aclosing(caller(flaky).call("seem", REQUEST)) as items:
            assert isinstance(await anext(items), Progress)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert flaky.closed
