"""Runs of the toy recipe, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, equal

from tests.unit.train import toy
from train.progress import Progress
from train.recipe import Recipe
from train.saver import FolderSaver
from train.session import Run
from train.settings import Settings
from train.trainer import Trainer
from train.world import World
from vitron.weights import ASSETS, Weights

WEIGHTS = Weights(ASSETS / "tiny")


def make_trainer(
    out: Path,
    settings: Settings = toy.SETTINGS,
    recipe: Callable[[str], Recipe] = toy.recipe,
    say: Callable[[str], None] = lambda line: None,
) -> Trainer:
    """A trainer whose run is the folder `out`."""
    made = recipe("tiny")
    progress = Progress(out, World(), settings.steps, say=say)
    saver = FolderSaver(str(out), World(), settings.keep)
    return Trainer(made, made.build(WEIGHTS, settings), settings, World(), saver, progress, base="tiny")


def run_of(url: str, settings: Settings = toy.SETTINGS, recipe: Callable[[str], Recipe] = toy.recipe) -> Run:
    """What `train_here` takes."""
    return Run("toy", recipe("tiny"), settings, url)


def state(trainer: Trainer) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {name: value.clone() for name, value in trainer.job.objective.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two states are equal to the last bit."""
    return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)


def held(run: Path, name: str | None = None) -> dict[str, Tensor]:
    """The training state in a run's newest checkpoint, or in the one of a name."""
    return load_file(run / (name or (run / "latest").read_text()) / "training/state.safetensors")
