"""The other placement: the gateway and every part in one replica, over the same graph and the same HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.args import AppArgs
from deployments.encoder import ImageEncoder, RegionEncoder
from deployments.gateway import make_gateway
from deployments.graph import Handles
from deployments.language_model import LanguageModel
from deployments.local import LocalHandle
from deployments.middleware import App
from deployments.parts import Loaders
from deployments.specialist import Specialist
from vitron.types import Image


class ColocatedGateway:
    """One replica that holds the gateway and every part."""

    def __init__(self, args: AppArgs, load: Loaders, specialists: tuple[str, ...]) -> None:
        """Load all weights."""
        handles = colocated(args, load, specialists)
        self._language = handles.language_model
        ready = dict.fromkeys(("ImageEncoder", "RegionEncoder", "LanguageModel"), True)

        async def readiness() -> dict[str, bool]:
            return ready

        self._app = make_gateway(args, handles, put=_keep, readiness=readiness)

    def check_health(self) -> None:
        """Raise once the engine has died."""
        self._language.part.check_health()

    def __serve_build_asgi_app__(self) -> App:
        """Hand the HTTP application to Ray Serve."""
        return self._app


def colocated(args: AppArgs, load: Loaders, specialists: tuple[str, ...]) -> Handles:
    """Load every part into this process."""
    made: Mapping[str, Any] = {name: LocalHandle(Specialist(args, load, name)) for name in specialists}
    return Handles(
        image_encoder=LocalHandle(ImageEncoder(args, load)),
        region_encoder=LocalHandle(RegionEncoder(args, load)),
        language_model=LocalHandle(LanguageModel(args, load, made)),
        specialists=made,
    )


def _keep(image: Image) -> Image:
    return image
