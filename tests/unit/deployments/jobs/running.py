"""A gateway and a job runner over fake parts, on one store, in one process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from deployments.args import AppArgs
from deployments.colocated import colocated
from deployments.graph import Graph, Handles
from deployments.jobs.deployment import make_runner
from deployments.jobs.runner import Runner
from deployments.metrics import GatewayMetrics
from tests.serve.fakes import FakeLoaders
from tests.unit.deployments.conftest import Local, local_gateway
from vitron.routing import NAMES

POLL_S = 0.03


class Served(NamedTuple):
    """A gateway, and the parts that its jobs run on."""

    gateway: Local
    args: AppArgs
    parts: Handles

    def specialist(self, name: str) -> Any:
        return self.parts.specialists[name].part._specialist


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[Served]:
    """Serve with a store in `folder`; jobs are worked on in a thread of their own."""
    settings = {
        "storage": {"folder": str(folder), "timeout_s": 0.5},
        "jobs": {"poll_s": POLL_S, "retry_s": 0.05, "lease_s": 1},
        **settings,
    }
    gateway = local_gateway(**settings)
    args = AppArgs(**{"batch_wait_s": 0, **settings})
    with gateway.client, running(args) as parts:
        yield Served(gateway, args, parts)


@contextmanager
def running(args: AppArgs, specialists: tuple[str, ...] = NAMES) -> Iterator[Handles]:
    """Work on jobs; yields the parts."""
    made: list[tuple[Handles, Runner, asyncio.AbstractEventLoop]] = []
    begun, ended = threading.Event(), threading.Event()

    async def main() -> None:
        parts = colocated(args, FakeLoaders(), specialists)
        runner = make_runner(args, Graph(parts, args.limits, GatewayMetrics(), put=lambda medium: medium))
        runner.start()
        made.append((parts, runner, asyncio.get_running_loop()))
        begun.set()
        while not ended.is_set():
            await asyncio.sleep(0.01)
        await runner.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert begun.wait(30)
    try:
        yield made[0][0]
        made[0][1].check_health()
    finally:
        ended.set()
        thread.join(30)


def wait_for(check: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait until `check` gives something true, and return it."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def finished(client: Any, job_id: str) -> dict[str, Any]:
    """Wait for a job to end and return it; its progress must never fall."""
    seen = [-1]

    def check() -> dict[str, Any] | None:
        answer = client.get(f"/v1/videos/{job_id}")
        assert answer.status_code == 200, answer.text
        video = answer.json()
        assert video["progress"] >= seen[-1]
        seen.append(video["progress"])
        assert (video["progress"] == 100) == (video["status"] == "completed")
        return video if video["status"] in ("completed", "failed") else None

    found: dict[str, Any] = wait_for(check)
    return found
