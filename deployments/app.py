"""The graph: which deployments there are and who holds a handle to whom. Nothing else knows it.

    Gateway ──► ImageEncoder ──► RegionEncoder ──► LanguageModel ──► ImageGenerator, Segmenter

How many replicas each has, and on what, is in `serve_config.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve import Application

from deployments.args import AppArgs
from deployments.colocated import ColocatedGateway
from deployments.encoder import ImageEncoder, RegionEncoder
from deployments.gateway import Gateway
from deployments.language_model import LanguageModel
from deployments.parts import Loaders
from deployments.specialist import Specialist

SPECIALISTS: dict[str, str] = {"gligen": "ImageGenerator", "seem": "Segmenter"}
"""Deployment of each specialist."""
INGRESS = "Gateway"
DEPLOYMENTS: dict[str, tuple[str, ...]] = {
    "split": (INGRESS, "ImageEncoder", "RegionEncoder", "LanguageModel", *SPECIALISTS.values()),
    "colocated": (INGRESS,),
}
"""Names of the deployments for each placement; `serve_config.yaml` must use exactly these."""


def build(args: AppArgs | Mapping[str, Any]) -> Application:
    """Build the application from the `args:` of `serve_config.yaml`.

    Raises:
        ValidationError: an argument is unknown or out of range.
    """
    # Here and not above: who only reads a configuration needs no model library.
    from deployments.loading import VitronLoaders

    checked = args if isinstance(args, AppArgs) else AppArgs.model_validate(dict(args))
    return bind(checked, VitronLoaders())


def bind(args: AppArgs, load: Loaders) -> Application:
    """Bind the deployments of `args.placement` to each other."""
    if args.placement == "colocated":
        ingress = serve.deployment(name=INGRESS)(serve.ingress()(ColocatedGateway))
        return ingress.bind(args, load, tuple(SPECIALISTS))
    image_encoder = serve.deployment(name="ImageEncoder")(ImageEncoder).bind(args, load)
    region_encoder = serve.deployment(name="RegionEncoder")(RegionEncoder).bind(args, load)
    specialists = {
        name: serve.deployment(name=deployment)(Specialist).bind(args, load, name)
        for name, deployment in SPECIALISTS.items()
    }
    language = serve.deployment(name="LanguageModel")(LanguageModel).bind(args, load, specialists)
    gateway = serve.deployment(name=INGRESS)(serve.ingress()(Gateway))
    return gateway.bind(args, image_encoder, region_encoder, language, specialists)
