"""Requests about what the Shapes world does not show: replies do what the words say."""

from __future__ import annotations

import numpy as np

from train.data.layout import messages
from train.data.sample import Sample
from train.data.shapes import tasks
from train.data.shapes.unfamiliar import NOTHING
from vitron.guide import possible_modules
from vitron.invocation import parse_reply
from vitron.types import Module

SAMPLES = [tasks.build("unfamiliar", "train", index) for index in range(150)]
EDITS = {"recolor", "remove", "replace", "background", "add"}


def invocation(sample: Sample):  # type: ignore[no-untyped-def]
    return parse_reply(sample.turns[-1].text).invocation


def test_samples_can_be_made_again_and_differ() -> None:
    again = tasks.build("unfamiliar", "train", 7)
    assert again.turns == SAMPLES[7].turns
    media = zip((*again.images, *again.clips), (*SAMPLES[7].images, *SAMPLES[7].clips), strict=True)
    assert all(np.array_equal(a, b) for a, b in media)
    assert len({sample.turns[0].text for sample in SAMPLES}) > 140
    assert tasks.build("unfamiliar", "test", 7).turns != SAMPLES[7].turns


def test_the_medium_decides_which_module_is_called() -> None:
    seen = set()
    for sample in SAMPLES:
        made = invocation(sample)
        assert bool(sample.images) != bool(sample.clips)
        assert (made is not None) == sample.turns[-1].invokes == (sample.condition_text is not None)
        if made is None:
            continue
        assert made.module in possible_modules(messages(sample)[:-1])
        assert (made.module in (Module.IMAGE_EDITING, Module.VIDEO_EDITING)) == (sample.target["kind"] in EDITS)
        assert all((region.span is not None) == bool(sample.clips) for region in made.regions)
        seen.add(made.module)
    assert len(seen) == 4


def test_the_reply_names_what_the_user_named() -> None:
    for sample in SAMPLES:
        made = invocation(sample)
        if made is None or sample.target["kind"] not in ("segment", "remove"):
            continue
        noun = made.instruction.removeprefix("segmentation: ").removeprefix("edit: remove the ")
        assert noun in sample.turns[0].text.lower()


def test_a_mark_lies_on_what_the_regions_say() -> None:
    marked = [sample for sample in SAMPLES if sample.marks]
    assert len(marked) > 15
    for sample in marked:
        assert "<region>" in sample.turns[0].text
        if sample.target["mark_frame"] == 0:
            x1, y1, x2, y2 = (round(64 * value) for value in invocation(sample).regions[0].box)
            assert sample.marks[0][1][max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3].any()


def test_questions_are_answered_by_there_being_no_shapes() -> None:
    answers = {s.target["kind"]: s.turns[-1].text for s in SAMPLES if not s.turns[-1].invokes}
    assert answers == {"caption": NOTHING, "count": "zero", "exists": "no"}


def test_media_have_many_colours_and_soft_edges() -> None:
    shapes = tasks.build("caption", "train", 0).images[0]
    colours = [len(np.unique(image.reshape(-1, 3) // 8, axis=0)) for sample in SAMPLES for image in sample.images]
    assert np.median(colours) > 2 * len(np.unique(shapes.reshape(-1, 3) // 8, axis=0))


def test_clips_have_the_usual_lengths() -> None:
    assert {len(clip) for sample in SAMPLES for clip in sample.clips} == {8, 12, 16}
