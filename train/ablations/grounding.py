"""Fig. 5: leaving out one of the three grounding steps.

Every chain starts from the same weights and sees the same number of samples: what a step that is left out would have
seen goes to the others in equal shares.
"""

from __future__ import annotations

from functools import partial

from train.ablations.measure import Bench
from train.ablations.runs import cost, forget, short, train
from train.ablations.study import Measured, Options, Part, Say
from train.recipes import find
from train.settings import Settings

NAME = "grounding"
ABOUT = "leaving out each grounding step (Fig. 5)"
TRAINS = True
STEPS = {"2.1": "image-grounding", "2.2": "video-grounding", "2.3": "grounded-qa"}
"""Number of a step -> its recipe."""
ALL = "all steps"
TASKS = (
    "rec",
    "region_caption",
    "vqa",
    "grounded_vqa",
    "video_grounding",
    "video_grounded_caption",
    "video_qa",
    "grounded_video_qa",
)
"""Four on pictures and four on clips, as in the figure."""
EACH, BATCH = 40, 15
"""Training steps of each of the three at budget 1, and samples of a step."""


def parts(options: Options, say: Say) -> list[Part]:
    """Return the chains."""
    left_out = [None, *STEPS]
    return [
        Part(name(out), seed, partial(_measure, out, options, seed, say)) for seed in options.seeds for out in left_out
    ]


def name(left_out: str | None) -> str:
    """Return the variant that leaves out a step."""
    return f"without {left_out}" if left_out else ALL


def chain(left_out: str | None, options: Options, seed: int) -> dict[str, Settings]:
    """Return the settings of a chain's runs by recipe; all chains have the same number of steps in all."""
    recipes = [recipe for number, recipe in STEPS.items() if number != left_out]
    steps = EACH * len(STEPS) // len(recipes)
    return {recipe: short(find(recipe, options.preset), options, seed, steps=steps, batch=BATCH) for recipe in recipes}


def _measure(left_out: str | None, options: Options, seed: int, say: Say) -> list[Measured]:
    runs, weights = chain(left_out, options, seed), options.start
    folder = options.work / NAME / f"{name(left_out).replace(' ', '-')}-{seed}"
    for recipe, settings in runs.items():
        weights = train(find(recipe, options.preset), settings, weights, folder, say)
    bench = Bench(find(STEPS["2.3"], options.preset), weights, options.n, seed)
    found = [*cost(*runs.values()), *bench.tokens(TASKS), *bench.replies(TASKS)]
    forget(folder)
    return found
