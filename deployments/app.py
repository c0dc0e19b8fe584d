"""The graph: which deployments there are and who holds a handle to whom. Nothing else knows it.

    Gateway ──► ImageEncoder, VideoEncoder ──► RegionEncoder ──► LanguageModel ──► one deployment for each specialist

The JobRunner, which takes jobs from the store, stands where the Gateway does; the Gateway only holds it to make it
part of the application.

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
from deployments.jobs.deployment import JobRunner
from deployments.language_model import LanguageModel
from deployments.parts import Loaders, served_specialists
from deployments.specialist import Specialist
from deployments.video_encoder import VideoEncoder

SPECIALISTS: dict[str, str] = {
    "gligen": "ImageGenerator",
    "seem": "Segmenter",
    "gligen_edit": "ImageEditor",
    "zeroscope": "VideoGenerator",
    "i2vgen": "ImageAnimator",
    "seem_video": "VideoSegmenter",
    "stablevideo": "VideoEditor",
}
"""Deployment of each specialist; which of them are served, `parts.served_specialists` says."""
INGRESS = "Gateway"


def deployments_of(args: AppArgs) -> tuple[str, ...]:
    """Return the names of the deployments; `serve_config.yaml` must have an entry for each."""
    if args.placement == "colocated":
        return (INGRESS,)
    served = served_specialists(args)
    specialists = (deployment for name, deployment in SPECIALISTS.items() if name in served)
    return (INGRESS, "JobRunner", "ImageEncoder", "VideoEncoder", "RegionEncoder", "LanguageModel", *specialists)


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
        return ingress.bind(args, load, load.specialists(args))
    image_encoder = serve.deployment(name="ImageEncoder")(ImageEncoder).bind(args, load)
    video_encoder = serve.deployment(name="VideoEncoder")(VideoEncoder).bind(args, load)
    region_encoder = serve.deployment(name="RegionEncoder")(RegionEncoder).bind(args, load)
    specialists = {
        name: serve.deployment(name=deployment)(Specialist).bind(args, load, name)
        for name, deployment in SPECIALISTS.items()
        if name in load.specialists(args)
    }
    language = serve.deployment(name="LanguageModel")(LanguageModel).bind(args, load, specialists)
    parts = (image_encoder, video_encoder, region_encoder, language, specialists)
    runner = serve.deployment(name="JobRunner")(JobRunner).bind(args, *parts)
    return serve.deployment(name=INGRESS)(serve.ingress()(Gateway)).bind(args, *parts, runner)
