"""What a recipe is: the contract between what is trained and the trainer that trains it.

A recipe makes a `Job` in every worker process. It owns models, data and losses; it knows neither Ray nor how many
workers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from train.order import ByNumber
from train.settings import Settings
from vitron.config import VitronConfig
from vitron.presets import preset
from vitron.weights import Weights

Losses = Mapping[str, Tensor]


class NotForPreset(ValueError):
    """A recipe has nothing to train in a preset: it uses a stock checkpoint there."""


class Objective(nn.Module):
    """The parts that are trained, and the losses of a micro-batch as its forward pass.

    `parts` are the modules as they are served, by the name of their file in a folder of weights. A part whose
    parameters are all frozen is used but not written.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Return the parts of the loss, scalars whose sum is minimised."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Job:
    """A recipe at work in one process.

    Attributes:
        objective: what is trained, on `Build.device`.
        batches: number of a micro-batch -> its tensors on the CPU. It depends on the number alone, which makes the
            order of samples the same at any number of workers and after any restart. Picklable if loader workers are
            to be used.
        validate: -> metrics on held-out samples; called with averaged weights in place, in rank 0 alone.
        score: the metric of `validate` that ranks checkpoints; higher is better.
        draw: writes pictures of samples into a folder; called after `validate`.
        adam_names: matrices whose names hold one of these stay with AdamW (first and last layers).
        occasional: parts that not every micro-batch runs. Gathering a part is a matter of all workers, so what divides
            a model has to gather these whenever the objective is called.
        new: parts that no weights are loaded into.
        sources: part -> where its weights come from, for the table at the start; `Recipe.build` fills it in.
        notes: lines on the data that stand under that table.
    """

    objective: Objective
    batches: ByNumber
    validate: Callable[[], Mapping[str, float]]
    score: str
    draw: Callable[[Path], None] | None = None
    adam_names: tuple[str, ...] = ()
    occasional: frozenset[str] = frozenset()
    new: frozenset[str] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Build(NamedTuple):
    """What a recipe makes its job from."""

    config: VitronConfig
    weights: Weights
    settings: Settings
    device: torch.device


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training step of the paper, or the pre-training of one part.

    Attributes:
        name: what the command line calls it.
        about: one line for people, with the step of the paper.
        preset: whose configuration is trained.
        settings: proposed numbers.
        make: builds the job.
        rates: part -> factor on the learning rates; 0: frozen. A part that is not named here is an error.
    """

    name: str
    about: str
    preset: str
    settings: Settings
    make: Callable[[Build], Job]
    rates: Mapping[str, float] = field(default_factory=dict)

    def build(self, weights: Weights, settings: Settings, device: torch.device | str = "cpu") -> Job:
        """Make the job, with initial weights drawn from the settings' seed and frozen parts frozen.

        Raises:
            ValueError: `rates` and the job's parts do not name the same parts.
        """
        torch.manual_seed(settings.seed)
        job = self.make(Build(preset(self.preset), weights, settings, torch.device(device)))
        parts = set(job.objective.parts)
        if parts != set(self.rates):
            raise ValueError(f"rates: names {sorted(self.rates)}, but {self.name} has the parts {sorted(parts)}")
        for name, part in job.objective.parts.items():
            if self.rates[name] == 0:
                part.requires_grad_(False)
        return replace(job, sources={name: "new" if name in job.new else _source(name, weights) for name in parts})


def start(module: nn.Module, part: str, weights: Weights, new: set[str]) -> None:
    """Load a part in place if the weights have it; else keep its random values and add it to `new`."""
    if weights.has(part):
        weights.load(part, module)
    else:
        new.add(part)


def _source(part: str, weights: Weights) -> str:
    for name in (f"{part}.safetensors", part):
        try:
            return Weights(weights.find(name).parent).name
        except FileNotFoundError:
            continue
    return "stock checkpoint"
