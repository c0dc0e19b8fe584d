"""Dialogues: reproducible, well-formed for the prompt writer, and true to their scene."""

from __future__ import annotations

import numpy as np
import pytest

from train.data.sample import Sample
from train.data.shapes.dialogues import TASKS, build, mixed, packed
from train.data.shapes.render import mask_box, masks
from train.data.shapes.scene import HELD_OUT, scene_at
from vitron.invocation import parse_boxes, parse_reply
from vitron.types import Module

COUNT = 60
INVOKING = ("generate", "generate_like", "segment_text", "segment_mark", "segment_reference", "image_edit")


def samples(task: str, split: str = "train", count: int = COUNT) -> list[Sample]:
    return [build(task, split, i) for i in range(count)]


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_depends_on_task_split_index_and_seed_alone(task: str) -> None:
    first, second = build(task, "val", 3, seed=5), build(task, "val", 3, seed=5)
    assert first.id == second.id and first.turns == second.turns
    assert first.condition_text == second.condition_text
    for a, b in zip(first.marks, second.marks, strict=True):
        assert a[0] == b[0] and np.array_equal(a[1], b[1])


@pytest.mark.parametrize("task", TASKS)
def test_placeholders_match_pictures_and_marks(task: str) -> None:
    for sample in samples(task):
        user, assistant = sample.turns
        assert (user.role, assistant.role) == ("user", "assistant")
        assert user.text.count("<image>") == len(sample.images)
        assert user.text.startswith("<image>\n" * len(sample.images))
        assert user.text.count("<region>") == len(sample.marks)
        for index, mask in sample.marks:
            assert index < len(sample.images) and mask.dtype == np.bool_ and mask.any()


@pytest.mark.parametrize("task", TASKS)
def test_only_invoking_tasks_end_in_a_parsable_invocation(task: str) -> None:
    for sample in samples(task):
        parsed = parse_reply(sample.turns[-1].text)
        invokes = task in INVOKING
        assert sample.turns[-1].invokes == invokes
        assert (parsed.invocation is not None) == invokes
        assert (sample.condition_text is not None) == invokes
        assert parsed.text


def test_a_segmentation_names_only_the_kind_and_leaves_the_rest_to_the_condition() -> None:
    for sample in samples("segment_text") + samples("segment_mark"):
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None and invocation.module is Module.IMAGE_SEGMENTATION
        noun = invocation.instruction.removeprefix("segmentation: ")
        assert len(noun.split()) <= 2
        assert sample.condition_text is not None
        assert set(noun.split()) - {"object"} <= set(sample.condition_text.split())
        assert len(sample.condition_text.split()) > 3


def test_a_marked_object_is_the_one_segmented() -> None:
    for sample in samples("segment_mark"):
        mask = sample.target["mask"]
        drawn = sample.marks[0][1]
        assert (drawn & mask).any()
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None
        assert np.allclose(invocation.regions[0].box, sample.target["box"], atol=0.0051)


def test_a_reference_has_two_pictures_and_its_answer_in_the_second() -> None:
    for sample in samples("segment_reference"):
        assert len(sample.images) == 2
        assert sample.marks[0][0] == 0 and sample.target["image_index"] == 1


def test_a_generation_request_asks_for_what_the_reference_picture_shows() -> None:
    for sample in samples("generate"):
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None and invocation.module is Module.IMAGE_GENERATION
        asked = invocation.instruction.removeprefix("generation: ")
        assert asked.lower() in sample.turns[0].text.lower()
        assert sample.condition_text is not None
        for wanted in sample.target["required"]:
            for word in wanted.values():
                assert word in sample.condition_text
        has_size = any(s in sample.condition_text.split() for s in ("small", "large"))
        assert has_size == ("size" in sample.target["required"][0])


def test_a_generation_request_is_answered_with_a_layout_of_its_objects() -> None:
    for index, sample in enumerate(samples("generate")):
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None
        scene = scene_at("train", index)
        assert len(invocation.regions) == len(sample.target["required"]) == len(scene.objects)
        visible = [mask_box(mask) for mask in masks(scene)]
        for planned, wanted in zip(invocation.regions, sample.target["required"], strict=True):
            assert planned.label.split() == [wanted[k] for k in ("size", "color", "shape") if k in wanted]
            fitting = [
                box
                for box, obj in zip(visible, scene.objects, strict=True)
                if (obj.color, obj.shape) == (wanted["color"], wanted["shape"])
            ]
            assert any(np.allclose(planned.box, box, atol=0.0051) for box in fitting)


def test_what_a_picture_is_to_be_like_is_not_given_away_by_a_layout() -> None:
    for sample in samples("generate_like"):
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None and not invocation.regions


def test_another_like_it_says_what_only_in_the_condition() -> None:
    instructions = set()
    for sample in samples("generate_like"):
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None
        instructions.add(invocation.instruction)
        assert sample.condition_text is not None
        assert all(word in sample.condition_text for wanted in sample.target["required"] for word in wanted.values())
    assert "generation: another one like it" in instructions


def test_training_never_draws_a_held_out_pair() -> None:
    for sample in samples("generate_like", count=150):
        for wanted in sample.target["required"]:
            assert (wanted["color"], wanted["shape"]) not in HELD_OUT


def test_an_expression_is_answered_by_the_box_of_its_target() -> None:
    for sample in samples("rec"):
        assert np.allclose(parse_boxes(sample.turns[1].text)[0], sample.target["box"], atol=0.0051)


def test_user_wordings_are_varied() -> None:
    for task in ("segment_mark", "generate", "generate_like", "rec"):
        texts = {sample.turns[0].text for sample in samples(task)}
        assert len(texts) >= 0.95 * COUNT


def test_a_packed_conversation_talks_about_one_picture_in_order() -> None:
    for i in range(40):
        sample = packed("train", i, 5)
        users = [turn.text for turn in sample.turns[::2]]
        answers = tuple(turn.text for turn in sample.turns[1::2])
        assert 2 <= len(users) <= 5 and len(sample.images) == 1
        assert sum(text.count("<image>") for text in users) == 1 and "<image>" in users[0]
        assert sum(text.count("<region>") for text in users) == len(sample.marks)
        assert answers == sample.target["answers"]


def test_a_mixture_draws_only_tasks_with_weight() -> None:
    tasks = {mixed("train", i, {"vqa": 1.0, "rec": 3.0, "chat": 0.0}).task for i in range(40)}
    assert tasks == {"vqa", "rec"}


def test_unknown_tasks_and_bad_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="task is 'dance'"):
        build("dance", "train", 0)
    with pytest.raises(ValueError, match="weights are"):
        mixed("train", 0, {"vqa": 0.0})
