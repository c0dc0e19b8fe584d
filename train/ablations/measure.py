"""Weights on held-out samples, by task: tokens, replies, what the signal embedding says, and what a probe reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from train.ablations.study import Measured
from train.data.collate import Collator
from train.data.sample import Sample
from train.recipe import Recipe
from train.recipes.language_objective import Conversations
from train.recipes.language_recipe import Scores
from train.recipes.language_scores import (
    CHUNK,
    HeldOut,
    answer,
    probe_scores,
    reply_scores,
    signal_scores,
    token_scores,
)
from vitron.weights import Weights

PROBED = "module"
"""The task of the probe's rows: it names the module from a half of the signal embedding."""


class Bench:
    """The parts of a language recipe, loaded from weights to be measured. Every bench asks the same samples."""

    def __init__(self, recipe: Recipe, weights: Weights, count: int, seed: int = 0) -> None:
        """Load them.

        Args:
            recipe: one of the seven steps, or like one; its parts are loaded.
            weights: where they are.
            count: held-out samples of each task.
            seed: of parts that the weights lack, and of the probe.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        job = recipe.build(weights, replace(recipe.settings, seed=seed), device)
        assert isinstance(job.validate, Scores) and isinstance(job.objective, Conversations)
        self._scores, self._objective = job.validate, job.objective
        self._objective.eval()
        self.count, self.seed = count, seed
        self.own = job.validate.step.own
        """Tasks that the recipe is about, if these are about words."""
        self._known: dict[int, dict[str, list[Sample]]] = {}

    @torch.no_grad()
    def tokens(self, tasks: Sequence[str], count: int = 0) -> list[Measured]:
        """Return loss and accuracy of the next tokens of right answers; see `signals` for the arguments."""
        held = self._held(tasks, count)
        return _by_task(token_scores(self._objective, held), held, ("loss", "tokens"))

    @torch.no_grad()
    def replies(self, tasks: Sequence[str]) -> list[Measured]:
        """Return the share of right replies, freely written."""
        held = self._held(tasks)
        found = reply_scores(answer(self._scores.build.config, self._scores.side, held, tasks))
        return _by_task(found, held, ("right",))

    @torch.no_grad()
    def signals(self, tasks: Sequence[str], count: int = 0) -> list[Measured]:
        """Return distances to the text states, and of specialists in the recipe their own losses and mask IoU.

        Args:
            tasks: requests that end in an invocation.
            count: samples of each task; 0: the bench's own number.
        """
        found = []
        for task in tasks:
            held = self._held((task,), count)
            for name, value in signal_scores(self._objective, held, (task,)).items():
                # An invocation has one specialist, so its name says no more than the task's.
                metric = "distance" if name.endswith("_distance") else name
                found.append(Measured(task, metric, value, held.count))
        return found

    @torch.no_grad()
    def probes(self, tasks: Sequence[str]) -> list[Measured]:
        """Return how well the module can be read from v^s and from v^p, and what guessing reaches (paper §4.3)."""
        held = self._held(tasks)
        found = probe_scores(self._objective, held, tasks, self.seed)
        return [Measured(PROBED, name, value, held.count * len(tasks)) for name, value in found.items()]

    def _held(self, tasks: Sequence[str], count: int = 0) -> HeldOut:
        scores = self._scores
        taught = CHUNK if scores.taught == "specialists" else 0
        collate = Collator(scores.build.config, scores.side.tokenizer, taught=taught)
        known = self._known.setdefault(count or self.count, {})
        return _Known(tasks, count or self.count, collate, scores.build.device, known)


class _Known(HeldOut):
    """Held-out samples that several measurements share: to render clips takes as long as to read them."""

    def __init__(
        self,
        tasks: Sequence[str],
        count: int,
        collate: Collator,
        device: torch.device,
        known: dict[str, list[Sample]],
    ) -> None:
        super().__init__(tasks, count, collate, device)
        self._samples = known


def _by_task(found: Mapping[str, float], held: HeldOut, metrics: Sequence[str]) -> list[Measured]:
    names = [(task, metric) for task in held.tasks for metric in metrics]
    return [Measured(task, metric, found[f"{task}_{metric}"], held.count) for task, metric in names]
