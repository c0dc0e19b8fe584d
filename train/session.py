"""One process's part in a run, from opening weights to the last checkpoint: the same with and without Ray."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from train.progress import Progress
from train.recipe import Recipe
from train.saver import FolderSaver, open_run
from train.settings import Settings
from train.stopping import Interrupted, Signals
from train.trackers import KEPT, Tracker, open_trackers
from train.trainer import Trainer
from train.world import World, close_world, open_world


class Run(NamedTuple):
    """What is trained, from where, and where to."""

    name: str
    recipe: Recipe
    settings: Settings
    url: str
    """Folder of the run, on any file system that fsspec knows."""
    start: str | None = None
    """Weights to start from, as `open_run` takes them."""
    trackers: tuple[str, ...] = ()


def take_part(
    run: Run,
    world: World,
    leave: Callable[[], bool],
    gauges: Callable[[], Sequence[Tracker]] = tuple,
    say: Callable[[str], None] | None = None,
) -> int:
    """Train in this process to the run's end or until `leave` says so; return the steps done.

    Args:
        run: what to do.
        world: who else takes part.
        leave: see `Trainer.run`.
        gauges: opens trackers beside those that the run names.
        say: takes the lines of progress; default: standard output.
    """
    saver = FolderSaver(run.url, world, run.settings.keep)
    # Logs are written on this machine: no object store can append to a file.
    folder = Path(saver.root) if saver.local else Path(tempfile.mkdtemp(prefix="vitron-run-"))
    kept = [folder / name for name in KEPT]
    for file in kept:
        saver.download(file)
    trackers = [*open_trackers(run.trackers, folder, run.name), *gauges()] if world.first else []
    for file in kept:
        saver.upload(file)
    progress = Progress(folder, world, run.settings.steps, trackers, say=say or _print)
    saver.download(progress.log)
    weights = open_run(run.recipe.preset, run.start)
    job = run.recipe.build(weights, run.settings, world.device)
    remote = run.start and "://" in run.start and not FolderSaver(run.start, World()).local
    base = run.start if run.start and remote else weights.name
    try:
        trainer = Trainer(run.recipe, job, run.settings, world, saver, progress, base=base)
        trainer.run(leave)
    finally:
        progress.close()
    return trainer.step


def train_here(run: Run, say: Callable[[str], None] | None = None) -> None:
    """Train without Ray: in this process, or in this one of torchrun's.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came; a checkpoint was written.
    """
    world = open_world()
    with Signals() as signals:
        done = take_part(run, world, signals, say=say)
    close_world()
    if done < run.settings.steps:
        raise Interrupted(run.name, done, signals.status)


def _print(line: str) -> None:
    print(line, flush=True)
