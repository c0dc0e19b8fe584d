"""What a reader is made of: what is to be opened, what a data set offers, and random access to its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from train.data.sample import Sample

Rng = np.random.Generator
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What is to be opened.

    Attributes:
        name: the data set.
        root: its folder; every reader says what it expects there.
        split: one of the data set's splits.
        task: one of the data set's tasks: what is to be asked about its media.
        home: where people get the data set; part of the message about a missing file.
        seed: draws the wording.
        num_frames: frames of a clip, spread evenly over the video; None: all of them.
    """

    name: str
    root: Path
    split: str
    task: str
    home: str
    seed: int = 0
    num_frames: int | None = 8

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed: got {self.seed}, expected 0 or more")
        if self.num_frames is not None and self.num_frames < 1:
            raise ValueError(f"num_frames: got {self.num_frames}, expected 1 or more, or None for all")

    def id(self, key: object) -> str:
        """Return the id of the sample made of record `key`."""
        return f"{self.name}/{self.task}/{self.split}/{key}"


class Records(Generic[R]):
    """Samples by index: records that say where things are, and what makes a sample of one.

    `make` gets a record and a generator that depends on (seed, index) alone, so that an access is repeatable
    whatever was read before it. It has to be picklable if loader processes are to be used.

    Attributes:
        left_out: what of the data set cannot become a sample (videos gone from the web, boxes without an area), with
            its number. Readers say which of it they leave out; everything else that is wrong is an error.
    """

    def __init__(
        self,
        opening: Opening,
        records: Sequence[R],
        make: Callable[[R, Rng], Sample],
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        self.left_out = {what: count for what, count in (left_out or {}).items() if count}
        if not records:
            why = "".join(f"; left out: {count} {what}" for what, count in self.left_out.items())
            raise ValueError(f"{opening.name}: no sample of split {opening.split!r} under {opening.root}{why}")
        self._seed, self._records, self._make = opening.seed, records, make

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:
        """Make a sample; IndexError beyond the ends, negative indices count from the end."""
        index = range(len(self._records))[index]
        return self._make(self._records[index], np.random.default_rng([self._seed, index]))


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """What a data set offers.

    Attributes:
        tasks: what can be asked about its media; the first one is the default.
        splits: names of its parts; empty: any name, as the reader's module says.
        home: where people get it.
        open: builds the index.
    """

    tasks: tuple[str, ...]
    splits: tuple[str, ...]
    home: str
    open: Callable[[Opening], Records[Any]]
