"""The ingress deployment: HTTP on one side, handles on the other, and no feature in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TypeVar

import ray
from ray import serve

from deployments.args import AppArgs
from deployments.auth import Authenticator, read_keys
from deployments.conversation_media import MediaReader
from deployments.envelope import forbid_here
from deployments.graph import Graph, Handles, Put
from deployments.http import make_http
from deployments.jobs.storage import DurableFiles, Storage
from deployments.media_reader import PictureReader, VideoReader
from deployments.metrics import GatewayMetrics
from deployments.middleware import App
from deployments.parts import Handle
from deployments.service import Readiness, Service

_STATUS_AGE_S = 1.0
_State = TypeVar("_State", bound=str)


class Gateway:
    """One gateway replica of the split graph."""

    def __init__(
        self,
        args: AppArgs,
        image_encoder: Handle,
        video_encoder: Handle,
        region_encoder: Handle,
        language_model: Handle,
        specialists: Mapping[str, Handle],
        job_runner: Handle | None = None,
    ) -> None:
        """Keep the handles; from now on this process refuses to open an envelope.

        The job runner is not called: to be held is what makes it a part of the application.
        """
        forbid_here("gateway")
        handles = Handles(
            image_encoder=image_encoder,
            video_encoder=video_encoder,
            region_encoder=region_encoder,
            language_model=language_model,
            specialists=specialists,
        )
        self._app = make_gateway(args, handles, put=ray.put, readiness=ClusterReadiness())

    def __serve_build_asgi_app__(self) -> App:
        """Hand the HTTP application to Ray Serve."""
        return self._app


def make_gateway(args: AppArgs, handles: Handles, *, put: Put, readiness: Readiness) -> App:
    """Build the HTTP application over `handles`."""
    metrics = GatewayMetrics()
    keys = None if args.api_key_file is None else read_keys(args.api_key_file)
    pictures, videos, storage = PictureReader(args), VideoReader(args), Storage(args.storage)
    files = DurableFiles(storage)
    service = Service(
        args=args,
        graph=Graph(handles, args.limits, metrics, put=put),
        pictures=pictures,
        videos=videos,
        media=MediaReader(pictures, videos, files, args.limits),
        files=files,
        storage=storage,
        metrics=metrics,
        readiness=readiness,
        started=int(time.time()),
    )
    return make_http(service, Authenticator(keys, allow_anonymous=args.allow_anonymous))


class ClusterReadiness:
    """Asks Ray Serve which deployments of this application have a running replica; remembers for a moment."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._lock = asyncio.Lock()
        self._asked = float("-inf")
        self._parts: dict[str, bool] = {}

    async def __call__(self) -> dict[str, bool]:
        """Return the readiness of each deployment."""
        async with self._lock:
            if time.monotonic() - self._asked > _STATUS_AGE_S:
                self._parts = await asyncio.to_thread(self._ask)
                self._asked = time.monotonic()
        return self._parts

    def _ask(self) -> dict[str, bool]:
        name = serve.get_replica_context().app_name
        app = serve.status().applications[name]
        return {part: _can_answer(status.status, status.replica_states) for part, status in app.deployments.items()}


def _can_answer(status: str, replicas: Mapping[_State, int]) -> bool:
    """Whether a deployment has a running replica, or sleeps by its own wish, or is just being woken: requests wait."""
    # Both are enumerations of Ray Serve's that equal strings, but are not spelled as these.
    live = [state for state, count in replicas.items() if count and state != "STOPPING"]
    running = any(state == "RUNNING" for state in live)
    scaling = status in ("UPSCALING", "DOWNSCALING")
    return running or scaling or (not live and status == "HEALTHY")
