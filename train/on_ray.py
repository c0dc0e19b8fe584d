"""Runs of the trainer on a Ray cluster: worker processes, storage, elasticity. The only file that knows Ray Train.

Two ways of changing the number of workers. With a range (`1:4`) Ray Train itself follows what the cluster has: a lost
worker or node ends the group, and a new one starts from the last committed checkpoint. A voluntary change (`resize`)
ends at a step's boundary with a checkpoint, and the run is submitted again under the same name with the new number.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.metrics import Gauge

from train.progress import Progress, open_trackers
from train.recipes import find
from train.saver import Write
from train.settings import Settings
from train.trainer import Trainer
from train.world import World
from vitron.weights import Weights

NAMESPACE = "vitron"
POLL_SECONDS = 0.5
"""How often rank 0 asks for the wanted number of workers."""
KNOBS = {
    # The defaults let a lost node stop training for over a minute: a placement that cannot come true is waited for, and
    # a stored checkpoint is committed only when the controller looks.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
}


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

    workers: int | tuple[int, int]
    resources: Mapping[str, float] = field(default_factory=lambda: {"CPU": 1.0})
    storage: str = "runs"
    failures: int = -1
    resize_seconds: float = 30.0


@ray.remote(num_cpus=0, max_restarts=-1)
class Size:
    """How many workers a run should have; None: whatever the cluster has."""

    def __init__(self) -> None:
        self._wanted: int | None = None

    def set(self, workers: int | None) -> None:
        """Ask for a number of workers."""
        self._wanted = workers

    def wanted(self) -> int | None:
        """Return what was asked for."""
        return self._wanted


class RaySaver:
    """Checkpoints through Ray Train's report, which stores them and tells the controller."""

    def __init__(self, world: World) -> None:
        self.world = world

    def latest(self) -> Path | None:
        """Fetch the checkpoint that Ray resumes from."""
        held = ray.train.get_checkpoint()
        if held is None:
            return None
        return Path(held.to_directory(tempfile.mkdtemp(prefix="vitron-checkpoint-")))

    def save(self, step: int, write: Write, metrics: Mapping[str, float], score: float | None) -> None:
        """Write in rank 0 and report in all; returns when it is stored, which is before it is committed."""
        name = f"step-{step:08d}"
        # Without a score yet the checkpoint must still rank: below every validated one.
        values = {**metrics, "score": score if score is not None else float("-inf")}
        if not self.world.first:
            ray.train.report(values, checkpoint_dir_name=name)
            return
        with tempfile.TemporaryDirectory(prefix="vitron-checkpoint-") as scratch:
            folder = Path(scratch) / "checkpoint"
            write(folder)
            ray.train.report(values, checkpoint=Checkpoint.from_directory(folder), checkpoint_dir_name=name)


