"""What scorers of the evaluation work on, and what they return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from train.data.sample import Sample
from train.evaluation.items import Item
from train.evaluation.predict import Record


class Case(NamedTuple):
    """A sample with its prediction."""

    item: Item
    sample: Sample
    record: Record


class Score(NamedTuple):
    """A value and the number of samples it is computed from."""

    value: float
    n: int


Scores = dict[str, Score]
"""By metric."""


def share(values: Sequence[bool]) -> Score:
    """Return how many of the values are true."""
    return Score(sum(values) / len(values), len(values)) if values else Score(0.0, 0)
