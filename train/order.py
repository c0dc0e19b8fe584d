"""Which micro-batches a process computes, and their loading.

Micro-batches are numbered through the whole run: step s is made of the numbers s*M to (s+1)*M - 1, whatever the
number of workers. Worker r of W computes every W-th of them. So a run that stops anywhere and goes on with another
number of workers sees every sample once, in the same steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from train.world import World


def numbers_of(step: int, micro_batches: int, world: World) -> range:
    """Return the numbers of a step's micro-batches that one process computes."""
    return range(step * micro_batches + world.rank, (step + 1) * micro_batches, world.size)


def seed_of(seed: int, number: int) -> int:
    """Return the seed of a micro-batch's noise and dropout, so that they do not depend on who computes it."""
    return int(np.random.SeedSequence([seed, 5, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class ByNumber(Protocol):
    """Makes micro-batches by number; picklable if loader processes are to use it."""

    def __call__(self, number: int, /) -> Any:
        """Make one micro-batch."""
        ...


class MicroBatches(Dataset[Any]):
    """The batches of a job by number, as the loader reads them."""

    def __init__(self, batches: ByNumber) -> None:
        self._batches = batches

    def __getitem__(self, number: int) -> Any:
        """Make one micro-batch."""
        return self._batches(number)


def load(batches: ByNumber, numbers: Sequence[int], workers: int) -> Iterator[Any]:
    """Yield micro-batches in the order of `numbers`, prepared ahead by `workers` processes (0: by this one).

    A micro-batch draws from a generator of its own, so the number of workers does not change what it holds.
    """
    if not workers:
        return (batches(number) for number in numbers)
    loader = DataLoader(
        MicroBatches(batches),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=4,
        pin_memory=torch.cuda.is_available(),
        # Forking a process that holds threads (Ray's, gloo's) can deadlock the child.
        multiprocessing_context="forkserver",
        worker_init_fn=_one_thread,
    )
    return iter(loader)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
