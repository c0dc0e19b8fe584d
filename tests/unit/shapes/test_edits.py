"""Edits of pictures, requests for them, and requests about what was made before."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from train.data.layout import messages
from train.data.shapes import dialogues, edited_motion, edits, tasks
from train.data.shapes.edit_invocations import FULL
from train.data.shapes.render import amodal_masks, masks, render
from train.data.shapes.scene import HELD_OUT, scene_at, scene_rng, well_formed
from vitron.invocation import parse_reply
from vitron.types import Module

INDICES = range(40)


def made(kind: str, split: str = "train") -> list[tuple[int, edits.Edit]]:
    found = [(i, edits.edit(scene_at(split, i), scene_rng(split, i, 0, 77), split, kind)) for i in INDICES]
    return [(i, edit) for i, edit in found if edit is not None]


@pytest.mark.parametrize("kind", edits.EDITS)
def test_an_edit_changes_what_it_says_and_nothing_else(kind: str) -> None:
    assert len(made(kind)) > 10
    for i, edit in made(kind):
        before, after = scene_at("train", i), edit.scene
        assert well_formed(after.objects)
        changed = (render(before) != render(after)).any(axis=2)
        assert changed.any()
        touched = np.zeros_like(changed)
        if edit.target is not None:
            touched |= amodal_masks(before)[edit.target]
        if edit.result is not None:
            touched |= amodal_masks(after)[edit.result]
        if kind == "background":
            touched = ~masks(before).any(axis=0)
        stray = changed & ~binary_dilation(touched, iterations=2)
        assert stray.sum() <= 2  # edges are smooth, and the tips of stars thinner than a pixel


def test_training_edits_make_no_held_out_pair() -> None:
    for kind in ("recolor", "replace", "add"):
        for _, edit in made(kind):
            new = edit.scene.objects[edit.result]
            assert (new.color, new.shape) not in HELD_OUT


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="recolor"):
        edits.edit(scene_at("train", 0), scene_rng("train", 0), "train", "sharpen")


def test_regions_of_an_edit_say_where_and_what_will_be_there() -> None:
    kinds = set()
    for index in INDICES:
        sample = dialogues.build("image_edit", "test", index)
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None and invocation.module is Module.IMAGE_EDITING
        kind, labels = sample.target["kind"], [region.label for region in invocation.regions]
        kinds.add(kind)
        if kind == "background":
            assert invocation.regions[0].box == FULL and labels[0] == f"{sample.target['background']} background"
            assert len(labels) == 1 + len(sample.target["required"])
        else:
            assert (labels[0] == "background") == (kind in ("remove", "move"))
            assert len(labels) == (2 if kind == "move" else 1)
    assert kinds == set(edits.EDITS)


@pytest.mark.parametrize("task", ["follow_up", "video_follow_up"])
def test_what_is_asked_about_earlier_media_is_learned_and_the_history_is_not(task: str) -> None:
    for index in INDICES:
        sample = tasks.build(task, "train", index)
        turns = messages(sample)
        assert [turn.learned for turn in turns] == [True, False, True, True]
        assert "<Module>" not in turns[1].text
        assert len(turns[2].images) + len(turns[2].clips) == 1
        for region in turns[2].regions:
            assert region.clip == 0 or region.image == len(sample.images) - 1


def test_a_session_shows_one_medium_that_was_made_and_one_of_the_users() -> None:
    asked = set()
    for index in range(60):
        sample = tasks.build("session", "train", index)
        turns = messages(sample)
        assert [turn.learned for turn in turns if turn.role == "assistant"][:-1] == [False] * (len(turns) // 2 - 1)
        assert not any("<Module>" in turn.text for turn in turns[:-1])
        assert len(turns[2].images) == len(turns[2].clips) == 1
        assert all(region.clip is None for turn in turns for region in turn.regions)
        asked.add((sample.target["task"], len(turns)))
    assert {("image_edit", 4), ("image_to_video", 6), ("image_to_video", 4), ("video_edit", 4)} <= asked


def test_the_words_of_a_session_decide_between_its_media() -> None:
    named = {"image_edit": ("picture", "image"), "video_edit": ("video", "clip", "frame")}
    said = set()
    for index in range(80):
        sample = tasks.build("session", "train", index)
        words = sample.turns[-2].text.rpartition("\n")[2]
        mentions = {task for task, names in named.items() if any(name in words for name in names)}
        if sample.target["task"] in named and mentions:
            assert mentions == {sample.target["task"]}, words
            invocation = parse_reply(sample.turns[-1].text).invocation
            assert invocation is not None
            wanted = Module.IMAGE_EDITING if mentions == {"image_edit"} else Module.VIDEO_EDITING
            assert invocation.module is wanted
            said.add((wanted, sample.turns[-2].text.startswith("<video>")))
    assert len(said) == 4  # each medium, whichever of them was made


def test_what_was_edited_is_what_moves() -> None:
    shares, on_the_edit = [], []
    for index in range(40):
        sample = edited_motion.build("train", index, 0, scene_rng("train", index, 0, 7))
        before, after = sample.images
        changed = (before != after).any(axis=2)
        shares.append(changed.mean())
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None and invocation.module is Module.VIDEO_GENERATION
        x1, y1, x2, y2 = (round(64 * value) for value in invocation.regions[0].box)
        on_the_edit.append(changed[y1:y2, x1:x2].mean() > 0.3)
        words = [turn.text for turn in sample.turns]
        assert [number for number, _ in sample.marks] == [0] * ("<region>" in words[0]) + [1] * ("<region>" in words[2])
    assert 0 < np.median(shares) < 0.2  # the second picture is the first one, edited
    assert np.mean(on_the_edit) > 0.5


def test_the_same_index_gives_the_same_follow_up() -> None:
    first, second = (tasks.build("follow_up", "val", 3) for _ in range(2))
    assert first.turns == second.turns and all(
        np.array_equal(a, b) for a, b in zip(first.images, second.images, strict=True)
    )