class Committed(UserCallback):
    """Points the run's file `latest` at a checkpoint once the controller has committed it."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        """Called in the controller, after its checkpoint manager."""
        if checkpoint is None:
            return
        path = Path(checkpoint.path)
        files = checkpoint.filesystem
        with files.open_output_stream(str(path.parent / ".latest")) as stream:
            stream.write(path.name.encode())
        files.move(str(path.parent / ".latest"), str(path.parent / "latest"))


def fit(
    recipe: str,
    preset: str,
    weights: Weights,
    settings: Settings,
    cluster: Cluster,
    name: str,
    *,
    trackers: tuple[str, ...] = (),
    say: Callable[[str], None] = print,
) -> Path:
    """Train a recipe on the cluster to its end and return the folder of its checkpoints.

    Connects to the cluster of `RAY_ADDRESS`, or starts one on this machine. A run of the same name and storage goes on
    from its newest checkpoint.
    """
    os.environ.update({knob: os.environ.get(knob, value) for knob, value in KNOBS.items()})
    if not ray.is_initialized():
        ray.init(namespace=NAMESPACE, log_to_driver=True, runtime_env={"env_vars": dict(KNOBS)})
    size = Size.options(name=f"train-{name}", namespace=NAMESPACE, get_if_exists=True, lifetime="detached").remote()
    loop = {
        "recipe": recipe,
        "preset": preset,
        "weights": str(weights.folder),
        "settings": asdict(settings),
        "name": name,
        "trackers": trackers,
        "logs": str(Path(cluster.storage).absolute() / name) if "://" not in cluster.storage else "",
    }
    try:
        while True:
            wanted = ray.get(size.wanted.remote())
            result = _trainer({**loop, "asked": wanted}, cluster, name, wanted or cluster.workers).fit()
            if result.metrics and result.metrics["step"] >= settings.steps:
                break
            say(f"{name}: {result.metrics['step'] if result.metrics else 0} steps done, going on with another size")
    finally:
        ray.kill(size)
    return Path(result.checkpoint.path) if result.checkpoint else Path(result.path)


def resize(name: str, workers: int | None) -> None:
    """Ask a run for another number of workers; it follows at its next step's boundary.

    Raises:
        ValueError: no such run on this cluster.
    """
    if not ray.is_initialized():
        ray.init(namespace=NAMESPACE)
    try:
        size = ray.get_actor(f"train-{name}", namespace=NAMESPACE)
    except ValueError:
        raise ValueError(f"name: no run {name!r} on this cluster") from None
    ray.get(size.set.remote(workers))


def _trainer(loop: dict[str, Any], cluster: Cluster, name: str, workers: int | tuple[int, int]) -> TorchTrainer:
    elastic = isinstance(workers, tuple)
    kept = loop["settings"]["keep"]
    storage = cluster.storage if "://" in cluster.storage else str(Path(cluster.storage).absolute())
    return TorchTrainer(
        work,
        train_loop_config=loop,
        torch_config=TorchConfig(timeout_s=300),
        scaling_config=ScalingConfig(
            num_workers=workers,
            resources_per_worker=dict(cluster.resources),
            use_gpu="GPU" in cluster.resources,
            elastic_resize_monitor_interval_s=cluster.resize_seconds,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            # A placement that failed is tried again at another size if the run is elastic; a fixed one gives up, so
            # that the driver can read the wanted size again.
            failure_config=FailureConfig(max_failures=cluster.failures, controller_failure_limit=-1 if elastic else 3),
            checkpoint_config=CheckpointConfig(
                num_to_keep=kept, checkpoint_score_attribute="score", checkpoint_score_order="max"
            ),
            callbacks=[Committed()],
        ),
    )


def work(loop: dict[str, Any]) -> None:
    """Train in one worker of Ray Train."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    context = ray.train.get_context()
    world = World(rank=context.get_world_rank(), size=context.get_world_size(), device=ray.train.torch.get_device())
    settings = Settings(**loop["settings"])
    folder = Path(loop["logs"] or tempfile.mkdtemp(prefix="vitron-run-"))
    trackers = open_trackers(loop["trackers"], folder, loop["name"]) if world.first else []
    progress = Progress(folder, world, settings.steps, [*trackers, *_gauges(world, loop["name"])], say=_print)
    recipe = find(loop["recipe"], loop["preset"])
    weights = Weights(Path(loop["weights"]))
    job = recipe.build(weights, settings, world.device)
    trainer = Trainer(recipe, job, settings, world, RaySaver(world), progress, base=loop["weights"])
    trainer.run(leave=Wish(loop["name"], loop["asked"]) if world.first else lambda: False)
    progress.close()


class Wish:
    """Tells whether a number of workers is wanted that is not the one this submission knew of."""

    def __init__(self, run: str, known: int | None) -> None:
        self._run, self._known = run, known
        self._asked = 0.0

    def __call__(self) -> bool:
        """Ask, at most every half second; an actor that cannot be reached means that nothing changes."""
        now = time.monotonic()
        if now - self._asked < POLL_SECONDS:
            return False
        self._asked = now
        try:
            actor = ray.get_actor(f"train-{self._run}", namespace=NAMESPACE)
            return bool(ray.get(actor.wanted.remote(), timeout=5) != self._known)
        except (ValueError, ray.exceptions.RayError):
            return False


class _Gauges:
    """Progress as Prometheus gauges, which Ray's agent exports as `ray_vitron_train_<name>`."""

    def __init__(self, run: str) -> None:
        self._run, self._made = run, dict[str, Gauge]()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Set the gauges of a record."""
        for name, value in {"step": float(step), **values}.items():
            clean = "".join(c if c.isalnum() else "_" for c in name)
            gauge = self._made.setdefault(
                clean, Gauge(f"vitron_train_{clean}", description="Progress of a training run", tag_keys=("run",))
            )
            gauge.set(value, tags={"run": self._run})

    def picture(self, step: int, path: Path) -> None:
        """Pictures are no metrics."""

    def close(self) -> None:
        """Nothing is held back."""


def _gauges(world: World, run: str) -> list[_Gauges]:
    return [_Gauges(run)] if world.first else []


def _print(line: str) -> None:
    print(line, flush=True)
