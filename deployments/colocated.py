"""The other placement: the gateway and every part in one replica, over the same graph and the same HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.args import AppArgs
from deployments.encoder import ImageEncoder, RegionEncoder
from deployments.gateway import make_gateway
from deployments.graph import Graph, Handles
from deployments.jobs.deployment import make_runner
from deployments.language_model import LanguageModel
from deployments.local import LocalHandle
from deployments.metrics import GatewayMetrics
from deployments.middleware import App
from deployments.parts import Loaders
from deployments.specialist import Specialist
from deployments.video_encoder import VideoEncoder


class ColocatedGateway:
    """One replica that holds the gateway and every part."""

    def __init__(self, args: AppArgs, load: Loaders, specialists: tuple[str, ...]) -> None:
        """Load all weights."""
        handles = colocated(args, load, specialists)
        self._language = handles.language_model
        ready = dict.fromkeys(("ImageEncoder", "VideoEncoder", "RegionEncoder", "LanguageModel"), True)

        async def readiness() -> dict[str, bool]:
            return ready

        self._app = make_gateway(args, handles, put=_keep, readiness=readiness)
        self._runner = make_runner(args, Graph(handles, args.limits, GatewayMetrics(), put=_keep))
        self._runner.start()

    def check_health(self) -> None:
        """Raise once the engine or the work on jobs has died."""
        self._language.part.check_health()
        self._runner.check_health()

    async def __del__(self) -> None:
        """Give jobs under way back; Ray Serve calls and awaits this when it ends a replica."""
        await self._runner.close()

    def __serve_build_asgi_app__(self) -> App:
        """Hand the HTTP application to Ray Serve."""
        return self._app


def colocated(args: AppArgs, load: Loaders, specialists: tuple[str, ...]) -> Handles:
    """Load every part into this process."""
    made: Mapping[str, Any] = {name: LocalHandle(Specialist(args, load, name)) for name in specialists}
    return Handles(
        image_encoder=LocalHandle(ImageEncoder(args, load)),
        video_encoder=LocalHandle(VideoEncoder(args, load)),
        region_encoder=LocalHandle(RegionEncoder(args, load)),
        language_model=LocalHandle(LanguageModel(args, load, made)),
        specialists=made,
    )


def _keep(medium: Any) -> Any:
    return medium
