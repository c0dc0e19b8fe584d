"""Dialogues about clips: reproducible, well-formed for the prompt writer, and true to their clip."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.unit.shapes.clip_facts import direction
from train.data.sample import Sample
from train.data.shapes.clip_dialogues import PACKED_TASKS, TASKS, build, mixed, packed
from train.data.shapes.motion import clip_at
from train.data.shapes.render import masks
from train.data.shapes.render_clip import film, render_clip
from train.data.shapes.scene import HELD_OUT
from vitron.invocation import parse_groundings, parse_reply
from vitron.types import Module

COUNT = 40
MODULES = {
    "track_text": Module.VIDEO_SEGMENTATION,
    "track_mark": Module.VIDEO_SEGMENTATION,
    "video_generate": Module.VIDEO_GENERATION,
    "image_to_video": Module.VIDEO_GENERATION,
    "video_edit": Module.VIDEO_EDITING,
}


@cache
def samples(task: str) -> list[Sample]:
    return [build(task, "train", i) for i in range(COUNT)]


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_depends_on_task_split_index_and_seed_alone(task: str) -> None:
    first, second = build(task, "val", 3, seed=5), build(task, "val", 3, seed=5)
    assert (first.id, first.turns, first.condition_text) == (second.id, second.turns, second.condition_text)
    for a, b in zip([*first.clips, *first.images], [*second.clips, *second.images], strict=True):
        assert np.array_equal(a, b)
    for (i, a), (j, b) in zip(first.marks, second.marks, strict=True):
        assert i == j and np.array_equal(a, b)
    assert build(task, "val", 4, seed=5).turns != first.turns


@pytest.mark.parametrize("task", TASKS)
def test_placeholders_match_clips_pictures_and_marks(task: str) -> None:
    for sample in samples(task):
        user = sample.turns[0].text
        assert [turn.role for turn in sample.turns] == ["user", "assistant"]
        assert user.startswith("<image>\n" * len(sample.images) + "<video>\n" * len(sample.clips))
        assert user.count("<video>") == len(sample.clips) == (task not in ("video_generate", "image_to_video"))
        assert user.count("<image>") == len(sample.images) == (task == "image_to_video")
        assert user.count("<region>") == len(sample.marks)
        for index, mask in sample.marks:
            assert index == 0 and mask.dtype == np.bool_ and mask.any()


@pytest.mark.parametrize("task", TASKS)
def test_only_invoking_tasks_end_in_a_parsable_invocation_of_their_module(task: str) -> None:
    for sample in samples(task):
        parsed = parse_reply(sample.turns[-1].text)
        assert sample.turns[-1].invokes == (task in MODULES)
        assert (parsed.invocation.module if parsed.invocation else None) == MODULES.get(task)
        assert (sample.condition_text is not None) == (task in MODULES)
        assert parsed.text


@pytest.mark.parametrize("task", TASKS)
def test_training_never_names_or_shows_a_held_out_pair(task: str) -> None:
    for sample in samples(task):
        texts = [turn.text.lower() for turn in sample.turns] + [sample.condition_text or ""]
        assert not [pair for pair in HELD_OUT for text in texts if " ".join(pair) in text]
        for wanted in sample.target.get("required", ()):
            assert (wanted["color"], wanted["shape"]) not in HELD_OUT


def test_the_clip_is_the_one_of_its_number_where_it_lends_itself() -> None:
    for i, sample in enumerate(samples("video_caption")):
        assert np.array_equal(sample.clips[0], render_clip(clip_at("train", i)))


def test_a_track_is_answered_with_the_box_of_its_first_frame_and_all_its_runs() -> None:
    two = 0
    for sample in samples("video_grounding"):
        found, target = parse_groundings(sample.turns[1].text), sample.target
        assert [g.span for g in found] == list(target["spans"])
        for g in found:
            assert g.span is not None
            assert np.allclose(g.box, target["track"][g.span[0]], atol=0.0051)
        seen = target["track"].any(axis=1)
        assert sum(end - start + 1 for start, end in target["spans"]) == seen.sum()
        two += len(found) > 1
    assert two


def test_a_marked_object_is_the_one_that_is_tracked() -> None:
    frames = set()
    for sample in samples("track_mark"):
        frame = sample.target["mark_frame"]
        frames.add(frame)
        assert (sample.marks[0][1] & sample.target["masks"][frame]).any()
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None
        assert [region.span for region in invocation.regions] == list(sample.target["spans"])
    assert len(frames) > 4


def test_an_instruction_says_less_than_the_condition() -> None:
    for sample in samples("track_text") + samples("track_mark"):
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None and sample.condition_text is not None
        noun = invocation.instruction.removeprefix("segmentation: ")
        assert len(noun.split()) <= 2 < len(sample.condition_text.split())
        assert set(noun.split()) - {"object"} <= set(sample.condition_text.split())


def test_grounded_answers_locate_before_they_answer() -> None:
    for sample in samples("grounded_video_qa"):
        located, said = sample.turns[1].text.rsplit(", so the answer is ", 1)
        assert said == f"{sample.target['answer']}."
        assert len(parse_groundings(located)) == sum(len(runs) for runs in sample.target["spans"])
        if sample.target["kind"] in ("color", "shape"):
            assert sample.target["answer"] not in located


def test_the_box_in_a_frame_is_that_of_an_object_there() -> None:
    frames = set()
    for i, sample in enumerate(samples("video_place")):
        shown, frame = film(clip_at("train", i)), sample.target["frame"]
        if not np.array_equal(shown.frames, sample.clips[0]):
            continue  # nothing could be asked of that one
        user, last = sample.turns[0].text.lower(), shown.clip.frames - 1
        named = {"the first frame": 0, "the last frame": last}
        said = [number for words, number in named.items() if words in user]
        assert said == [frame] or f"frame {frame}" in user
        (box,) = parse_groundings(sample.turns[1].text)
        there = [shown.box(k, frame) for k in np.flatnonzero(shown.seen[:, frame])]
        assert box.span is None and any(np.allclose(box.box, each, atol=0.006) for each in there)
        frames.add(frame)
    assert len(frames) > 6


def test_questions_of_motion_are_answered_by_where_something_goes_or_is() -> None:
    kinds = {sample.target["kind"] for sample in samples("video_motion")}
    assert kinds == {"direction", "which_moves", "start", "end"}


def test_a_conversation_does_not_ask_again_what_was_answered_in_other_words() -> None:
    for i in range(20):
        made = packed("train", i, 8, tasks=("video_motion",))
        said = [(target["kind"], target["answer"]) for target in made.target["targets"]]
        assert len(set(said)) == len(said)


def test_grounded_captions_hold_every_object() -> None:
    for i, sample in enumerate(samples("video_grounded_caption")):
        found = parse_groundings(sample.turns[1].text)
        assert len(found) == sum(len(runs) for runs in sample.target["spans"])
        assert len(sample.target["labels"]) == len(clip_at("train", i).movers)


def test_an_animated_picture_is_the_first_frame_and_the_named_object_moves() -> None:
    for sample in samples("image_to_video"):
        clip, target = sample.target["clip"], sample.target
        assert np.array_equal(sample.images[0], clip[0])
        assert len(clip) in (8, 12, 16)
        assert target["required"][target["index"]]["direction"] == target["direction"] != "still"
        others = [w for k, w in enumerate(target["required"]) if k != target["index"]]
        assert all(w["direction"] == "still" for w in others)
        assert len(np.unique(clip.reshape(len(clip), -1), axis=0)) > 2


def test_a_mark_on_a_picture_is_on_the_object_that_moves() -> None:
    marked = [s for s in samples("image_to_video") if s.marks]
    assert marked
    for sample in marked:
        clip = sample.target["clip"]
        moved = (clip != clip[0]).any(axis=(0, 3))
        assert (sample.marks[0][1] & moved).any()


def test_an_edit_says_where_pixels_may_change() -> None:
    kinds = set()
    for sample in samples("video_edit"):
        kinds.add(sample.target["kind"])
        after, allowed = sample.target["clip"], sample.target["changed"]
        assert np.array_equal(sample.clips[0][~allowed], after[~allowed])
        assert allowed.any() or sample.target["kind"] == "remove"
    assert kinds == {"recolor", "remove", "replace", "background", "add"}


def test_generated_clips_have_at_most_two_objects_and_what_was_asked() -> None:
    for sample in samples("video_generate"):
        assert 1 <= len(sample.target["required"]) <= 2
        assert sample.target["clip"].shape[1:] == (64, 64, 3)


def test_frames_fix_the_length() -> None:
    for task in TASKS:
        sample = build(task, "train", 1, frames=8)
        assert len((*sample.clips, sample.target.get("clip"))[0]) == 8


def test_a_packed_conversation_talks_about_one_clip_in_order() -> None:
    for i in range(25):
        sample = packed("train", i, 5)
        users = [turn.text for turn in sample.turns[::2]]
        assert 1 <= len(users) <= 5 and len(sample.clips) == 1
        assert sum(text.count("<video>") for text in users) == 1 and users[0].startswith("<video>\n")
        assert tuple(turn.text for turn in sample.turns[1::2]) == sample.target["answers"]
        assert not any(turn.invokes for turn in sample.turns)
        assert set(sample.target["tasks"]) <= set(PACKED_TASKS)


def test_user_wordings_are_varied() -> None:
    for task in ("track_mark", "video_generate", "video_grounding", "video_edit"):
        assert len({sample.turns[0].text for sample in samples(task)}) >= 0.9 * COUNT


def test_a_mixture_draws_only_tasks_with_weight() -> None:
    tasks = {mixed("train", i, {"video_qa": 1.0, "track_text": 3.0, "video_edit": 0.0}).task for i in range(20)}
    assert tasks == {"video_qa", "track_text"}


def test_unknown_tasks_and_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="task is 'dance'"):
        build("dance", "train", 0)
    with pytest.raises(ValueError, match="weights are"):
        mixed("train", 0, {"video_qa": 0.0})
    with pytest.raises(ValueError, match=r"tasks are \['track_mark'\]"):
        packed("train", 0, 2, tasks=("track_mark",))
    with pytest.raises(ValueError, match="n_turns"):
        packed("train", 0, 0)


def test_the_yardstick_itself_tells_directions_apart() -> None:
    from train.data.shapes.scene import scene_at

    still = masks(scene_at("train", 0))[:1]
    assert direction(np.concatenate([still, still])) == "still"
    assert direction(np.concatenate([np.roll(still, -3, axis=2), np.roll(still, 1, axis=2)])) == "right"
