"""Reading `serve_config.yaml` strictly.

Ray Serve ignores keys it does not know, and a wrong deployment name shows only when the deployment has failed; an
operator wants to know before anything is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    LoggingConfig,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from deployments.app import SPECIALISTS, deployments_of
from deployments.args import AppArgs

IMPORT_PATH = "deployments.app:build"
_NESTED: dict[type[BaseModel], dict[str, type[BaseModel]]] = {
    ServeDeploySchema: {
        "http_options": HTTPOptionsSchema,
        "applications": ServeApplicationSchema,
        "logging_config": LoggingConfig,
    },
    ServeApplicationSchema: {"deployments": DeploymentSchema, "logging_config": LoggingConfig},
    DeploymentSchema: {
        "autoscaling_config": AutoscalingConfig,
        "ray_actor_options": RayActorOptionsSchema,
        "logging_config": LoggingConfig,
    },
}


def read_config(path: str | Path) -> ServeDeploySchema:
    """Read and check a Serve configuration.

    Raises:
        ValueError: an unknown key, a value out of range, or deployments that do not match the graph.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: got {type(raw).__name__}, expected a mapping")
    unknown = list(_unknown(raw, ServeDeploySchema, ""))
    if unknown:
        raise ValueError(f"{path}: unknown keys {', '.join(unknown)}")
    config = ServeDeploySchema.model_validate(raw)
    for application in config.applications:
        _check_application(application)
    return config


def use_weights(config: ServeDeploySchema, folder: Path) -> None:
    """Let every application of this project load the weights of a folder, such as that of a training run.

    Raises:
        FileNotFoundError: it is not there.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"weights: got {str(folder)!r}, expected a folder of weights or of a training run")
    for application in config.applications:
        if application.import_path == IMPORT_PATH:
            # Replicas have a working directory of their own.
            application.args = {**application.args, "weights": str(folder.absolute())}


def model_ids(config: ServeDeploySchema) -> list[str]:
    """Return the model that each application of this project serves."""
    return [
        AppArgs.model_validate(application.args).model_id
        for application in config.applications
        if application.import_path == IMPORT_PATH
    ]


def _unknown(raw: Any, model: type[BaseModel], at: str) -> Iterator[str]:
    if isinstance(raw, list):
        for index, item in enumerate(raw):
            yield from _unknown(item, model, f"{at}[{index}]")
    elif isinstance(raw, Mapping):
        for key, value in raw.items():
            where = f"{at}.{key}".removeprefix(".")
            if key not in model.model_fields:
                yield where
            elif key in _NESTED.get(model, {}):
                yield from _unknown(value, _NESTED[model][key], where)


def _check_application(application: ServeApplicationSchema) -> None:
    if application.import_path != IMPORT_PATH:
        return  # somebody else's application may share the cluster
    args = AppArgs.model_validate(application.args)
    expected = deployments_of(args)
    if args.placement == "split":
        # An entry of a specialist that is not served waits for the day that it is.
        idle = set(SPECIALISTS.values()) - set(expected)
        application.deployments = [each for each in application.deployments if each.name not in idle]
    names = [deployment.name for deployment in application.deployments]
    if sorted(names) != sorted(expected):
        raise ValueError(
            f"deployments of {application.name!r}: got {names}, "
            f"expected {list(expected)} for placement {args.placement!r}"
        )
