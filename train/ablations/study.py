"""What a study is: named parts that are done one by one, each once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from train.ablations.rows import Book, Conditions, Row, label
from train.evaluation.items import SPECIALIST_TASKS
from vitron.weights import Weights

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to do; see the command line's help.

    Attributes:
        preset: whose configuration is trained.
        start: the weights that every variant starts from.
        budget: factor on training steps.
        seeds: one repetition each.
        n: held-out samples of each task.
        served: requests of each task that are carried out by specialists where the study trains.
        tasks: of the evaluation, those that specialists are to carry out; empty: all that the weights can serve.
        work: folder of unfinished training runs.
        predictions: folder of the answers that specialists carried out.
    """

    preset: str = "tiny"
    start: Weights
    budget: float = 1.0
    seeds: tuple[int, ...] = (0,)
    n: int = 200
    served: int = 40
    tasks: tuple[str, ...] = ()
    work: Path = Path("runs/ablations")
    predictions: Path = Path("runs/evaluation")

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing can be measured."""
        if self.budget <= 0:
            raise ValueError(f"budget: got {self.budget}, expected a number above 0")
        if self.n < 1:
            raise ValueError(f"n: got {self.n}, expected 1 or more")
        if self.served < 0:
            raise ValueError(f"served: got {self.served}, expected 0 or more")
        unknown = [task for task in self.tasks if task not in SPECIALIST_TASKS]
        if unknown:
            raise ValueError(f"tasks: got {unknown[0]!r}, expected some of {','.join(SPECIALIST_TASKS)}")
        if not self.seeds:
            raise ValueError("seeds: got none, expected at least one")


class Measured(NamedTuple):
    """A number and the samples that it is computed from."""

    task: str
    metric: str
    value: float
    n: int


class Part(NamedTuple):
    """One variant with one seed.

    Attributes:
        variant, seed: of its rows.
        measure: does the work; called only if the rows are not there yet.
        task: the part is about this task alone; None: about all.
    """

    variant: str
    seed: int
    measure: Callable[[], Sequence[Measured]]
    task: str | None = None


class Study(Protocol):
    """An analysis: a module of this package."""

    NAME: str
    ABOUT: str
    TRAINS: bool

    def parts(self, options: Options, say: Say) -> list[Part]:
        """Return what has to be done, the most telling first."""
        ...


def conditions(study: Study, options: Options) -> Conditions:
    """Return what all rows of a study will have been made with."""
    return Conditions(weights=label(options.start), n=options.n, budget=options.budget if study.TRAINS else None)


def carry_out(study: Study, options: Options, book: Book, say: Say, done: Callable[[], object]) -> None:
    """Do what is missing of a study; its rows are in the book after each part, when `done` is called."""
    stale = book.open(study.NAME, conditions(study, options))
    if stale:
        say(f"{study.NAME}: {stale} rows were made from other weights or with other numbers; they are replaced")
    parts = study.parts(options, say)
    for number, part in enumerate(parts, 1):
        name = f"{study.NAME} {number}/{len(parts)} | {part.variant}{f', {part.task}' if part.task else ''}"
        name += f", seed {part.seed}"
        if book.holds(study.NAME, part.variant, part.seed, part.task):
            say(f"{name} | is there")
            continue
        say(name)
        since = time.monotonic()
        found = part.measure()
        book.add(_row(study.NAME, part, each) for each in found)
        say(f"{name} | {len(found)} rows in {time.monotonic() - since:.0f} s")
        done()


def _row(study: str, part: Part, found: Measured) -> Row:
    return Row(
        study=study,
        variant=part.variant,
        task=found.task,
        metric=found.metric,
        value=round(float(found.value), 5),
        n=found.n,
        seed=part.seed,
    )
