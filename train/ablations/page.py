"""The page of the analyses: tables in Markdown and plots, from the files of rows alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from train.ablations.plots import draw
from train.ablations.rows import Book, Conditions, Row
from train.ablations.views import Line, Panel, Value, panels_of
from vitron.evaluation.table import less_is_better

PAGE, PICTURES = "ablations.md", "ablations"
STUDIES = ("message", "grounding", "synergy", "pairs", "frames", "steps")
HEADER = """# The paper's analyses at tiny scale

Made by `python -m train.ablations` (docs/ablations.md) on held-out Shapes; rows are in `ablations.json`. Shares are in
percent; ↓ marks metrics that should be small. Values are means over seeds, with the standard deviation where there is
more than one. Runs are short, so small differences mean little: a share of n samples is itself uncertain by about
100/√n points at most, and one seed says nothing of how much a run differs from the next.
"""


def write_page(folder: Path) -> Path:
    """Write `ablations.md` and its pictures from the rows in a folder, and return the page's path."""
    book = Book(folder)
    text = [HEADER]
    for study in STUDIES:
        shown = panels_of(study, book.rows)
        if shown:
            text.append(_conditions(study, book.conditions.get(study), book.rows))
        for panel in shown:
            text.append(_panel(panel))
            draw(panel, folder / PICTURES / f"{panel.name}.png")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE
    path.write_text("\n".join(text), encoding="utf-8")
    return path


def _conditions(study: str, made: Conditions | None, rows: Sequence[Row]) -> str:
    """Say what the rows of a study were made with."""
    mine = [row for row in rows if row.study == study]
    seeds = sorted({row.seed for row in mine})
    parts = [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"]
    if made:
        parts += [f"weights `{made.weights}`", f"n = {made.n} of each task"]
    if made and made.budget is not None:
        parts.append(f"budget {made.budget:g}")
    trained = sorted({int(row.value) for row in mine if (row.task, row.metric) == ("training", "samples")})
    if trained:
        parts.append(f"{' or '.join(map(str, trained))} training samples a run")
    return f"## {study.capitalize()}\n\nMade with: {'; '.join(parts)}.\n"


def _panel(panel: Panel) -> str:
    changes = ["change"] if panel.change else []
    arrow = "" if panel.matrix else "|---"
    head = ["", *([] if panel.matrix else ["n"]), *panel.names, *changes]
    lines = [f"### {panel.title}\n", *([f"{panel.note}\n"] if panel.note else [])]
    lines += [f"![{panel.title}]({PICTURES}/{panel.name}.png)\n"]
    lines += ["| " + " | ".join(head) + " |", "|---" + arrow + "|---:" * (len(panel.names) + len(changes)) + "|"]
    lines += [_line(line, panel) for line in panel.lines]
    return "\n".join(lines) + "\n"


def _line(line: Line, panel: Panel) -> str:
    mark = " ↓" if less_is_better(line.metric) else ""
    cells = [f"{line.label}{mark}"]
    if not panel.matrix:
        cells.append("/".join(dict.fromkeys(str(value.n // value.seeds) for value in line.values if value)))
    cells += [_cell(value, line.share, sign=panel.matrix) for value in line.values]
    if panel.change:
        cells.append(_change(line))
    return "| " + " | ".join(cells) + " |"


def _cell(value: Value | None, share: bool, *, sign: bool) -> str:
    if value is None:
        return ""
    scale, digits = (100, 1) if share else (1, 3)
    spread = f" ± {scale * value.spread:.{digits}f}" if value.seeds > 1 else ""
    return f"{scale * value.mean:{'+' if sign else ''}.{digits}f}{spread}"


def _change(line: Line) -> str:
    """Return the change from the first to the last column; of shares with a word where n samples cannot show it."""
    first, last = line.values[0], line.values[-1]
    if first is None or last is None:
        return ""
    change = last.mean - first.mean
    if not line.share:
        return f"{change:+.3f}"
    return f"{100 * change:+.1f}" + (" (within noise)" if abs(change) < 2 * _error(first, last) else "")


def _error(first: Value, last: Value) -> float:
    """Return the standard error of the difference of two shares if they were the same, so that 0 and 1 have one too."""
    pooled = min(1.0, max(0.0, (first.mean * first.n + last.mean * last.n) / (first.n + last.n)))
    return math.sqrt(pooled * (1 - pooled) * (1 / first.n + 1 / last.n))
