"""Each of the seven steps' own metrics before and after it, on held-out samples.

Measured on the weights that the runs of a chain started from and ended with: the chain is what `--start` came from.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from train.ablations.measure import Bench
from train.ablations.study import Measured, Options, Part, Say
from train.recipes import find
from train.recipes.language_recipe import CLIP_INVOKING, INVOKING
from vitron.weights import Weights

NAME = "steps"
ABOUT = "the own metrics of each of the seven steps, before and after it"
TRAINS = False
NUMBERS = {
    "alignment": "1.1",
    "invocation": "1.2",
    "decoder": "1.3",
    "image-grounding": "2.1",
    "video-grounding": "2.2",
    "grounded-qa": "2.3",
    "synergy": "3",
}
"""Recipe -> number of the step in the paper."""
BEFORE, AFTER = "before", "after"


class Taken(NamedTuple):
    """A step of a chain."""

    recipe: str
    before: Weights
    after: Weights


def chain(end: Weights) -> list[Taken]:
    """Return the steps that weights came from, the first one first.

    A step that was taken in several runs on end counts as one.
    """
    found: list[Taken] = []
    weights = end
    while (recipe := weights.manifest().get("recipe")) in NUMBERS and (folder := weights.base):
        before = Weights(folder)
        after = weights
        if found and found[-1].recipe == recipe:
            after = found.pop().after
        found.append(Taken(recipe, before, after))
        weights = before
    return found[::-1]


def parts(options: Options, say: Say) -> list[Part]:
    """Return both ends of every step of the chain."""
    taken = chain(options.start)
    if not taken:
        say(f"{NAME}: --start is no run of {', '.join(NUMBERS)}: there is no chain to look at")
    # Nothing is trained, so one seed says it all; it draws the weights that a chain from nothing begins with.
    seed = options.seeds[0]
    return [
        Part(variant(step.recipe, when), seed, partial(_measure, step.recipe, weights, options, seed))
        for step in taken
        for when, weights in ((BEFORE, step.before), (AFTER, step.after))
    ]


def variant(recipe: str, when: str) -> str:
    """Name an end of a step."""
    return f"{NUMBERS[recipe]} {recipe}, {when}"


def _measure(recipe: str, weights: Weights, options: Options, seed: int) -> list[Measured]:
    bench = Bench(find(recipe, options.preset), weights, options.n, seed)
    if bench.own:
        return bench.replies(bench.own)
    invoking = (*INVOKING, *CLIP_INVOKING)
    probes = bench.probes(invoking) if recipe == "synergy" else []
    return [*bench.signals(invoking), *probes]
