"""A recipe that trains in milliseconds a step: a small network on numbers that follow from their index.

Recipes by address, `tests.unit.train.toy:NAME`: `recipe`, and others that are slower, fail or differ.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from train.recipe import Build, Job, Objective, Recipe
from train.settings import Settings

SETTINGS = Settings(
    steps=24,
    batch=16,
    micro_batch=4,
    lr=1e-2,
    warmup=4,
    ema=0.9,
    precision="fp32",
    save_steps=4,
    validate_steps=12,
)
ADDRESS = "tests.unit.train.toy"


@dataclass(frozen=True)
class Temper:
    """What a run of the toy does beside training.

    Attributes:
        pause: seconds of a micro-batch.
        fail_at: micro-batch whose forward pass raises, or -1.
        error: what it raises.
        nan_at: micro-batch whose loss is not a number, or -1.
    """

    pause: float = 0.0
    fail_at: int = -1
    error: type[Exception] = ValueError
    nan_at: int = -1


class Regression(Objective):
    """Two parts and dropout, so that noise has to be reproduced as well.

    Where TOY_TRACE names a folder, every training step appends the numbers of its samples to `SEED.PID` there.
    """

    def __init__(self, parts: dict[str, nn.Module], temper: Temper, seed: int) -> None:
        super().__init__(parts)
        self._temper, self._seed = temper, seed

    def forward(self, batch: Any) -> dict[str, Tensor]:
        x, y, numbers = batch
        if self.training:
            self._behave(int(numbers[0]) // len(numbers), numbers)
        predicted = self.parts["tail"](torch.dropout(self.parts["head"](x), 0.1, self.training))
        size = 1e-4 * predicted.abs().mean()
        if self.training and int(numbers[0]) // len(numbers) == self._temper.nan_at:
            size = size * torch.nan
        return {"mse": (predicted - y).square().mean(), "size": size}

    def _behave(self, number: int, numbers: Tensor) -> None:
        time.sleep(self._temper.pause)
        if number == self._temper.fail_at:
            raise self._temper.error(f"micro-batch {number} cannot be computed")
        if trace := os.environ.get("TOY_TRACE"):
            with open(f"{trace}/{self._seed}.{os.getpid()}", "a") as file:
                file.write("".join(f"{int(n)}\n" for n in numbers))


def batch(number: int, micro: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Samples `number * micro` and on."""
    numbers = np.arange(number * micro, (number + 1) * micro)
    x = np.stack([np.random.default_rng([1, n]).standard_normal(8) for n in numbers]).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(np.sin(x).sum(1, keepdims=True)), torch.from_numpy(numbers)


def make(build: Build, temper: Temper = Temper(), head: nn.Module | None = None) -> Job:
    # No bias before batch norm, which takes it out: Adam would blow up the rounding errors that are its gradient.
    head = head or nn.Sequential(nn.Linear(8, 32, bias=False), nn.BatchNorm1d(32), nn.Tanh())
    parts = {"head": head, "tail": nn.Linear(32, 1)}
    objective = Regression(parts, temper, build.settings.seed).to(build.device)
    new = {name for name, part in parts.items() if not build.weights.has(name)}
    for name in set(parts) - new:
        build.weights.load(name, parts[name])

    def validate() -> dict[str, float]:
        x, y, _ = batch(10_000, 256)
        return {"r": -float((objective.parts["tail"](objective.parts["head"](x)) - y).square().mean())}

    return Job(
        objective=objective,
        batches=partial(batch, micro=build.settings.micro_batch),
        validate=validate,
        score="r",
        new=frozenset(new),
    )


def recipe(preset: str, name: str = "recipe", **temper: Any) -> Recipe:
    return Recipe(
        name=f"{ADDRESS}:{name}",
        about="a toy",
        preset=preset,
        settings=SETTINGS,
        make=partial(make, temper=Temper(**temper)),
        rates={"head": 1.0, "tail": 0.5},
    )


def slow(preset: str) -> Recipe:
    """The same, at ten micro-batches a second."""
    return recipe(preset, pause=0.1)


def mistaken(preset: str) -> Recipe:
    """Has a mistake in its ninth micro-batch."""
    return recipe(preset, "mistaken", fail_at=8)


def broken(preset: str) -> Recipe:
    """Meets in its ninth micro-batch what may be a passing failure, for ever."""
    return recipe(preset, "broken", fail_at=8, error=RuntimeError)


def exploding(preset: str) -> Recipe:
    """Has a loss that is not a number in its tenth micro-batch."""
    return recipe(preset, "exploding", nan_at=9)


class Nested(nn.Module):
    """A block with blocks inside, as those of a UNet: its lists are in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleList([nn.ModuleList([nn.Linear(32, 32)]), nn.ModuleList([nn.Linear(32, 32)])])

    def forward(self, x: Tensor) -> Tensor:
        for (layer,) in self.inner:
            x = x + torch.tanh(layer(x))
        return x


class Deep(nn.Module):
    """Blocks in a list, which strategies that divide a model gather one by one; the second one is frozen."""

    def __init__(self, last: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.blocks = nn.ModuleList([nn.Linear(32, 32), nn.Linear(32, 32), last or nn.Linear(32, 32)])
        self.blocks[1].requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return x


def make_deep(build: Build) -> Job:
    return make(build, Temper(), Deep())


def deep(preset: str) -> Recipe:
    return replace(recipe(preset, "deep"), make=make_deep)


class Occasional(Regression):
    """Has a part with blocks that only odd micro-batches run."""

    def forward(self, batch: Any) -> dict[str, Tensor]:
        losses = super().forward(batch)
        x, y, numbers = batch
        if self.training and int(numbers[0]) // len(numbers) % 2:
            losses["extra"] = (self.parts["extra"](x).mean(1, keepdim=True) - y).square().mean()
        return losses


def make_seldom(build: Build) -> Job:
    made = make(build, Temper(), Deep(Nested()))
    parts = {**dict(made.objective.parts.items()), "extra": Deep()}
    objective = Occasional(parts, Temper(), build.settings.seed)
    return replace(made, objective=objective, occasional=frozenset({"extra"}), new=made.new | {"extra"})


def seldom(preset: str) -> Recipe:
    """Blocks within blocks, and a part that only every other micro-batch runs."""
    base = recipe(preset, "seldom")
    return replace(base, make=make_seldom, rates={**base.rates, "extra": 1.0})


def frozen(preset: str) -> Recipe:
    return replace(recipe(preset, "frozen"), rates={"head": 0.0, "tail": 1.0})


def samples(trace: Path, seed: int) -> dict[int, list[int]]:
    """The numbers of the samples that every process of a run trained on, by process id, in their order."""
    files = sorted(trace.glob(f"{seed}.*"), key=lambda path: path.stat().st_mtime)
    return {int(path.suffix[1:]): [int(line) for line in path.read_text().split()] for path in files}
