"""Requests for pictures and videos of anything: what was said is what is asked for."""

from __future__ import annotations

from train.data.layout import messages
from train.data.sample import Sample
from train.data.shapes import tasks
from train.data.shapes.scene import COLORS, SHAPES
from vitron.guide import possible_modules
from vitron.invocation import parse_reply
from vitron.types import Invocation, Module

SAMPLES = [tasks.build("imagined", "train", index) for index in range(300)]
MODULES = {"picture": Module.IMAGE_GENERATION, "video": Module.VIDEO_GENERATION}


def invocation(sample: Sample) -> Invocation:
    made = parse_reply(sample.turns[-1].text).invocation
    assert made is not None
    return made


def test_samples_can_be_made_again_and_differ() -> None:
    assert tasks.build("imagined", "train", 7).turns == SAMPLES[7].turns
    assert len({sample.turns[0].text for sample in SAMPLES}) > 290
    assert tasks.build("imagined", "test", 7).turns != SAMPLES[7].turns


def test_the_instruction_is_what_was_said_word_for_word() -> None:
    for sample in SAMPLES:
        made = invocation(sample)
        verb, _, said = made.instruction.partition(": ")
        assert verb == "generation"
        assert said.lower() in sample.turns[0].text.lower()
        assert said == sample.condition_text


def test_pictures_and_videos_are_asked_for_without_a_plan() -> None:
    for sample in SAMPLES:
        made = invocation(sample)
        assert made.module == MODULES[sample.target["kind"]]
        assert made.module in possible_modules(messages(sample)[:-1])
        assert not made.regions
    assert {sample.target["kind"] for sample in SAMPLES} == set(MODULES)


def test_no_shape_has_a_colour_so_that_held_out_pairs_stay_unseen() -> None:
    forms = tuple(form for shape in SHAPES for form in (shape, f"{shape}s", f"{shape}es"))
    pairs = [f" {color} {form}" for color in COLORS for form in forms]
    assert not [pair for sample in SAMPLES for pair in pairs if pair in sample.turns[-1].text]
