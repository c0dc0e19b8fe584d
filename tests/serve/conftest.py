"""One Ray cluster for all tests here: its own folder and ports, the shipped configuration, fake parts."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from deployments.args import local_ray_environment
from deployments.config_file import read_config
from deployments.local_cluster import local_cluster

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "serve_config.yaml"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_running(name: str, seconds: float = 480) -> None:
    """Wait until an application and all its deployments are healthy."""
    end = time.monotonic() + seconds
    while True:
        application = serve.status().applications.get(name)
        if application and application.status == "RUNNING":
            return
        assert application is None or application.status != "DEPLOY_FAILED", application
        assert time.monotonic() < end, application
        time.sleep(0.2)


def fake_config(**args: object) -> ServeDeploySchema:
    """The shipped configuration over fake parts, with some arguments changed."""
    config = read_config(CONFIG)
    application = config.applications[0]
    application.import_path = "tests.serve.fake_app:build"
    application.args = {**application.args, **args}
    return config


@pytest.fixture(scope="session")
def cluster() -> Iterator[int]:
    """A running cluster with an HTTP proxy; yields the proxy's port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", str(ROOT))
        local_ray_environment(ROOT)
        port = free_port()
        with local_cluster():
            serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 150})
            yield port


@pytest.fixture(scope="session")
def graph(cluster: int) -> str:
    """The split graph with fake parts; yields its address."""
    client = _get_global_client()
    assert client is not None
    client.deploy_apps(fake_config())
    wait_running("vitron")
    return f"http://127.0.0.1:{cluster}"
