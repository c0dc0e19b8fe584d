"""A recipe that trains in milliseconds a step: a small network on numbers that follow from their index."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from train.recipe import Build, Job, Objective, Recipe
from train.settings import Settings

SETTINGS = Settings(steps=24, batch=16, micro_batch=4, lr=1e-2, warmup=4, save_steps=4, validate_steps=12, ema=0.9)


class Regression(Objective):
    """Two parts and dropout, so that noise has to be reproduced as well."""

    def forward(self, batch: Any) -> dict[str, Tensor]:
        pause = float(os.environ.get("TOY_PAUSE", "0"))
        if pause:
            time.sleep(pause)
        x, y, numbers = batch
        trace = os.environ.get("TOY_TRACE")
        if trace and self.training:
            with open(f"{trace}.{os.getpid()}", "a") as file:
                file.write("".join(f"{int(n)}\n" for n in numbers))
        predicted = self.parts["tail"](torch.dropout(self.parts["head"](x), 0.1, self.training))
        return {"mse": (predicted - y).square().mean(), "size": 1e-4 * predicted.abs().mean()}


def batch(number: int, micro: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Samples `number * micro` and on."""
    numbers = np.arange(number * micro, (number + 1) * micro)
    x = np.stack([np.random.default_rng([1, n]).standard_normal(8) for n in numbers]).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(np.sin(x).sum(1, keepdims=True)), torch.from_numpy(numbers)


def make(build: Build) -> Job:
    head = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Tanh())
    objective = Regression({"head": head, "tail": nn.Linear(32, 1)}).to(build.device)

    def validate() -> dict[str, float]:
        x, y, _ = batch(10_000, 256)
        return {"r": -float((objective.parts["tail"](objective.parts["head"](x)) - y).square().mean())}

    return Job(objective=objective, batches=batch, validate=validate, score="r", new=frozenset({"head", "tail"}))


def recipe(preset: str) -> Recipe:
    return Recipe(
        name="tests.unit.train.toy:recipe",
        about="a toy",
        preset=preset,
        settings=SETTINGS,
        make=make,
        rates={"head": 1.0, "tail": 0.5},
    )


def frozen(preset: str) -> Recipe:
    return replace(recipe(preset), rates={"head": 0.0, "tail": 1.0})
