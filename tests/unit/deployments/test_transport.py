"""Envelopes, batches, local handles and retries: how parts talk to each other."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import ray.exceptions
import torch
from ray.serve._private.common import DeploymentStatus, ReplicaState
from ray.serve.exceptions import RayServeException

from deployments.args import AppArgs, port_from_environment
from deployments.batching import MicroBatcher
from deployments.colocated import colocated
from deployments.envelope import EnvelopeError, allow_here, forbid_here, pack, unpack
from deployments.errors import is_replica_loss
from deployments.gateway import Gateway, _can_answer
from deployments.graph import Graph, Handles
from deployments.local import LocalHandle
from deployments.messages import ChatCall, Done, Sampling, TextDelta
from deployments.metrics import GatewayMetrics
from tests.serve.fakes import FakeLoaders
from vitron.types import Message


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_a_tensor_crosses_an_edge_unchanged(dtype: torch.dtype) -> None:
    tensor = torch.randn(3, 5).mul(10).to(dtype)
    packed = pack(tensor.t(), name="signal", source="a", revision="r")
    back, record = unpack(pickle.loads(pickle.dumps(packed, protocol=5)), name="signal", target="b")
    assert back.dtype == dtype and torch.equal(back, tensor.t())
    assert (record.source, record.target, record.num_bytes) == ("a", "b", tensor.nbytes)
    assert record.send_s >= 0 and record.receive_s >= 0


def test_a_received_tensor_may_be_changed() -> None:
    packed = pack(torch.zeros(2), name="x", source="a", revision="r")
    packed.data.setflags(write=False)  # as Ray delivers it
    tensor, _ = unpack(packed, name="x", target="b")
    tensor += 1
    assert not packed.data.any()


def test_an_envelope_of_another_kind_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="expected 'signal'"):
        unpack(pack(torch.zeros(2), name="x", source="a", revision="r"), name="signal", target="b")


def test_a_process_can_refuse_envelopes() -> None:
    data = pickle.dumps(pack(torch.zeros(2), name="x", source="a", revision="r"))
    forbid_here("gateway")
    try:
        with pytest.raises(EnvelopeError, match="gateway"):
            pickle.loads(data)
    finally:
        allow_here()
    assert pickle.loads(data).name == "x"


def test_calls_that_wait_together_run_together_and_a_bad_one_fails_alone() -> None:
    sizes: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if 3 in items:
            raise ValueError("three")
        return [item * 2 for item in items]

    async def main() -> list[Any]:
        batcher: MicroBatcher[int, int] = MicroBatcher(run, max_size=4, wait_s=0.01)
        return await asyncio.gather(*[batcher.submit(i) for i in range(6)], return_exceptions=True)

    results = asyncio.run(main())
    assert [r for r in results if isinstance(r, int)] == [0, 2, 4, 8, 10]
    assert str(results[3]) == "three"
    assert sizes == [4, 1, 1, 1, 1, 2]


def test_a_call_that_is_cancelled_in_time_is_never_run() -> None:
    seen: list[int] = []
    gate = threading.Event()

    def run(items: Sequence[int]) -> list[int]:
        gate.wait(2)
        seen.extend(items)
        return list(items)

    async def main() -> None:
        batcher: MicroBatcher[int, int] = MicroBatcher(run, max_size=1, wait_s=0)
        first = asyncio.create_task(batcher.submit(1))
        second = asyncio.create_task(batcher.submit(2))
        await asyncio.sleep(0.01)
        second.cancel()
        gate.set()
        await first
        await asyncio.sleep(0.02)

    asyncio.run(main())
    assert seen == [1]


class Flaky:
    """A language model whose replica is lost the first `losses` times, before or after its first word."""

    def __init__(self, losses: int, *, late: bool) -> None:
        self.losses, self.late, self.calls = losses, late, 0

    async def chat(self, *_: Any) -> AsyncIterator[Any]:
        self.calls += 1
        if self.late:
            yield TextDelta(text="word")
        if self.calls <= self.losses:
            raise ray.exceptions.ActorDiedError()
        yield TextDelta(text="word")
        yield Done()


def answer(flaky: Flaky) -> list[Any]:
    async def main() -> list[Any]:
        args = AppArgs(batch_wait_s=0)
        parts = colocated(args, FakeLoaders(), ("gligen", "seem"))
        handles = Handles(
            image_encoder=parts.image_encoder,
            video_encoder=parts.video_encoder,
            region_encoder=parts.region_encoder,
            language_model=LocalHandle(flaky),
            specialists=parts.specialists,
        )
        graph = Graph(handles, args.limits, GatewayMetrics(), put=lambda image: image)
        call = ChatCall(
            request_id="r",
            messages=(Message(role="user", text="hi"),),
            images_per_message=(0,),
            sampling=Sampling(max_tokens=5),
        )
        return [event async for event in graph.chat(call, [])]

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.graph._FIRST_PAUSE_S", 0.0)


def test_a_lost_replica_is_replaced_before_the_client_has_read_anything() -> None:
    flaky = Flaky(3, late=False)
    events = answer(flaky)
    assert flaky.calls == 4 and isinstance(events[-1], Done)


def test_losses_without_end_are_not_repeated_without_end() -> None:
    flaky = Flaky(9, late=False)
    with pytest.raises(ray.exceptions.RayActorError):
        answer(flaky)
    assert flaky.calls == 4


def test_a_loss_is_recognised_through_what_ray_wraps_it_in() -> None:
    lost = ray.exceptions.ActorDiedError()
    wrapped = RayServeException("an upstream actor died")
    wrapped.__cause__ = lost
    task = ray.exceptions.RayTaskError("f", "", wrapped)
    assert is_replica_loss(lost) and is_replica_loss(wrapped) and is_replica_loss(task)
    assert not is_replica_loss(ray.exceptions.RayTaskError("f", "", ValueError("x")))


def test_after_the_first_word_a_loss_is_an_error() -> None:
    flaky = Flaky(1, late=True)
    with pytest.raises(ray.exceptions.RayActorError):
        answer(flaky)
    assert flaky.calls == 1


@pytest.mark.parametrize(
    ("status", "replicas", "ready"),
    [
        ("HEALTHY", {"RUNNING": 1}, True),
        ("UPDATING", {"RUNNING": 1, "STARTING": 1}, True),
        ("HEALTHY", {}, True),  # asleep
        ("HEALTHY", {"STOPPING": 1}, True),
        ("UPSCALING", {"STARTING": 1}, True),  # being woken
        ("UPDATING", {"STARTING": 1}, False),
        ("UNHEALTHY", {"STARTING": 1}, False),
        ("UNHEALTHY", {}, False),
    ],
)
def test_a_part_that_sleeps_or_wakes_can_answer_and_a_lost_one_cannot(
    status: str, replicas: dict[str, int], ready: bool
) -> None:
    assert _can_answer(status, replicas) is ready
    as_told = {ReplicaState(state): count for state, count in replicas.items()}
    assert _can_answer(DeploymentStatus(status), as_told) is ready


def test_the_port_comes_from_the_environment_and_is_checked() -> None:
    assert port_from_environment({}) is None
    assert port_from_environment({"PORT": "8080"}) == 8080
    for text in ("", "x", "0", "70000", "-1", "8_0"):
        with pytest.raises(ValueError, match="PORT"):
            port_from_environment({"PORT": text})


def test_a_gateway_of_the_split_graph_refuses_envelopes_in_its_process() -> None:
    data = pickle.dumps(pack(torch.zeros(2), name="image features", source="a", revision="r"))
    handle = LocalHandle(object())
    Gateway(AppArgs(), handle, handle, handle, handle, {"seem": handle})
    try:
        with pytest.raises(EnvelopeError, match="only hold references"):
            pickle.loads(data)
    finally:
        allow_here()
