"""Short training runs of the studies, with the trainer of all runs. What they reach is measured afterwards."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from train.ablations.rows import label
from train.ablations.study import Measured, Options, Say
from train.recipe import Build, Job, Recipe
from train.saver import open_run
from train.session import Run, train_here
from train.settings import Settings
from vitron.weights import Weights


def quiet(recipe: Recipe) -> Recipe:
    """Return a recipe without its own validation, which asks more than short runs have time for."""

    def make(build: Build) -> Job:
        return replace(recipe.make(build), validate=_nothing, score="score", draw=None)

    return replace(recipe, make=make)


def _nothing() -> Mapping[str, float]:
    return {"score": 0.0}


def short(recipe: Recipe, options: Options, seed: int, *, steps: int, batch: int, micro_batch: int = 0) -> Settings:
    """Return a recipe's numbers for a short run of `steps` times the budget.

    Args:
        recipe: whose rates are kept.
        options: say the budget.
        seed: of the run.
        steps: at budget 1.
        batch: samples of a step.
        micro_batch: samples of a forward pass; 0: all of the step's.
    """
    changed = replace(
        recipe.settings,
        steps=steps,
        batch=batch,
        micro_batch=micro_batch or batch,
        seed=seed,
        warmup=max(1, steps // 5),
        validate_steps=0,
        keep=1,
    )
    return changed.scaled(options.budget)


def train(recipe: Recipe, settings: Settings, start: Weights, folder: Path, say: Say) -> Weights:
    """Train to the end and return what came out; a run that was stopped goes on.

    Args:
        recipe: what is trained.
        settings: the numbers.
        start: weights to start from.
        folder: of the study; the run's own folder in it is named by all that decides its outcome.
        say: takes the lines of progress.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came; a checkpoint was written.
    """
    decisive = hashlib.sha256(repr((recipe.name, recipe.rates, settings, label(start))).encode()).hexdigest()[:12]
    url = str((folder / f"{recipe.name}-{decisive}").absolute())
    train_here(Run(recipe.name, quiet(recipe), settings, url, str(start.folder.absolute())), say=say)
    return open_run(recipe.preset, url)


def cost(*runs: Settings) -> list[Measured]:
    """Return what the training of a variant cost, as rows beside what it brought."""
    samples = sum(settings.steps * settings.batch for settings in runs)
    steps = sum(settings.steps for settings in runs)
    return [Measured("training", "steps", steps, samples), Measured("training", "samples", samples, samples)]


def forget(folder: Path) -> None:
    """Delete the runs of a part whose rows are known: their optimizers' state alone fills a disk."""
    shutil.rmtree(folder, ignore_errors=True)
