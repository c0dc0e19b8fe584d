"""Samples of several sources in one endless order, in which the place of every sample follows from its number.

A round of consecutive numbers holds every source as often as its weight says, in an order of its own. Each source goes
through all of its samples, in a new order each time, before one comes again. Nothing is kept between accesses, so that
a run goes on from any number, on any number of workers, with no sample lost or repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from train.data.sample import Sample
from train.data.shapes import tasks

ENDLESS = 2**40
"""The length of a source that is made up: no run reaches its end."""
_ROUND, _PASS = 1, 2
"""Streams of random numbers: the order within a round, and that of a pass over a source."""


class Samples(Protocol):
    """Samples by index, as the readers of data sets give them (`train.data.sources.Source`)."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Return one sample."""
        ...


class Place(NamedTuple):
    """Where the sample of a number is: which source, and which sample of it."""

    source: str
    index: int  # type: ignore[assignment]  # it hides tuple's method


class Mixture:
    """Sources with weights."""

    def __init__(self, sources: Mapping[str, Samples], weights: Mapping[str, int], seed: int = 0) -> None:
        """Mix sources.

        Args:
            sources: by name.
            weights: samples of each source in a round.
            seed: of every order.

        Raises:
            ValueError: a weight is no whole number above 0, names do not fit, or a source is empty.
        """
        if set(sources) != set(weights) or not weights:
            raise ValueError(f"weights: got {sorted(weights)} for the sources {sorted(sources)}, expected the same")
        for name, weight in weights.items():
            if not isinstance(weight, int) or weight < 1:
                raise ValueError(f"weights.{name}: got {weight!r}, expected a whole number of at least 1")
            if len(sources[name]) < 1:
                raise ValueError(f"sources.{name}: is empty, expected at least one sample")
        self.sources, self.weights, self.seed = dict(sources), dict(weights), seed
        self._slots = [name for name, weight in weights.items() for _ in range(weight)]
        self._round: tuple[int, list[Place]] = (-1, [])

    def __getitem__(self, number: int) -> Sample:
        """Return the sample of a number, from 0 without end."""
        source, index = self.place(number)
        return self.sources[source][index]

    def place(self, number: int) -> Place:
        """Return which sample a number stands for."""
        rounds, position = divmod(number, len(self._slots))
        name, before = self._order(rounds)[position]
        passes, position = divmod(rounds * self.weights[name] + before, len(self.sources[name]))
        # Sources take other ways through equally long lists, or paired data sets would always meet the same partner.
        key = [self.seed, _PASS, list(self.weights).index(name), passes]
        return Place(name, shuffled(position, len(self.sources[name]), key))

    def _order(self, rounds: int) -> list[Place]:
        """Return the sources of a round in their order, each with how often it came before in the round."""
        if self._round[0] != rounds:
            rng = np.random.default_rng([self.seed, _ROUND, rounds])
            counts = dict.fromkeys(self.weights, 0)
            order = []
            for slot in rng.permutation(len(self._slots)).tolist():
                name = self._slots[slot]
                order.append(Place(name, counts[name]))
                counts[name] += 1
            self._round = rounds, order
        return self._round[1]


class ShapesTask:
    """The dialogues of one task of the Shapes world as an endless source."""

    def __init__(self, task: str, split: str = "train", seed: int = 0) -> None:
        """Refuse a task that the world does not have."""
        if task not in tasks.TASKS:
            raise ValueError(f"task: got {task!r}, expected one of {', '.join(tasks.TASKS)}")
        self.task, self.split, self.seed = task, split, seed

    def __len__(self) -> int:
        """Return a length that no run reaches."""
        return ENDLESS

    def __getitem__(self, index: int) -> Sample:
        """Make a sample."""
        return tasks.build(self.task, self.split, index, self.seed)


def shuffled(index: int, length: int, key: list[int]) -> int:
    """Return where a random order of `length` things puts `index`, without making the whole order.

    A Feistel network permutes the next power of four; what falls outside is sent through again until it falls inside.
    """
    bits = max(1, ((length - 1).bit_length() + 1) // 2)
    mask = (1 << bits) - 1
    rounds = np.random.SeedSequence(key).generate_state(4, np.uint64).tolist()
    value = index
    while True:
        left, right = value >> bits, value & mask
        for salt in rounds:
            left, right = right, left ^ (_scramble(right ^ salt) & mask)
        value = left << bits | right
        if value < length:
            return value


def _scramble(value: int) -> int:
    """Mix the bits of a number (the finalizer of SplitMix64)."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31
