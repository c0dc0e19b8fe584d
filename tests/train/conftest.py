"""One Ray cluster for all tests here, which ends before the tests of the next folder start theirs."""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

ROOT = Path(__file__).parents[2]
CPUS = 2
ATTEMPTS = 3


@pytest.fixture(scope="package", autouse=True)
def interruptible() -> Iterator[None]:
    """Let Ctrl-C be sent to what tests start: shells have background processes, and their children, ignore it."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.fixture(scope="package")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which training processes write the numbers of their samples."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trace")
        patch.setenv("TOY_TRACE", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        yield folder


@pytest.fixture(scope="package")
def cluster(trace: Path) -> Iterator[str]:
    """A cluster of two CPUs, whatever the machine has; yields its address."""
    # Not the system's temporary folder: Ray puts sockets there, whose paths may have 107 characters.
    folder = tempfile.mkdtemp(prefix="vitron-train-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "3")
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
        _start(folder)
        address = ray.get_runtime_context().gcs_address
        patch.setenv("RAY_ADDRESS", address)
        yield address
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def _start(folder: str) -> None:
    for attempt in range(ATTEMPTS):
        try:
            ray.init(
                address="local",
                _temp_dir=f"{folder}/{attempt}",
                num_cpus=CPUS,
                object_store_memory=200 * 2**20,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _system_config={"metrics_report_interval_ms": 1000},
            )
            return
        except Exception:  # Ray gives its node a fixed time, which a busy machine can miss
            ray.shutdown()
            if attempt == ATTEMPTS - 1:
                raise
