"""How a step of the LLM's training becomes a recipe: what all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from torch import nn

from train.data.collate import Collator
from train.recipe import Build, Job, Recipe
from train.recipes.language_data import Batches, Plan, told
from train.recipes.language_objective import Conversations
from train.recipes.language_scores import (
    HeldOut,
    answer,
    draw_pictures,
    probe_scores,
    reply_scores,
    score_of,
    signal_scores,
    token_scores,
)
from train.recipes.parts import (
    LanguageSide,
    Learns,
    language_rates,
    open_generator,
    open_language_side,
    open_segmenter,
    open_video_generators,
)
from train.recipes.reply_pictures import Answered, draw_replies
from train.recipes.teachers import GenerationTeacher, SegmentationTeacher, SpecialistTeacher, Teacher
from train.recipes.unseen_pairs import UnseenPairs
from train.settings import Settings
from vitron.config import VitronConfig
from vitron.llm.synergy import TaskDiscriminator
from vitron.presets import preset as find_preset
from vitron.specialists.gligen import Gligen
from vitron.types import Module

ADAM_NAMES = (
    "lm_head",
    "projector",
    "signal_head",
    "output.",
    "queries",
    "geometry.0",
    "video_projector",
    "discriminator",
)
"""First and last layers stay with AdamW; so does the discriminator, whose game momentum would turn in circles."""
Taught = Literal["no", "distance", "specialists"]
INVOKING = ("generate", "generate_like", "segment_text", "segment_mark", "segment_reference", "image_edit")
"""Requests on pictures that end in an invocation."""
CLIP_INVOKING = ("track_text", "track_mark", "video_generate", "image_to_video", "video_edit")
"""Those on clips."""
DISCRIMINATOR_RATE = 5.0
"""Factor in presets without LoRA: it starts from nothing in a run of few steps at a trained LLM's rate."""
STEADY = frozenset({"language_model", "lora"})
"""Parts that every micro-batch runs: one without pictures has no use for the rest."""
REPLIES = 64
"""Held-out samples of a task in one validation."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One of the paper's seven steps.

    Attributes:
        name, about: of the recipe.
        plan: what it sees.
        learns: what learns of the language side.
        tiny, full: numbers for a preset that trains its own LLM, and for one with LoRA (paper Appendix C).
        checked: tasks of which the validation reports token accuracy.
        own: tasks that the step is about: their replies are scored, and rank its checkpoints.
        signals: whether the signal embedding is taught: never, its distances alone, or by the specialists as well. A
            tiny LLM that learns as a whole would forget it, so there `signals_tiny` holds instead.
        adversary: whether v^s unlearns the task: no discriminator, one that only watches, or the full game.
    """

    name: str
    about: str
    plan: Plan
    learns: Learns
    tiny: Settings
    full: Settings
    checked: tuple[str, ...]
    own: tuple[str, ...] = ()
    signals: Taught = "no"
    signals_tiny: Taught = "distance"
    adversary: Literal["no", "watches", "full"] = "no"

    def taught(self, config: VitronConfig) -> Taught:
        """Return whether the signal embedding is taught in a preset."""
        return self.signals if config.language.lora_rank else self.signals_tiny


def recipe_of(preset: str, step: Step) -> Recipe:
    """Return a step as a recipe for a preset."""
    config = find_preset(preset)
    return Recipe(
        name=step.name,
        about=step.about if config.language.lora_rank else f"{step.about}; the LLM, not pre-trained, learns as a whole",
        preset=preset,
        settings=step.full if config.language.lora_rank else step.tiny,
        make=partial(make_job, step),
        rates=rates_of(step, config),
    )


def rates_of(step: Step, config: VitronConfig) -> dict[str, float]:
    """Return the factor on the learning rates of every part; 0: frozen."""
    rates = language_rates(config, step.learns)
    taught = step.taught(config)
    if taught != "no":
        rates |= {"clip_text": 0.0, "gligen_projection": 1.0, "seem": 0.0, "seem_projection": 1.0}
        rates |= {"zeroscope_projection": 1.0, "i2vgen_projection": 1.0}
    if taught == "specialists":
        rates |= {"gligen_vae": 0.0, "gligen_unet": 0.0}
    if step.adversary != "no":
        rates["discriminator"] = 1.0 if config.language.lora_rank else DISCRIMINATOR_RATE
    return rates


