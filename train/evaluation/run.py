"""The course of an evaluation: predictions, then scores, then the table and the contact sheets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from train.evaluation.cases import Case
from train.evaluation.extractors import open_extractors
from train.evaluation.items import KINDS, SAMPLES, UNSCORED, WRITTEN_TASKS, Item, items, modes
from train.evaluation.media_scores import left_out, media_scores
from train.evaluation.options import Options
from train.evaluation.predict import Assistant, predict, read_records
from train.evaluation.score import cases, rows, scores
from train.evaluation.sheets import VISUAL_TASKS, save_sheet
from vitron.evaluation.table import Row, to_markdown, update_rows
from vitron.types import MessageMode

logger = logging.getLogger(__name__)

PRESET = "tiny"
HEADER = """# Results of the `tiny` preset

Held-out samples of the Shapes world. `test` shows the colour-shape pairs of training, every scene
of `compositional` a pair that never occurred in it. Columns are what reached the specialist. Made
by `make eval`; contact sheets are in `sheets/` (eight ordinary samples, then the worst of others).
"""


class _Run:
    """One run of the command: loads the assistant when first needed and counts answers to give."""

    def __init__(self, options: Options, weights: str, load: Callable[[], Assistant]) -> None:
        self.options, self.weights, self._load = options, weights, load
        self._left = options.limit
        self.extractors = open_extractors(options.extractors)
        self._assistant: Assistant | None = None

    def path(self, task: str, split: str, message: str) -> Path:
        """Return where the predictions of one task are."""
        name = f"{task}-{split}-{message}.jsonl"
        return self.options.predictions / PRESET / self.weights / name

    def wanted(self, task: str, split: str) -> list[Item]:
        """Return the samples of one task."""
        count = SAMPLES[task] if self.options.samples is None else self.options.samples
        return list(items(task, split, count, self.options.seed))

    def predict(self, task: str, split: str, message: MessageMode) -> list[Case]:
        """Answer what is not answered yet, as far as the limit goes, and return all there is."""
        path, wanted = self.path(task, split, message), self.wanted(task, split)
        if not self.options.resume:
            path.unlink(missing_ok=True)
        done = read_records(path)
        missing = [item for item in wanted if item.key not in done]
        chosen = missing if self._left is None else missing[: self._left]
        if chosen:
            done = predict(
                self.assistant(),
                chosen,
                path,
                message=message,
                batch=self.options.batch,
                carry_out=task not in UNSCORED,
                report=logger.info,
            )
        if self._left is not None:
            self._left -= len(chosen)
        return cases(wanted, done)

    def rows(self, task: str, split: str, message: str, found: Sequence[Case]) -> list[Row]:
        """Score `found` and write the scores as rows."""
        seed = self.options.seed
        written = rows(task, split, message, scores(task, found), seed=seed, weights=self.weights)
        for score in media_scores(task, found, self.extractors):
            written.append(score.row(task=task, split=split, message=message, seed=seed, weights=self.weights))
        return written

    def assistant(self) -> Assistant:
        """Return what is evaluated."""
        if self._assistant is None:
            self._assistant = self._load()
        return self._assistant


def evaluate(options: Options, weights: str, load: Callable[[], Assistant]) -> list[Row]:
    """Predict, score, and update table and contact sheets; return the new rows.

    Args:
        options: what to run.
        weights: name of the weights, under which predictions and rows are filed.
        load: returns what is evaluated; called only if an answer is missing.

    Raises:
        ValueError: an extractor cannot be opened.
    """
    run, new = _Run(options, weights, load), []
    for line in left_out(options.tasks, run.extractors):
        logger.info(line)
    for split in options.splits:
        for task in options.tasks:
            if task in KINDS:
                new += _task(run, task, split)
        for task in options.tasks:
            if task in WRITTEN_TASKS:
                new += _written_task(run, task, split)
    merged = update_rows(options.results / f"{PRESET}.json", new)
    page = f"{HEADER}\n{to_markdown(merged)}"
    (options.results / f"{PRESET}.md").write_text(page, encoding="utf-8")
    return new


def _task(run: _Run, task: str, split: str) -> list[Row]:
    new = []
    for message in modes(task, run.options.messages):
        found = run.predict(task, split, message)
        if task in VISUAL_TASKS and found:
            save_sheet(found, run.options.results / "sheets" / f"{task}-{split}-{message}.png")
        if task not in UNSCORED:
            new += run.rows(task, split, message, found)
    return new


def _written_task(run: _Run, task: str, split: str) -> list[Row]:
    """Score what the language model wrote, over the predictions of every task that are there."""
    found: list[Case] = []
    for source in KINDS:
        # What reaches a specialist changes nothing in the text, so any mode's file will do.
        paths = [run.path(source, split, message) for message in get_args(MessageMode)]
        path = next((path for path in paths if path.exists()), None)
        if path is not None:
            found += cases(run.wanted(source, split), read_records(path))
    return run.rows(task, split, run.options.messages[0], found)
