"""How several workers share a model: DDP by default, FSDP2 where it does not fit one device (ZeRO: train/zero.py).

A strategy turns losses of micro-batches into the gradient of the step, which is the mean over all of the step's
micro-batches, whichever worker computed them, and takes the step. It also puts divided tensors together and takes them
apart, so that checkpoints look the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.divided import gathered
from train.optimizers import Optimizers
from train.precision import autocast
from train.recipe import Job, Objective
from train.settings import Settings
from train.world import World


class Stepped(NamedTuple):
    """A step of the optimizer."""

    norm: float
    """Of the whole gradient, before it was clipped. Not finite: no step was taken."""
    factor: float
    """On the peak rates."""


class Strategy(Protocol):
    """Forward, backward and step. Everything but `losses` and `backward` is called by all workers together."""

    optimizers: Optimizers
    together: bool
    """Whether a forward pass needs all workers, outside of training too."""

    def start(self) -> None:
        """Begin, once the objective has the parameters that it starts from."""
        ...

    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Run the objective on a micro-batch, in the run's precision."""
        ...

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add a micro-batch's gradient; `last` of this worker's in the step shares it among workers."""
        ...

    def unshared(self, last: bool) -> AbstractContextManager[object]:
        """Return the context of a micro-batch's forward and backward."""
        ...

    def step(self, step: int) -> Stepped:
        """Clip the gradient and take a step, unless the gradient is not finite."""
        ...

    def whole(self, tensor: Tensor) -> Tensor:
        """Return a parameter, average or buffer, put together."""
        ...

    def optimizer_state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the optimizers' state, put together, by "<name of parameter>/<quantity>"."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put an optimizers' state back in place; after `start`."""
        ...

    def outside(self) -> AbstractContextManager[object]:
        """Return a context in which parts can be called one by one, as validation does."""
        ...


class Replicated:
    """One process, or DDP."""

    together = False

    def __init__(self, objective: Objective, optimizers: Optimizers, settings: Settings, world: World) -> None:
        self.optimizers = optimizers
        self._settings, self._world = settings, world
        self._module: nn.Module = objective
        self._shared: DistributedDataParallel | None = None

    def start(self) -> None:
        """Wrap the objective if there are other workers."""
        if self._world.size > 1:
            # Not every micro-batch uses every part: a batch without pictures leaves the region encoder out.
            self._shared = DistributedDataParallel(
                self._module, find_unused_parameters=True, forward_sync_buffers=False
            )
            self._module = self._shared

    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Run the objective."""
        with autocast(self._settings.precision, self._world.device.type):
            return dict(self._module(batch))

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add to the gradients; with the last micro-batch they are averaged over workers."""
        (loss * (self._world.size / self._settings.micro_batches)).backward()

    def unshared(self, last: bool) -> AbstractContextManager[object]:
        """Return a context in which gradients stay with this worker, unless it is the last micro-batch."""
        return nullcontext() if last or self._shared is None else self._shared.no_sync()

    def step(self, step: int) -> Stepped:
        """Clip all parts together and step."""
        norm = nn.utils.clip_grad_norm_(self.optimizers.parameters, self._settings.clip)
        size = float(self.whole(norm))
        return Stepped(size, self.optimizers.step(step) if math.isfinite(size) else 0.0)

    def whole(self, tensor: Tensor) -> Tensor:
        """Return the tensor."""
        return tensor

    def optimizer_state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the optimizers' state."""
        for name, value in self.optimizers.state().items():
            yield name, self.whole(value)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put it back on the parameters' device, divided as they are."""
        self.optimizers.load(state)

    def outside(self) -> AbstractContextManager[object]:
        """Return a context that changes nothing."""
        return nullcontext()


class Sharded(Replicated):
    """FSDP2: parameters, gradients and optimizer state are divided among the workers."""

    together = True

    def __init__(self, job: Job, optimizers: Optimizers, settings: Settings, world: World) -> None:
        super().__init__(job.objective, optimizers, settings, world)
        self._occasional = [job.objective.parts[name] for name in sorted(job.occasional)]

    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Run the objective, and let every part take part."""
        return reaching(super().losses(batch), self._occasional)

    def start(self) -> None:
        """Nothing is left to do: `shard` changed the objective before the optimizers were made."""

    def unshared(self, last: bool) -> AbstractContextManager[object]:
        """Return a context that changes nothing: gradients are scattered at once, as they do not fit otherwise."""
        return nullcontext()

    def whole(self, tensor: Tensor) -> Tensor:
        """Gather a divided tensor."""
        return gathered(tensor)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Hold what belongs to no block in whole: only a call of the whole objective would gather it."""
        self._module.unshard()  # type: ignore[operator]
        yield
        self._module.reshard()  # type: ignore[operator]


def open_strategy(job: Job, settings: Settings, world: World, rates: Mapping[str, float]) -> Strategy:
    """Return the strategy of a run; a process on its own has nothing to share, whatever the settings say."""
    settings.check_workers(world.size)
    divided = settings.strategy if world.size > 1 else "ddp"
    if divided == "fsdp":
        shard(job.objective, job.occasional)
    optimizers = Optimizers(job.objective, settings, rates, job.adam_names)
    if divided == "deepspeed":
        from train.zero import Zero  # an optional package

        return Zero(job, optimizers, settings, world)
    if divided == "fsdp":
        return Sharded(job, optimizers, settings, world)
    return Replicated(job.objective, optimizers, settings, world)


def shard(objective: Objective, occasional: frozenset[str] = frozenset()) -> None:
    """Divide an objective's parameters among the workers in place; before optimizers are made.

    Blocks are gathered when they are called, which all workers have to do together. What belongs to none, and all of
    the `occasional` parts, is gathered when the objective is called. A single number cannot be divided.

    Raises:
        ValueError: a parameter that learns is a single number.
    """
    from torch.distributed.fsdp import fully_shard  # seconds to import

    numbers = single_numbers(objective, "fsdp")
    for name, part in objective.parts.items():
        for block in _blocks(part) if name not in occasional else ():
            fully_shard(block)
    fully_shard(objective, ignored_params=set(numbers))


def single_numbers(objective: Objective, strategy: str) -> list[nn.Parameter]:
    """Return the frozen parameters without a dimension, which nothing can divide.

    Raises:
        ValueError: one of them learns.
    """
    numbers = {name: p for name, p in objective.parts.named_parameters() if p.dim() == 0}
    if learns := [name for name, p in numbers.items() if p.requires_grad]:
        raise ValueError(f"strategy: got {strategy!r}, but {learns[0]} learns and is a single number; expected 'ddp'")
    return list(numbers.values())


def reaching(losses: Mapping[str, Tensor], parts: Iterable[nn.Module]) -> dict[str, Tensor]:
    """Return losses with nothing added, in a way that gives every trained parameter of some parts a gradient.

    Workers add up gradients of the same parameters, so that none may lack one that another has.
    """
    sums = [p.sum() for part in parts for p in part.parameters() if p.requires_grad]
    if not sums:
        return dict(losses)
    first = next(iter(losses))
    return {**losses, first: losses[first] + 0.0 * torch.stack(sums).sum()}


def _blocks(module: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a module, which are gathered one at a time: members of its outermost lists.

    Lists within a block are small, as the layers of an attention. A list of lists is never called, so that nothing
    would gather it.
    """
    found: list[nn.Module] = []
    for child in module.children():
        listed = isinstance(module, nn.ModuleList) and not isinstance(child, nn.ModuleList | nn.ModuleDict)
        found += [child] if listed else _blocks(child)
    return found
