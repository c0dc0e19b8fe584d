"""What the routes need of their gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deployments.args import AppArgs
from deployments.conversation_media import MediaReader
from deployments.graph import Graph
from deployments.jobs.storage import Storage
from deployments.media_files import MediaFiles
from deployments.media_reader import PictureReader, VideoReader
from deployments.metrics import GatewayMetrics

Readiness = Callable[[], Awaitable[dict[str, bool]]]
"""Which parts can answer, by name."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One gateway's objects.

    Attributes:
        args: the application's.
        graph: runs requests.
        pictures, videos: read them from URLs and bytes.
        media: reads those of a conversation.
        files: keeps what was made for later turns.
        storage: of jobs and files.
        metrics: counts.
        readiness: tells which parts can answer.
        started: when this gateway began, in Unix seconds.
    """

    args: AppArgs
    graph: Graph
    pictures: PictureReader
    videos: VideoReader
    media: MediaReader
    files: MediaFiles
    storage: Storage
    metrics: GatewayMetrics
    readiness: Readiness
    started: int
