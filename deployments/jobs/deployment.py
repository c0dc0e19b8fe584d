"""The deployment that works on jobs; it serves no requests, it takes its work from the store."""

from __future__ import annotations

from collections.abc import Mapping

import ray

from deployments.args import AppArgs
from deployments.envelope import forbid_here
from deployments.graph import Graph, Handles
from deployments.jobs.runner import Runner
from deployments.jobs.storage import Storage
from deployments.jobs.work import Worker
from deployments.metrics import GatewayMetrics
from deployments.parts import Handle


def make_runner(args: AppArgs, graph: Graph) -> Runner:
    """Build a runner over `graph`."""
    storage = Storage(args.storage)
    return Runner(args.jobs, storage, Worker(args, graph, storage.artifacts))


class JobRunner:
    """One replica that works on jobs."""

    def __init__(
        self,
        args: AppArgs,
        image_encoder: Handle,
        video_encoder: Handle,
        region_encoder: Handle,
        language_model: Handle,
        specialists: Mapping[str, Handle],
    ) -> None:
        """Begin to work."""
        forbid_here("job runner")
        handles = Handles(
            image_encoder=image_encoder,
            video_encoder=video_encoder,
            region_encoder=region_encoder,
            language_model=language_model,
            specialists=specialists,
        )
        self._runner = make_runner(args, Graph(handles, args.limits, GatewayMetrics(), put=ray.put))
        self._runner.start()

    def check_health(self) -> None:
        """Raise if the work has stopped, so that this replica is replaced."""
        self._runner.check_health()

    async def __del__(self) -> None:
        """Give the jobs back; Ray Serve calls and awaits this when it ends a replica."""
        await self._runner.close()
