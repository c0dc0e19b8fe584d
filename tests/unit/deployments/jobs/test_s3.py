"""Artifacts on an S3-compatible server: moto's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.jobs.artifacts import Artifacts
from deployments.jobs.model import StorageUnavailableError
from tests.s3 import free_port, server

BUCKET = "vitron-test"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of a running server."""
    with server() as address:
        yield address


def options(endpoint: str) -> dict[str, object]:
    return {"endpoint_url": endpoint, "key": "x", "secret": "x", "client_kwargs": {"region_name": "eu-central-1"}}


def test_artifacts_live_in_a_bucket(endpoint: str) -> None:
    import s3fs

    s3fs.S3FileSystem(**options(endpoint)).mkdir(BUCKET)
    artifacts = Artifacts(f"s3://{BUCKET}/somewhere", options(endpoint))
    artifacts.put("jobs/a/1/video.mp4", b"0123456789")
    artifacts.put("jobs/a/input/input-0", b"abc")
    artifacts.put("jobs/ab/1/video.mp4", b"x")
    assert artifacts.get("jobs/a/1/video.mp4") == b"0123456789"
    assert artifacts.get("jobs/a/1/video.mp4", 2, 5) == b"234"
    assert artifacts.get("jobs/none") is None
    # Another process sees what this one wrote.
    assert Artifacts(f"s3://{BUCKET}/somewhere", options(endpoint)).get("jobs/a/input/input-0") == b"abc"
    artifacts.remove("jobs/a")
    artifacts.remove("jobs/a")
    assert artifacts.get("jobs/a/1/video.mp4") is None and artifacts.get("jobs/a/input/input-0") is None
    assert artifacts.get("jobs/ab/1/video.mp4") == b"x"


def test_a_server_that_is_not_there_is_a_clear_error() -> None:
    settings = {**options(f"http://127.0.0.1:{free_port()}"), "config_kwargs": {"retries": {"max_attempts": 1}}}
    with pytest.raises(StorageUnavailableError):
        Artifacts("s3://nowhere", settings).put("a", b"x")
