"""What the analyses found: one row a measurement, in JSON, beside what all rows of a study were made with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitron.weights import Weights

ROWS, CONDITIONS = "ablations.json", "ablations_conditions.json"
Key = tuple[str, str, str, str, int]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement.

    Attributes:
        study: the analysis.
        variant: what was done differently, such as "without 2.1".
        task: what was asked of the model, or "training".
        metric: name of the number; `vitron.evaluation.table.LESS_IS_BETTER` holds those that should be small.
        value: the number.
        n: samples that it is computed from.
        seed: of the training run, or of the samples where nothing is trained.
    """

    study: str
    variant: str
    task: str
    metric: str
    value: float
    n: int
    seed: int

    @property
    def key(self) -> Key:
        """What makes two rows the same measurement."""
        return self.study, self.variant, self.task, self.metric, self.seed


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What all rows of a study share.

    Attributes:
        weights: where every variant starts.
        n: held-out samples asked of each task.
        budget: factor on the training steps; None: nothing is trained.
    """

    weights: str
    n: int
    budget: float | None = None


class Book:
    """The rows and conditions in a folder."""

    def __init__(self, folder: Path) -> None:
        """Read what is there."""
        self.folder = folder
        self.rows = [Row(**item) for item in _read(folder / ROWS, [])]
        self.conditions = {name: Conditions(**item) for name, item in _read(folder / CONDITIONS, {}).items()}

    def open(self, study: str, conditions: Conditions) -> int:
        """Begin or go on with a study; return how many rows went because they were made under other conditions."""
        stale = [row for row in self.rows if row.study == study] if self.conditions.get(study) != conditions else []
        self.rows = [row for row in self.rows if row not in stale]
        self.conditions[study] = conditions
        return len(stale)

    def holds(self, study: str, variant: str, seed: int, task: str | None = None) -> bool:
        """Tell whether a part of a study is done."""
        return any(
            (row.study, row.variant, row.seed) == (study, variant, seed) and task in (None, row.task)
            for row in self.rows
        )

    def add(self, new: Iterable[Row]) -> None:
        """Merge rows, and write the file."""
        merged = {row.key: row for row in self.rows} | {row.key: row for row in new}
        self.rows = [merged[key] for key in sorted(merged)]
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / ROWS, [asdict(row) for row in self.rows])
        _write(self.folder / CONDITIONS, {name: asdict(self.conditions[name]) for name in sorted(self.conditions)})


def label(weights: Weights) -> str:
    """Name weights, without the place where they are: RUN/CHECKPOINT of a run, the revision of others."""
    folder = weights.folder
    return f"{folder.parent.name}/{folder.name}" if folder.name.startswith("step-") else weights.revision


def _read(path: Path, empty: object) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty


def _write(path: Path, value: Sequence[object] | Mapping[str, object]) -> None:
    """Write in one step, so that nobody reads half a file."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
