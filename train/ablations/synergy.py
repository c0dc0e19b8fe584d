"""Tables 2 to 12, "w/o syng.", and the probes: step 3 with its adversary and without, all else equal."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from train.ablations.measure import Bench
from train.ablations.runs import cost, forget, short, train
from train.ablations.served import Requests, executable, open_assistant
from train.ablations.study import Measured, Options, Part, Say
from train.recipes import find
from train.recipes.language_recipe import CLIP_INVOKING, INVOKING
from vitron.weights import Weights

NAME = "synergy"
ABOUT = 'step 3 with and without the adversary ("w/o syng." of Tables 2 to 12), and the probes'
TRAINS = True
VARIANTS = {"with adversary": "synergy", "without adversary": "train.recipes.synergy:synergy_off"}
"""Variant -> its recipe: the discriminator of the second one only watches."""
INVOKES = (*INVOKING, *CLIP_INVOKING)
UNDERSTANDS = (
    "vqa",
    "rec",
    "region_caption",
    "grounded_vqa",
    "video_qa",
    "video_grounding",
    "grounded_video_qa",
)
STEPS, BATCH = 80, 15
"""Training steps at budget 1, and samples of a step."""


def parts(options: Options, say: Say) -> list[Part]:
    """Return both runs of every seed."""
    return [
        Part(name, seed, partial(_measure, name, options, seed, say)) for seed in options.seeds for name in VARIANTS
    ]


def _measure(name: str, options: Options, seed: int, say: Say) -> list[Measured]:
    recipe = find(VARIANTS[name], options.preset)
    settings = short(recipe, options, seed, steps=STEPS, batch=BATCH)
    folder = options.work / NAME / f"{name.replace(' ', '-')}-{seed}"
    weights = train(recipe, settings, options.start, folder, say)
    bench = Bench(recipe, weights, options.n, seed)
    say("measuring tokens, signals and probes")
    everything = (*INVOKES, *UNDERSTANDS)
    found = [*cost(settings), *bench.tokens(everything), *bench.signals(INVOKES), *bench.probes(INVOKES)]
    say("measuring replies")
    found += bench.replies(everything)
    found += _served(options, weights, folder, say) if options.served else []
    forget(folder)
    return found


def _served(options: Options, weights: Weights, folder: Path, say: Say) -> list[Measured]:
    """Have specialists carry out a number of requests: always the same ones, so that both variants answer them."""
    assistant = open_assistant(options.preset, weights, say)
    requests = Requests(assistant, folder / "answers", say)
    return [
        each
        for task in executable(assistant, options.tasks)
        for each in requests.carry_out(task, "hybrid", options.served)
    ]
