"""How several workers share a model: DDP by default, FSDP2 where it does not fit one device, or DeepSpeed ZeRO.

A strategy turns losses of micro-batches into the gradient of the step: the mean over all of the step's micro-batches,
whichever worker computed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.optimizers import Optimizers
from train.recipe import Objective
from train.settings import Settings
from train.world import World


class Strategy(Protocol):
    """Forward, backward and clipping of a step."""

    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Run the objective on a micro-batch."""
        ...

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add a micro-batch's gradient; `last` of this worker's in the step shares it among workers."""
        ...

    def clip(self, optimizers: Optimizers, limit: float) -> float:
        """Clip the gradient to a norm and return the norm it had."""
        ...


class Replicated:
    """One process, or DDP."""

    def __init__(self, objective: Objective, settings: Settings, world: World) -> None:
        self._module: nn.Module = objective
        self._scale = world.size / settings.micro_batches
        self._shared: DistributedDataParallel | None = None
        if world.size > 1:
            # Not every micro-batch uses every part: a batch without pictures leaves the region encoder out.
            self._shared = DistributedDataParallel(objective, find_unused_parameters=True, broadcast_buffers=False)
            self._module = self._shared
        self._alone: AbstractContextManager[object] = nullcontext()

    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Run the objective."""
        return dict(self._module(batch))

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add to the gradients; with the last micro-batch they are averaged over workers."""
        (loss * self._scale).backward()

    def unshared(self, last: bool) -> AbstractContextManager[object]:
        """Return a context in which gradients stay with this worker, unless it is the last micro-batch."""
        return self._alone if last or self._shared is None else self._shared.no_sync()

    def clip(self, optimizers: Optimizers, limit: float) -> float:
        """Clip all parts together."""
        return float(nn.utils.clip_grad_norm_(optimizers.parameters, limit))


class Sharded:
    """FSDP2: parameters, gradients and optimizer state are divided among the workers."""

    def __init__(self, objective: Objective, settings: Settings, world: World) -> None:
        if settings.micro_batches % world.size:
            raise ValueError(
                f"workers: got {world.size} with fsdp, expected a divisor of {settings.micro_batches}, the "
                f"micro-batches of a step: every worker gathers the parameters in every forward pass"
            )
        self._scale = world.size / settings.micro_batches
        self._module = objective

    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Run the objective."""
        return dict(self._module(batch))

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add to the gradients."""
        (loss * self._scale).backward()

    def unshared(self, last: bool) -> AbstractContextManager[object]:
        """Return a context that changes nothing: gradients are scattered at once, as they do not fit otherwise."""
        return nullcontext()

    def clip(self, optimizers: Optimizers, limit: float) -> float:
        """Clip all parts together."""
        norm = nn.utils.clip_grad_norm_(optimizers.parameters, limit)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def shard(objective: Objective) -> None:
    """Divide an objective's parameters among the workers in place; before optimizers are made."""
    from torch.distributed.fsdp import fully_shard  # seconds to import

    for part in objective.parts.values():
        for block in _blocks(part):
            fully_shard(block)
    fully_shard(objective)


def _blocks(part: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a part: they are gathered one at a time."""
    return [block for module in part.modules() if isinstance(module, nn.ModuleList) for block in module]


def agree_on_norm(norm: float, losses: Mapping[str, float], step: int) -> None:
    """Stop before the optimizer's step where a loss or gradient is not finite.

    Raises:
        FloatingPointError: with the losses of this worker. Gradients are shared, so that all workers stop.
    """
    if not torch.isfinite(torch.tensor(norm)):
        shown = ", ".join(f"{name} {value}" for name, value in losses.items())
        raise FloatingPointError(f"step {step}: the gradient's norm is {norm}; this worker's losses: {shown}")
