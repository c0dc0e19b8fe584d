"""A Ray cluster of this process alone: its own folder, free ports, gone with the process."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray import serve

_logger = logging.getLogger(__name__)
_ATTEMPTS = 3
_OBJECT_STORE_BYTES = 512 * 2**20
_MIN_CPUS = 4
"""Logical CPUs: bookkeeping, so that a small machine holds every part and a second replica of some."""


@contextmanager
def local_cluster(*, dashboard: bool = False) -> Iterator[str]:
    """Start Ray, yield its folder, and stop exactly this cluster again; after an error its logs stay.

    The caller prepares the environment first (`deployments.args.local_ray_environment`).
    """
    # Not the system's temporary folder: Ray puts sockets there, whose paths may have 107 characters.
    folder = tempfile.mkdtemp(prefix="vitron-", dir="/tmp")
    keep_logs = False
    try:
        _start(folder, dashboard)
        yield folder
    except Exception:
        keep_logs = True
        raise
    finally:
        if ray.is_initialized():
            serve.shutdown()
        ray.shutdown()
        if not keep_logs:
            shutil.rmtree(folder, ignore_errors=True)


def _start(folder: str, dashboard: bool) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            ray.init(
                address="local",
                _temp_dir=f"{folder}/{attempt}",
                num_cpus=max(_MIN_CPUS, os.cpu_count() or 1),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=dashboard,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        # Ray gives its node a fixed 30 s, which a busy machine can miss, and raises a bare Exception.
        except Exception as error:
            ray.shutdown()
            if attempt == _ATTEMPTS - 1:
                raise
            _logger.warning("Ray did not start (%s); trying again", error)
