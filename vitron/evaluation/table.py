"""The results table: one row a number, kept as JSON, shown as Markdown.

A row says what produced it (seed, samples, weights), so that a table may be filled over several
runs without mixing them up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

Key = tuple[str, str, str, str, str]
LOSSES = ("distance", "frechet", "denoising", "segmentation", "loss", "perplexity")
"""How names of metrics begin that should be small and may be more than 1."""
LESS_IS_BETTER = (*LOSSES, "l1", "flicker")
"""How names of metrics begin that should be small."""
UNBOUNDED = (*LOSSES, "cider", "clip_", "frame_consistency", "inception")
"""How names of metrics begin that are no means of values in [0, 1]; cosines may be negative."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One result.

    Attributes:
        task: what was asked of the model.
        split: the samples it was asked on.
        message: what reached the specialist: "hybrid", "text" or "signal".
        metric: name of the score.
        value: the score, in [0, 1] unless the metric says otherwise.
        n: samples it is computed from.
        seed: seed of the run.
        weights: which weights made the predictions.
    """

    task: str
    split: str
    message: str
    metric: str
    value: float
    n: int
    seed: int
    weights: str

    @property
    def key(self) -> Key:
        """What makes two rows the same measurement: the later replaces the earlier."""
        return self.task, self.split, self.message, self.metric, self.weights


def less_is_better(metric: str) -> bool:
    """Tell whether a metric should be small."""
    return metric.startswith(LESS_IS_BETTER)


def is_bounded(metric: str) -> bool:
    """Tell whether a metric is a mean of values in [0, 1]."""
    return not metric.startswith(UNBOUNDED)


def read_rows(path: Path) -> list[Row]:
    """Read the rows of `path`; a file that does not exist holds none."""
    if not path.exists():
        return []
    return [Row(**item) for item in json.loads(path.read_text(encoding="utf-8"))]


def merge_rows(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Return `old` with the rows of `new` added or put in their elders' place, sorted by key."""
    merged = {row.key: row for row in old} | {row.key: row for row in new}
    return [merged[key] for key in sorted(merged)]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows` to `path`, in one step, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def update_rows(path: Path, new: Iterable[Row]) -> list[Row]:
    """Merge `new` into the rows of `path` and return all of them."""
    rows = merge_rows(read_rows(path), new)
    write_rows(path, rows)
    return rows


def to_markdown(rows: Sequence[Row]) -> str:
    """Write one line for each task, split and metric, with a column for each message.

    With more than one set of weights there is one table for each.
    """
    parts = []
    for weights in dict.fromkeys(row.weights for row in rows):
        parts.append(f"Weights: `{weights}`\n\n" + _table([r for r in rows if r.weights == weights]))
    return "\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    order = ("hybrid", "text", "signal")
    found = {row.message for row in rows}
    messages = [m for m in order if m in found] + sorted(found - set(order))
    lines = [
        "| task | split | metric | n | " + " | ".join(messages) + " |",
        "|---|---|---|---" + "|---:" * len(messages) + "|",
    ]
    groups: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.split, row.metric), {})[row.message] = row
    for (task, split, metric), cells in groups.items():
        sizes = "/".join(dict.fromkeys(str(cells[m].n) for m in messages if m in cells))
        values = [f"{cells[m].value:.3f}" if m in cells else "" for m in messages]
        lines.append(f"| {task} | {split} | {metric} | {sizes} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"
