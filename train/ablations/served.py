"""Requests carried out from end to end, by the evaluation: which ones weights can serve, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from train.ablations.study import Measured, Say
from train.data.shapes import tasks
from train.evaluation.cases import share
from train.evaluation.items import KINDS, SPECIALIST_TASKS, expected_invocation, items
from train.evaluation.predict import Assistant, predict
from train.evaluation.score import cases, scores
from vitron.model import Vitron
from vitron.routing import specialist_of
from vitron.specialists.table import LOADERS
from vitron.types import MessageMode
from vitron.weights import Weights

EXECUTED = "execution_rate"
"""The share of requests whose invocation was parsed, routed and carried out."""
SPLIT = "test"


def open_assistant(name: str, weights: Weights, say: Say) -> Vitron:
    """Load the assistant with those specialists that the weights hold; the others are named to `say`."""
    assistant = Vitron.from_preset(name, weights.folder)
    for specialist in sorted(LOADERS.keys() - assistant.specialists.keys()):
        say(f"{specialist} is left out: the weights lack a part of it")
    return assistant


def executable(assistant: Vitron, wanted: Sequence[str] = ()) -> list[str]:
    """Return those of the wanted tasks (none named: all) whose specialists the assistant has."""
    return [task for task in wanted or SPECIALIST_TASKS if specialists_of(task) <= set(assistant.specialists)]


def specialists_of(task: str) -> set[str]:
    """Return the specialists that a task of the evaluation needs."""
    invocations = [expected_invocation(tasks.build(kind, SPLIT, 0)) for kind in KINDS[task]]
    return {specialist_of(invocation) for invocation in invocations if invocation}


class Requests:
    """Requests of one study's weights; answers that are on file are taken from there."""

    def __init__(self, assistant: Assistant, folder: Path, say: Say) -> None:
        """Set up.

        Args:
            assistant: answers.
            folder: of its answers.
            say: takes lines of progress.
        """
        self._assistant, self._folder, self._say = assistant, folder, say

    def carry_out(self, task: str, message: MessageMode, n: int, seed: int = 0) -> list[Measured]:
        """Return the execution rate, and the scores of what was made."""
        wanted = list(items(task, SPLIT, n, seed))
        path = self._folder / f"{task}-{SPLIT}-{message}.jsonl"
        found = cases(wanted, predict(self._assistant, wanted, path, message=message, report=self._say))
        rate = share([case.record.module is not None and case.record.error is None for case in found])
        made = {EXECUTED: rate, **scores(task, found)}
        return [Measured(task, metric, score.value, score.n) for metric, score in made.items()]
