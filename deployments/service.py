"""What the routes need of their gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deployments.args import AppArgs
from deployments.conversation import PictureReader
from deployments.graph import Graph
from deployments.metrics import GatewayMetrics

Readiness = Callable[[], Awaitable[dict[str, bool]]]
"""Which parts can answer, by name."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One gateway's objects.

    Attributes:
        args: the application's.
        graph: runs requests.
        pictures: reads pictures from URLs and bytes.
        metrics: counts.
        readiness: tells which parts can answer.
        started: when this gateway began, in Unix seconds.
    """

    args: AppArgs
    graph: Graph
    pictures: PictureReader
    metrics: GatewayMetrics
    readiness: Readiness
    started: int
