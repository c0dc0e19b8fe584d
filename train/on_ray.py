"""Runs of the trainer on a Ray cluster: worker processes, restarts, elasticity. The only file that starts Ray Train.

Two ways of changing the number of workers. With a range (`1:4`) Ray Train itself follows what the cluster has: a lost
worker or node ends the group, and a new one starts from the last committed checkpoint. A voluntary change (`resize`)
ends at a step's boundary with a checkpoint, and the run is submitted again under the same name with the new number.
"""

from __future__ import annotations

import os
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from ray.train import ControllerError
from ray.train.torch import TorchConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.util.metrics import Gauge

from train.ray_control import STOP, Wish, Workers, begin, connect
from train.ray_failures import RunFailed, Verdict
from train.recipes import find
from train.saver import FolderSaver, open_run
from train.session import Run, take_part
from train.settings import Settings
from train.stopping import Interrupted, Signals
from train.trackers import ENVIRONMENT
from train.world import GROUP_SECONDS, World

if TYPE_CHECKING:
    # The names below are these classes, but a type checker sees those of Ray Train V1.
    from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.torch.torch_trainer import TorchTrainer
else:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

KNOBS = {
    # The defaults let a lost node stop training for over a minute: a placement that cannot come true is waited for.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
"""Ray Train hands these from the driver's environment to its controller."""
PLACEMENTS = 1
"""Failed placements of a run of fixed size that are tried again before its driver reads the wanted size anew."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """How a run uses the cluster.

    Attributes:
        workers: a number, or (fewest, most).
        resources: of one worker, such as {"CPU": 1} or {"GPU": 1}.
        storage: folder or URL that every node reaches; runs are folders below it.
        failures: lost workers that a run survives; -1: any number.
        resize_seconds: how often an elastic run looks whether it could be larger.
    """

    workers: Workers
    resources: Mapping[str, float] = field(default_factory=lambda: {"CPU": 1.0})
    storage: str = "runs"
    failures: int = -1
    resize_seconds: float = 30.0


def check_workers(settings: Settings, workers: Workers) -> None:
    """Refuse a number or range of workers that cannot share a step.

    Raises:
        ValueError: one of the numbers does not fit the micro-batches; DeepSpeed with a range.
    """
    if isinstance(workers, int):
        settings.check_workers(workers)
        return
    if settings.strategy == "deepspeed":
        raise ValueError(f"workers: got {workers[0]}:{workers[1]} with deepspeed, expected one number")
    for number in range(workers[0], workers[1] + 1):
        settings.check_workers(number)


def fit(
    recipe: str,
    preset: str,
    start: str | None,
    settings: Settings,
    cluster: Cluster,
    name: str,
    *,
    trackers: tuple[str, ...] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Train a recipe on the cluster to its end.

    Connects to the cluster of `RAY_ADDRESS`, or starts one on this machine. A run of the same name and storage goes on
    from its newest checkpoint.

    Args:
        recipe: name of a recipe, as `find` takes it; every worker makes it.
        preset: whose configuration to train.
        start: weights to start from, as `open_run` takes them; every worker must reach them.
        settings: the numbers.
        cluster: how to use the cluster.
        name: of the run.
        trackers: names of trackers beside the log.
        say: takes what the driver has to say; lines of progress come from rank 0's own output.

    Raises:
        ValueError: no such recipe, the run is under way already, or so many workers cannot share a step.
        FileNotFoundError: there is nothing to start from.
        Interrupted: Ctrl-C, SIGTERM or `stop` came; a checkpoint was written.
        Exception: the recipe's own error, as a worker raised it.
    """
    # What can be refused here is not refused in every worker.
    find(recipe, preset)
    check_workers(settings, cluster.workers)
    if start and "://" not in start:
        open_run(preset, start)
    for knob, value in KNOBS.items():
        os.environ.setdefault(knob, value)
    connect(cluster.workers)
    control = begin(name)
    folder = _location(f"{cluster.storage.rstrip('/')}/{name}")
    saver = FolderSaver(folder, World())
    loop = {
        "recipe": recipe,
        "preset": preset,
        "start": _location(start) if start else None,
        "settings": asdict(settings),
        "name": name,
        "trackers": trackers,
        "folder": folder,
    }
    try:
        with Signals() as signals:
            while saver.step() < settings.steps:
                answer: ray.ObjectRef[Workers | None] = control.wanted.remote()
                wanted = ray.get(answer)
                if wanted == STOP:
                    raise Interrupted(name, saver.step(), signals.status)
                workers = wanted or cluster.workers
                say(f"{name}: {_text(workers)} worker(s) from step {saver.step()}")
                trainer = _trainer({**loop, "known": wanted}, cluster, workers)
                _submit(trainer, lambda: ray.get(control.ask.remote(STOP)), signals, say)
    finally:
        ray.kill(control)


def _submit(trainer: TorchTrainer, stop: Callable[[], Any], signals: Signals, say: Callable[[str], None]) -> None:
    """Run the trainer until it ends, for whatever reason but an error of the run.

    It runs in a thread because in the main one Ray takes Ctrl-C as a wish to abort at once.
    """
    errors: list[BaseException] = []

    def target() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    told = False
    while thread.is_alive():
        thread.join(0.2)
        if signals() and not told:
            told = True
            say("stopping at the next step's boundary; again, to stop at once")
            stop()
    for error in errors:
        cause = error.controller_failure if isinstance(error, ControllerError) else error
        if isinstance(cause, RunFailed):
            raise cause.args[0]
        if not isinstance(cause, WorkerGroupStartupTimeoutError):
            raise cause
        say(f"the cluster has no room for {cause.num_workers} worker(s) yet")


def _trainer(loop: dict[str, Any], cluster: Cluster, workers: Workers) -> TorchTrainer:
    settings = Settings(**loop["settings"])
    check_workers(settings, workers)
    elastic = isinstance(workers, tuple)
    folder = Path(loop["folder"])
    # Ray only leaves a marker file there: checkpoints are `FolderSaver`'s.
    own = folder.parent if "://" not in loop["folder"] else Path(tempfile.gettempdir()) / "vitron-ray-train"
    keys = {key: value for key, value in os.environ.items() if key.startswith(ENVIRONMENT)}
    return TorchTrainer(
        work,
        train_loop_config=loop,
        torch_config=TorchConfig(timeout_s=GROUP_SECONDS),  # a lost worker is noticed by its connection, at once
        scaling_config=ScalingConfig(
            num_workers=workers,
            resources_per_worker=dict(cluster.resources),
            use_gpu="GPU" in cluster.resources,
            elastic_resize_monitor_interval_s=cluster.resize_seconds,
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(own),
            # A placement that failed is tried again at another size if the run is elastic; a fixed one gives up, so
            # that the driver can read the wanted size again.
            failure_config=FailureConfig(
                max_failures=cluster.failures, controller_failure_limit=-1 if elastic else PLACEMENTS
            ),
            callbacks=[Verdict(loop["folder"])],
            worker_runtime_env={"env_vars": keys} if keys and loop["trackers"] else None,
        ),
    )


def work(loop: dict[str, Any]) -> None:
    """Train in one worker of Ray Train."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    context = ray.train.get_context()
    world = World(rank=context.get_world_rank(), size=context.get_world_size(), device=ray.train.torch.get_device())
    run = Run(
        name=loop["name"],
        recipe=find(loop["recipe"], loop["preset"]),
        settings=Settings(**loop["settings"]),
        url=loop["folder"],
        start=loop["start"],
        trackers=tuple(loop["trackers"]),
    )
    leave = Wish(loop["name"], loop["known"]) if world.first else lambda: False
    try:
        take_part(run, world, leave, gauges=lambda: [Gauges(loop["name"])])
    except Exception:
        # The controller passes errors on without their traceback.
        traceback.print_exc()
        raise


class Gauges:
    """Progress as Prometheus gauges, which Ray's agent exports as `ray_vitron_train_<name>`."""

    def __init__(self, run: str) -> None:
        self._run, self._made = run, dict[str, Gauge]()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Set the gauges of a record."""
        for name, value in {"step": float(step), **values}.items():
            clean = "".join(c if c.isalnum() else "_" for c in name.removeprefix("train/"))
            if clean not in self._made:
                self._made[clean] = Gauge(
                    f"vitron_train_{clean}", description="Progress of a training run", tag_keys=("run",)
                )
            self._made[clean].set(value, tags={"run": self._run})

    def picture(self, step: int, path: Path) -> None:
        """Pictures are no metrics."""

    def close(self) -> None:
        """Nothing is held back."""


def _location(text: str) -> str:
    """Return a folder as an absolute path, since workers have their own working directories, or a URL as it is."""
    return text if "://" in text else str(Path(text).absolute())


def _text(workers: Workers) -> str:
    return str(workers) if isinstance(workers, int) else f"{workers[0]} to {workers[1]}"
