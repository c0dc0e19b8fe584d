"""Fig. 6: what a task gains from being trained together with another one.

Step 3 runs on the requests of one module alone, and on those of two. A joint run sees the very samples that a run alone
sees, and as many others beside them in each step; so both take the same number of steps and see the same number of
samples of the module that is judged.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

from train.ablations.measure import Bench
from train.ablations.runs import cost, forget, short, train
from train.ablations.study import Measured, Options, Part, Say
from train.data.collate import Batch, Collator
from train.data.sample import Sample
from train.data.shapes import tasks
from train.evaluation.items import expected_invocation
from train.recipe import Build, Job, Recipe
from train.recipes import find
from train.recipes.language_data import Batches
from train.recipes.language_recipe import CLIP_INVOKING, INVOKING
from vitron.types import Module

NAME = "pairs"
ABOUT = "gain of each module from training with each other one (Fig. 6)"
TRAINS = True
STEPS, EACH = 40, 6
"""Training steps at budget 1, and samples of each module in a step."""
TAUGHT = 3
"""Samples of those that also bring the specialist's own loss."""
DATA_SEED = 1000
"""Seed of the samples, with the run's own added: no other run shows them."""
JOIN = " + "


@cache
def modules() -> dict[str, tuple[str, ...]]:
    """Return the modules of Table 13 by name, each with the dialogues that invoke it."""
    found: dict[Module, list[str]] = {module: [] for module in Module}
    for task in (*INVOKING, *CLIP_INVOKING):
        invocation = expected_invocation(tasks.build(task, "val", 0))
        assert invocation is not None, task
        found[invocation.module].append(task)
    return {module.value.lower(): tuple(names) for module, names in found.items() if names}


def variant(names: Sequence[str]) -> str:
    """Name a run by its modules."""
    return JOIN.join(names)


def parts(options: Options, say: Say) -> list[Part]:
    """Return the runs on one module, then those on two."""
    runs = [*itertools.combinations(modules(), 1), *itertools.combinations(modules(), 2)]
    return [
        Part(variant(run), seed, partial(_measure, run, options, seed, say)) for seed in options.seeds for run in runs
    ]


class Together(NamedTuple):
    """Micro-batches by number: `EACH` samples of every module."""

    names: tuple[str, ...]
    seed: int
    collate: Collator
    total: int

    def __call__(self, number: int) -> dict[str, Batch]:
        """Make one micro-batch."""
        return {"request": self.collate(self.samples(number), number / self.total)}

    def samples(self, number: int) -> list[Sample]:
        """Return its samples: those of a module do not depend on who else takes part."""
        return [sample for name in self.names for sample in _samples(name, number, self.seed)]


def _samples(name: str, number: int, seed: int) -> list[Sample]:
    """Return a module's samples of a micro-batch, its dialogues in turn."""
    kinds = modules()[name]
    places = [divmod(number * EACH + place, len(kinds)) for place in range(EACH)]
    return [tasks.build(kinds[kind], "train", index, seed) for index, kind in places]


def recipe(preset: str, names: tuple[str, ...]) -> Recipe:
    """Return step 3 on the requests of some modules alone."""
    whole = find("synergy", preset)

    def make(build: Build) -> Job:
        job = whole.make(build)
        assert isinstance(job.batches, Batches)
        collate = Collator(build.config, job.batches.collate.writer.tokenizer, taught=TAUGHT)
        seed = DATA_SEED + build.settings.seed
        return replace(job, batches=Together(names, seed, collate, build.settings.steps))

    return replace(whole, make=make)


def _measure(names: tuple[str, ...], options: Options, seed: int, say: Say) -> list[Measured]:
    made = recipe(options.preset, names)
    settings = short(made, options, seed, steps=STEPS, batch=EACH * len(names))
    folder = options.work / NAME / f"{'-and-'.join(names).replace(' ', '-')}-{seed}"
    weights = train(made, settings, options.start, folder, say)
    bench = Bench(made, weights, options.n, seed)
    found = [*cost(settings), *(each for name in names for each in judged(bench, name))]
    forget(folder)
    return found


def judged(bench: Bench, name: str) -> list[Measured]:
    """Return the metrics of a module: means over its dialogues, which share the bench's number of samples."""
    dialogues = modules()[name]
    count = max(1, bench.count // len(dialogues))
    found: dict[str, list[Measured]] = {}
    for each in [*bench.tokens(dialogues, count), *bench.signals(dialogues, count)]:
        found.setdefault(each.metric, []).append(each)
    return [
        Measured(name, metric, sum(each.value for each in values) / len(values), sum(each.n for each in values))
        for metric, values in found.items()
    ]
