"""The temporal mean of a clip's frames, as in the paper, against the mean and tokens of every frame.

Both runs train step 2.2 from the same weights with the same samples. What only clips need (`VideoProjector`) begins
anew in both, without motion vectors, which the mean cannot have.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from train.ablations.measure import Bench
from train.ablations.runs import cost, forget, short, train
from train.ablations.study import Measured, Options, Part, Say
from train.recipe import Build, Job, Recipe
from train.recipes import find
from vitron.config import VideoConfig
from vitron.encoders.video_projector import PART
from vitron.weights import Weights

NAME = "frames"
ABOUT = "the temporal mean of clips against the mean and tokens of every frame"
TRAINS = True
MEAN, FRAMES = "mean", "mean and frames"
VARIANTS: dict[str, dict[str, bool]] = {
    MEAN: {"frame_tokens": False, "frame_squares": False, "frame_motion": False, "motion_field": False},
    FRAMES: {"motion_field": False},
}
"""Variant -> what it changes in `VideoConfig`."""
TASKS = ("video_grounding", "video_grounded_caption", "video_qa", "grounded_video_qa", "video_caption")
RECIPE = "video-grounding"
STEPS, BATCH = 160, 15
"""Training steps at budget 1, and samples of a step."""


class _Anew(Weights):
    """Weights that know no clips."""

    def has(self, part: str) -> bool:
        return part != PART and super().has(part)


def recipe(preset: str, variant: str, *, anew: bool) -> Recipe:
    """Return step 2.2 with the variant's view of clips.

    Args:
        preset: whose.
        variant: one of `VARIANTS`.
        anew: whether what only clips need begins anew.
    """
    whole = find(RECIPE, preset)

    def make(build: Build) -> Job:
        video: VideoConfig = replace(build.config.video, **VARIANTS[variant])
        weights = _Anew(build.weights.folder) if anew else build.weights
        return whole.make(build._replace(config=replace(build.config, video=video), weights=weights))

    return replace(whole, make=make)


def parts(options: Options, say: Say) -> list[Part]:
    """Return both runs of every seed."""
    return [
        Part(variant, seed, partial(_measure, variant, options, seed, say))
        for seed in options.seeds
        for variant in VARIANTS
    ]


def _measure(variant: str, options: Options, seed: int, say: Say) -> list[Measured]:
    settings = short(find(RECIPE, options.preset), options, seed, steps=STEPS, batch=BATCH)
    folder = options.work / NAME / f"{variant.replace(' ', '-')}-{seed}"
    weights = train(recipe(options.preset, variant, anew=True), settings, options.start, folder, say)
    bench = Bench(recipe(options.preset, variant, anew=False), weights, options.n, seed)
    found = [*cost(settings), *bench.tokens(TASKS), *bench.replies(TASKS)]
    forget(folder)
    return found
