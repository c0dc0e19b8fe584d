"""From rows to what is shown: panels of numbers, one a study's table and plot. Reads nothing but rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from train.ablations import frames, grounding, message, pairs, steps, synergy
from train.ablations.measure import PROBED
from train.ablations.rows import Row
from train.ablations.served import EXECUTED
from vitron.evaluation.table import less_is_better

MAIN = ("all_and_layout_match", "ciou", "j_and_f", "in_all_frames", "edit_done", "match", "right")
"""Metrics that say most of a task, the first one that it has."""


class Value(NamedTuple):
    """A mean over seeds, its standard deviation (0 for one seed), and samples in all."""

    mean: float
    spread: float
    n: int
    seeds: int


class Line(NamedTuple):
    """What is compared: a label and a value for each name of the panel; None where nothing was measured."""

    label: str
    metric: str
    values: tuple[Value | None, ...]

    @property
    def share(self) -> bool:
        """Whether the values are shares, shown in percent."""
        return not less_is_better(self.metric)


class Panel(NamedTuple):
    """Numbers that are shown together.

    Attributes:
        name: of the picture's file.
        title, note: for people.
        names: of the columns.
        lines: what is compared.
        change: whether the last column's difference to the first is worth a column of its own.
        matrix: whether it is shown by colours: gains in percent, the more the better.
    """

    name: str
    title: str
    note: str
    names: tuple[str, ...]
    lines: tuple[Line, ...]
    change: bool = False
    matrix: bool = False


def panels_of(study: str, rows: Sequence[Row]) -> list[Panel]:
    """Return what can be shown of one study."""
    return [panel for panel in _VIEWS[study](rows) if panel.lines]


class _Table:
    """Values by variant, task and metric."""

    def __init__(self, rows: Iterable[Row], study: str) -> None:
        self.rows = [row for row in rows if row.study == study]
        self.found: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.rows:
            self.found.setdefault((row.variant, row.task, row.metric), []).append(row)

    def value(self, variant: str, task: str, metric: str) -> Value | None:
        rows = self.found.get((variant, task, metric))
        if not rows:
            return None
        values = [row.value for row in rows]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return Value(statistics.mean(values), spread, sum(row.n for row in rows), len(rows))

    def lines(self, variants: Sequence[str], keep: Callable[[str, str], bool]) -> tuple[Line, ...]:
        names = dict.fromkeys((row.task, row.metric) for row in self.rows if keep(row.task, row.metric))
        made = [
            Line(f"{task}, {metric}", metric, tuple(self.value(variant, task, metric) for variant in variants))
            for task, metric in names
        ]
        return tuple(line for line in made if any(line.values))


def _message(rows: Sequence[Row]) -> list[Panel]:
    table = _Table(rows, message.NAME)
    modes = ("text", "signal", "hybrid")
    by_task: dict[str, set[str]] = {}
    for row in table.rows:
        by_task.setdefault(row.task, set()).add(row.metric)
    main = {(task, main_metric(metrics)) for task, metrics in by_task.items()}
    shown = "What a request's specialist made of it, by what reached it."
    rate = "The module's name always travels by text, so the rate falls only where a specialist refuses its request."
    return [
        Panel("message", "Message passing (Fig. 4)", shown, modes, table.lines(modes, lambda *key: key in main)),
        Panel(
            "message-execution",
            "Execution rate (Fig. 4)",
            rate,
            modes,
            table.lines(modes, lambda _, metric: metric == EXECUTED),
        ),
        Panel(
            "message-all",
            "Message passing, all metrics",
            "",
            modes,
            table.lines(modes, lambda task, metric: metric != EXECUTED and (task, metric) not in main),
        ),
    ]


def main_metric(metrics: Iterable[str]) -> str:
    """Return the metric that says most of a task."""
    found = sorted(metric for metric in metrics if metric != EXECUTED)
    return next((metric for metric in MAIN if metric in found), found[0] if found else EXECUTED)


def _grounding(rows: Sequence[Row]) -> list[Panel]:
    table = _Table(rows, grounding.NAME)
    variants = tuple(grounding.name(out) for out in (None, *grounding.STEPS))
    note = "Chains of short runs with the same number of samples in all; replies that are right, then next tokens."
    right = table.lines(variants, lambda _, metric: metric == "right")
    tokens = table.lines(variants, lambda _, metric: metric == "tokens")
    return [Panel("grounding", "Leaving out a grounding step (Fig. 5)", note, variants, right + tokens)]


def _synergy(rows: Sequence[Row]) -> list[Panel]:
    table = _Table(rows, synergy.NAME)
    variants = tuple(synergy.VARIANTS)
    note = 'Step 3 from the same weights, with the same samples. The change is that of the paper\'s "w/o syng." rows.'
    probed = (
        "A network trained afresh names the module from v^s (shared: should be near the majority) and from v^p "
        "(specific: should be high)."
    )
    left_out = ("training", PROBED)
    tasks = table.lines(
        variants, lambda task, metric: task not in left_out and metric != "tokens" and "/" not in metric
    )
    probes = table.lines(variants, lambda task, _: task == PROBED)
    return [
        Panel("synergy", "Synergy on and off (Tables 2 to 12)", note, variants, tasks, change=True),
        Panel("synergy-probes", "What a probe reads", probed, variants, probes, change=True),
    ]


def _pairs(rows: Sequence[Row]) -> list[Panel]:
    table, names = _Table(rows, pairs.NAME), tuple(pairs.modules())
    note = (
        "How much the row's module gains from training with the column's: the fall of its distance to the text states "
        "(of its next-token loss) in percent of what it is alone. The row's module sees the same samples in both runs."
    )
    made = []
    for metric in ("distance", "loss"):
        lines = [Line(row, "gain", tuple(_gain(table, row, column, metric) for column in names)) for row in names]
        kept = tuple(line for line in lines if any(line.values))
        made.append(Panel(f"pairs-{metric}", f"Pairs of modules, {metric} (Fig. 6)", note, names, kept, matrix=True))
    return made


def _gain(table: _Table, row: str, column: str, metric: str) -> Value | None:
    """Return the relative gain over the seeds for which both runs are there."""
    if row == column:
        return None
    both = [name for name in pairs.modules() if name in (row, column)]
    alone = {each.seed: each for each in table.found.get((row, row, metric), [])}
    joint = {each.seed: each for each in table.found.get((pairs.variant(both), row, metric), [])}
    gains = [1 - joint[seed].value / alone[seed].value for seed in alone.keys() & joint.keys()]
    if not gains:
        return None
    spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
    return Value(statistics.mean(gains), spread, sum(each.n for each in joint.values()), len(gains))


def _frames(rows: Sequence[Row]) -> list[Panel]:
    table, variants = _Table(rows, frames.NAME), tuple(frames.VARIANTS)
    note = "Step 2.2 from the same weights, with the same samples; replies that are right, then next tokens."
    return [
        Panel(
            "frames",
            "The temporal mean alone, and with tokens of frames",
            note,
            variants,
            table.lines(variants, lambda _, metric: metric == "right")
            + table.lines(variants, lambda _, metric: metric == "tokens"),
            change=True,
        )
    ]


def _steps(rows: Sequence[Row]) -> list[Panel]:
    table = _Table(rows, steps.NAME)
    ends = (steps.BEFORE, steps.AFTER)
    lines = []
    for recipe, number in steps.NUMBERS.items():
        before, after = (steps.variant(recipe, end) for end in ends)
        for line in table.lines((before, after), lambda *_: True):
            lines.append(line._replace(label=f"{number} {recipe}: {line.label}"))
    note = "Each step's own metrics on held-out samples, from the weights it started from and those it ended with."
    return [Panel("steps", "The seven steps", note, ends, tuple(lines), change=True)]


_VIEWS: dict[str, Callable[[Sequence[Row]], list[Panel]]] = {
    message.NAME: _message,
    grounding.NAME: _grounding,
    synergy.NAME: _synergy,
    pairs.NAME: _pairs,
    frames.NAME: _frames,
    steps.NAME: _steps,
}