def make_job(step: Step, build: Build) -> Job:
    """Build and load the parts of a step, and join them with its data and scores."""
    new: set[str] = set()
    side = open_language_side(build, step.learns, new)
    parts, teachers, gligen = _teachers(step, build, new)
    parts = {**side.parts, **parts}
    discriminator = None
    if step.adversary != "no":
        discriminator = TaskDiscriminator(build.config.synergy, build.config.signal, len(Module))
        parts["discriminator"] = discriminator
        new.add("discriminator")
    whole = step.taught(build.config) == "specialists"
    collate = Collator(build.config, side.tokenizer, taught=max(1, build.settings.micro_batch // 4) if whole else 0)
    batches = Batches(step.plan, build.settings, collate)
    objective = Conversations(
        parts,
        side,
        teachers,
        discriminator,
        # Other data sets may well ask for what the Shapes world holds back.
        unseen=UnseenPairs(side.tokenizer) if batches.only_shapes else None,
        adversarial=step.adversary == "full",
        # An LLM that learns as a whole unlearns to invoke before v^s unlearns the task (docs/decisions.md).
        whole=bool(build.config.language.lora_rank),
    )
    objective.to(build.device)
    scores = Scores(step, build, side, objective)
    return Job(
        objective=objective,
        batches=batches,
        validate=scores,
        score="score",
        draw=partial(scores.draw, gligen if whole else None),
        adam_names=ADAM_NAMES,
        occasional=frozenset(parts) - STEADY,
        new=frozenset(new),
        notes=told(batches.mixture),
    )


def _teachers(
    step: Step, build: Build, new: set[str]
) -> tuple[dict[str, nn.Module], dict[str, Teacher], Gligen | None]:
    if step.taught(build.config) == "no":
        return {}, {}, None
    gligen, drawing = open_generator(build, new)
    seem, segmenting = open_segmenter(build, new)
    wanted = rates_of(step, build.config)
    filming, conditions = open_video_generators(build, gligen, new)
    parts = {name: part for name, part in {**drawing, **segmenting, **filming}.items() if name in wanted}
    teachers: dict[str, Teacher] = {
        "gligen": GenerationTeacher(gligen),
        "seem": SegmentationTeacher(seem),
        **conditions,
    }
    return parts, teachers, gligen


class Scores:
    """The validation of a step."""

    def __init__(self, step: Step, build: Build, side: LanguageSide, objective: Conversations) -> None:
        self.step, self.build, self.side, self.objective = step, build, side, objective
        self.taught = step.taught(build.config)
        invoking = (*INVOKING, *CLIP_INVOKING) if self.taught != "no" else ()
        tasks = dict.fromkeys((*step.checked, *step.own, *invoking))
        count = build.settings.measured(REPLIES)
        collate = Collator(build.config, side.tokenizer, taught=count if self.taught == "specialists" else 0)
        self.held = HeldOut(tuple(tasks), count, collate, build.device)
        self.answered: dict[str, list[Answered]] = {}

    def __call__(self) -> Mapping[str, float]:
        """Return all metrics, and as "score" what ranks checkpoints: higher is better."""
        step, seed = self.step, self.build.settings.seed
        metrics = token_scores(self.objective, self.held)
        # The engine needs whole weights, which workers of the other strategies do not hold between steps.
        if step.own and self.build.settings.strategy == "ddp":
            self.answered = answer(self.build.config, self.side, self.held, step.own)
            metrics |= reply_scores(self.answered)
        if self.taught != "no":
            metrics |= signal_scores(self.objective, self.held, (*INVOKING, *CLIP_INVOKING))
        if step.adversary != "no":
            metrics |= probe_scores(self.objective, self.held, (*INVOKING, *CLIP_INVOKING), seed)
        return {**metrics, "score": self._score(metrics)}

    def draw(self, gligen: Gligen | None, folder: Path) -> None:
        """Draw what was replied in the validation just made, and what held-out messages ask a generator for."""
        if self.answered:
            draw_replies(self.answered, folder / "replies.png")
        if gligen is None:
            return
        for task in ("generate", "generate_like"):
            draw_pictures(self.objective, gligen, self.held, task, folder / f"{task}.png")

    def _score(self, metrics: Mapping[str, float]) -> float:
        if self.step.own:
            kind = "right" if self.build.settings.strategy == "ddp" else "tokens"
            return score_of(metrics, [f"{task}_{kind}" for task in self.step.own])
        # Both specialists' own losses, weighed as they are trained.
        lost = [weight * metrics[name] for name, weight in _signal_weights(self.objective).items()]
        return -sum(lost)


def _signal_weights(objective: Conversations) -> dict[str, float]:
    teachers = objective.teachers.values()
    return {teacher.loss_name: teacher.weight for teacher in teachers if isinstance(teacher, SpecialistTeacher)}
