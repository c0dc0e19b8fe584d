"""Optimizers, schedule and the moving average of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from train.divided import divided_as
from train.muon import Muon
from train.recipe import Objective
from train.settings import Settings

Named = list[tuple[str, nn.Parameter]]


class Optimizers:
    """Muon for inner matrices and AdamW for the rest, each part at its own rate."""

    def __init__(
        self, objective: Objective, settings: Settings, rates: Mapping[str, float], adam_names: tuple[str, ...]
    ) -> None:
        self.settings = settings
        self.named: Named = []
        muon, adam = list[dict[str, Any]](), list[dict[str, Any]]()
        for part, module in objective.parts.items():
            named = [(f"{part}.{n}", p) for n, p in module.named_parameters() if p.requires_grad]
            self.named += named
            inner, decayed, kept = _split(named, settings, adam_names)
            muon += _group(inner, settings.muon_lr * rates[part])
            adam += _group(decayed, settings.lr * rates[part], weight_decay=settings.weight_decay)
            adam += _group(kept, settings.lr * rates[part], weight_decay=0.0)
        if not self.named:
            raise ValueError("rates: every part is frozen, nothing is left to train")
        self.all: list[torch.optim.Optimizer] = []
        if muon:
            self.all.append(Muon(muon, settings.muon_lr))
        if adam:
            self.all.append(torch.optim.AdamW(adam, lr=settings.lr, betas=settings.betas))
        self._peaks = [group["lr"] for group in self._groups()]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Everything that is trained, in one fixed order."""
        return [parameter for _, parameter in self.named]

    def step(self, step: int) -> float:
        """Update with the gradients in place at the rates of a step; return the factor on the peak rates."""
        factor = self.set_rates(step)
        for optimizer in self.all:
            optimizer.step()
        return factor

    def set_rates(self, step: int) -> float:
        """Set the rates of a step; return the factor on the peak rates."""
        factor = schedule(self.settings, step)
        for group, peak in zip(self._groups(), self._peaks, strict=True):
            group["lr"] = peak * factor
        return factor

    def clear(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the optimizers' state as tensors by name of parameter and quantity."""
        found = {}
        for optimizer in self.all:
            for name, parameter in self.named:
                for key, value in optimizer.state.get(parameter, {}).items():
                    found[f"{name}/{key}"] = value
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put a saved state back in place, each tensor where and as its parameter is.

        Raises:
            ValueError: it belongs to other parameters, or to another optimizer of them.
        """
        owners = {id(p): o for o in self.all for group in o.param_groups for p in group["params"]}
        names = dict(self.named)
        for key, value in state.items():
            name, quantity = key.rsplit("/", 1)
            if name not in names:
                raise ValueError(f"checkpoint: holds the optimizer's state of {name}, which this run does not train")
            owner = owners[id(names[name])]
            if (quantity == "momentum") != isinstance(owner, Muon):
                raise ValueError(
                    f"muon_lr: got {self.settings.muon_lr}, but {type(owner).__name__} cannot go on with the state "
                    f"that {name} has in the checkpoint; a run's Muon cannot be switched on or off on the way"
                )
            # Counts of steps stay as they are: scalars on the CPU.
            owner.state[names[name]][quantity] = divided_as(value, names[name]) if value.ndim else value

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.all for group in optimizer.param_groups]


class Average:
    """A moving average of the trained parameters, ramped up in the first steps."""

    def __init__(self, named: Named, decay: float) -> None:
        self.named, self.decay = named, decay
        self.values = [p.detach().clone() for _, p in named] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the parameters after a step."""
        if self.values:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.values, [p.detach() for _, p in self.named], 1 - decay)

    def __enter__(self) -> None:
        """Put the average in the place of the parameters."""
        self._swap()

    def __exit__(self, *exc: object) -> None:
        """Put the parameters back."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for index, value in enumerate(self.values):
            parameter = self.named[index][1]
            current = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(current)


def schedule(settings: Settings, step: int) -> float:
    """Return the factor on peak rates: a linear warm-up, then half a cosine to the floor."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.floor + (1 - settings.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _split(named: Named, settings: Settings, adam_names: tuple[str, ...]) -> tuple[Named, Named, Named]:
    keep = ("embed", *adam_names)
    inner = [(n, p) for n, p in named if settings.muon_lr and p.ndim > 1 and not any(k in n for k in keep)]
    taken = {n for n, _ in inner}
    rest = [(n, p) for n, p in named if n not in taken]
    decayed = [(n, p) for n, p in rest if p.ndim > 1 and "embed" not in n]
    kept = [(n, p) for n, p in rest if p.ndim <= 1 or "embed" in n]
    return inner, decayed, kept


def _group(named: Iterable[tuple[str, nn.Parameter]], rate: float, **options: float) -> list[dict[str, Any]]:
    parameters = [parameter for _, parameter in named]
    return [{"params": parameters, "lr": rate, **options}] if parameters else []
