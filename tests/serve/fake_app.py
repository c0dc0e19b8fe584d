"""The application of `serve_config.yaml` with fake parts, for `import_path`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.serve import Application

from deployments.app import bind
from deployments.args import AppArgs
from tests.serve.fakes import FakeLoaders


def build(args: Mapping[str, Any]) -> Application:
    """Build it."""
    return bind(AppArgs.model_validate(dict(args)), FakeLoaders())
