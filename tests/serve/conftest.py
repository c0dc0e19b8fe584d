"""One Ray cluster for all tests here: its own folder and ports, the shipped configuration, fake parts."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from deployments.args import local_ray_environment
from deployments.config_file import read_config
from deployments.local_cluster import local_cluster
from tests.postgres import Postgres, missing_postgres, running_postgres

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "serve_config.yaml"


class JobDatabase(NamedTuple):
    """A database of jobs that can be cut off."""

    url: str
    server: Postgres | None

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Nothing can be written meanwhile: the server is gone as after a crash, or the file is locked."""
        if self.server is not None:
            self.server.stop()
            try:
                yield
            finally:
                self.server.start()
            return
        connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
        connection.close()


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


def fake_config(folder: Path, **args: object) -> ServeDeploySchema:
    """The shipped configuration over fake parts, with some arguments changed; `folder` is for its file."""
    document = yaml.safe_load(CONFIG.read_text())
    # Before it is read: with the real parts, entries of specialists that cannot be loaded would be left out.
    document["applications"][0]["import_path"] = "tests.serve.fake_app:build"
    document["applications"][0]["args"].update(args)
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(document))
    return read_config(path)


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
def job_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobDatabase]:
    """Where jobs are kept: a real PostgreSQL if there is one, else SQLite."""
    if missing_postgres() is None:
        with running_postgres() as server:
            yield JobDatabase(server.url, server)
    else:
        yield JobDatabase(f"sqlite:///{tmp_path_factory.mktemp('jobs')}/jobs.db", None)


@pytest.fixture(scope="session")
def graph(cluster: int, job_database: JobDatabase, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The split graph with fake parts; yields its address."""
    client = _get_global_client()
    assert client is not None
    storage = {"database": job_database.url, "timeout_s": 2, "max_failures": 100, "max_unfinished_jobs": 100}
    jobs = {"lease_s": 3, "poll_s": 0.25, "retry_s": 0.25, "concurrency": 4}
    client.deploy_apps(fake_config(tmp_path_factory.mktemp("graph"), storage=storage, jobs=jobs))
    wait_running("vitron")
    return f"http://127.0.0.1:{cluster}"
