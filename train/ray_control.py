"""Talking to a run on Ray while it trains: how many workers it should have, and whether to stop.

A run has one named actor in its driver's process group on the cluster. It lives and dies with the driver, so that the
name also tells whether the run is under way.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NAMESPACE = "vitron"
POLL_SECONDS = 0.5
"""How often rank 0 asks."""
TAKEN_SECONDS = 30.0
"""How long the name of a run whose driver was killed may stay taken."""
STOP = 0
"""The wanted number of workers that means: stop."""

Workers = int | tuple[int, int]


@ray.remote(num_cpus=0)
class Control:
    """Holds what is wanted of a run; None: what it was submitted with."""

    def __init__(self) -> None:
        self._wanted: Workers | None = None

    def ask(self, workers: Workers) -> None:
        """Ask for a number of workers, a range of them, or STOP."""
        self._wanted = workers

    def wanted(self) -> Workers | None:
        """Return what was asked for last."""
        return self._wanted


def connect(workers: Workers) -> None:
    """Connect to the cluster of `RAY_ADDRESS`, or one that runs on this machine; else start one here.

    Args:
        workers: of a run, so that a cluster that is started here has room for them.
    """
    if ray.is_initialized():
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init(namespace=NAMESPACE)
        return
    # Ray would otherwise switch token authentication on and write a token into the home folder.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address="auto", namespace=NAMESPACE)
        return
    except ConnectionError:
        pass
    # Workers have to find this package.
    path = os.environ.get("PYTHONPATH")
    root = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
    fewest = workers if isinstance(workers, int) else workers[0]
    ray.init(address="local", namespace=NAMESPACE, num_cpus=max(os.cpu_count() or 1, fewest))


def begin(run: str) -> ray.actor.ActorHandle[Any]:
    """Take the name of a run on the cluster and return its control.

    Raises:
        ValueError: the run is under way already.
    """
    # It must not outlive this process, whichever node has room.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    end = time.monotonic() + TAKEN_SECONDS
    while True:
        try:
            control = Control.options(  # type: ignore[attr-defined]
                name=_actor(run), namespace=NAMESPACE, scheduling_strategy=here
            ).remote()
            ray.get(control.wanted.remote())
            return control
        except ValueError:  # how Ray says that a name is taken
            if time.monotonic() > end:
                raise ValueError(f"name: {run!r} is training on this cluster already") from None
            time.sleep(0.5)


def ask(run: str, workers: Workers) -> None:
    """Ask a run for another number of workers, or to STOP; it follows at its next step's boundary.

    Raises:
        ValueError: there is no cluster, or no such run on it.
    """
    if not ray.is_initialized():
        try:
            ray.init(address="auto", namespace=NAMESPACE, log_to_driver=False)
        except ConnectionError as error:
            raise ValueError(f"name: no Ray cluster is found to look for {run!r} on; set RAY_ADDRESS") from error
    try:
        control = ray.get_actor(_actor(run), namespace=NAMESPACE)
    except ValueError:
        raise ValueError(f"name: {run!r} is not training on this cluster") from None
    ray.get(control.ask.remote(workers))


class Wish:
    """Tells a worker whether something is wanted that its submission did not know of."""

    def __init__(self, run: str, known: Workers | None) -> None:
        self._known = known
        self._control = ray.get_actor(_actor(run), namespace=NAMESPACE)
        self._pending: ray.ObjectRef[Workers | None] | None = None
        self._asked = 0.0

    def __call__(self) -> bool:
        """Ask, and look for the answer at later steps, so that training never waits for it."""
        if self._pending is None:
            if time.monotonic() - self._asked > POLL_SECONDS:
                self._asked = time.monotonic()
                self._pending = self._control.wanted.remote()
            return False
        ready, _ = ray.wait([self._pending], timeout=0)
        if not ready:
            return False
        self._pending = None
        try:
            return bool(ray.get(ready[0]) != self._known)
        except ray.exceptions.RayError:  # the driver is gone, and with it, in a moment, this process
            return False


def _actor(run: str) -> str:
    return f"train-{run}"
