"""An elastic run while nodes come and go: `python -m tests.train.nodes STORAGE SEED`.

A process of its own, since its cluster has several nodes, all on this machine.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster as Nodes

from tests.train.test_on_ray import Background, newest, records
from tests.unit.train import toy
from train.on_ray import Cluster, fit

SETTINGS = dataclasses.replace(toy.SETTINGS, steps=100)
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


def main(storage: Path, seed: int) -> None:
    """Grow by a node, lose one of two workers, lose the node."""
    settings = dataclasses.replace(SETTINGS, seed=seed)
    run, trace = storage / f"run-{seed}", Path(os.environ["TOY_TRACE"])
    folder = tempfile.mkdtemp(prefix="vitron-nodes-", dir="/tmp")  # Ray's sockets need short paths
    # What `temp_dir` does not say: where the address of the newest cluster is written.
    os.environ["RAY_TMPDIR"] = folder
    Path(folder, "ray").mkdir()
    nodes = Nodes(initialize_head=True, head_node_args=NODE)
    os.environ["RAY_ADDRESS"] = nodes.address
    workers = Cluster(workers=(1, 2), storage=str(storage), resize_seconds=1.0)
    call = (f"{toy.ADDRESS}:slow", "tiny", None, settings, workers, run.name)
    training = Background(lambda: fit(*call, say=lambda line: None))

    def outlive(cause: Callable[[], Any]) -> Any:
        """Cause an event, and wait until training went on from a checkpoint and made another."""
        resumed = len(records(run, "resumed"))
        found = cause()
        training.wait(lambda: len(records(run, "resumed")) > resumed)
        begun = records(run, "resumed")[-1]["step"]
        training.wait(lambda: newest(run) > begun)
        return found

    training.wait(lambda: newest(run) >= 4)
    joined = outlive(lambda: nodes.add_node(**NODE))
    youngest = list(toy.samples(trace, seed))[-1]
    outlive(lambda: os.kill(youngest, signal.SIGKILL))
    outlive(lambda: nodes.remove_node(joined, allow_graceful=False))
    training.end()
    ray.shutdown()
    nodes.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main(Path(sys.argv[1]), int(sys.argv[2]))
