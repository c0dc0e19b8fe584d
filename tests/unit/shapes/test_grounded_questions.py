"""Questions that are answered after locating: what is located is what the question is about."""

from __future__ import annotations

import numpy as np
import pytest

from train.data.shapes import captions, questions
from train.data.shapes.dialogues import build, packed
from train.data.shapes.questions import QA, number_word
from train.data.shapes.scene import Scene, scene_at
from train.data.shapes.wording import NOTHING_FOUND
from vitron.invocation import parse_groundings

SCENES = [scene_at("train", index) for index in range(150)]


def asked() -> list[tuple[Scene, QA]]:
    rng = np.random.default_rng(0)
    return [(scene, qa) for scene in SCENES for qa in questions.questions(scene, rng, 6)]


def test_what_a_question_is_about_gives_its_answer() -> None:
    kinds = set()
    for scene, qa in asked():
        if qa.about is None:
            assert qa.kind == "background"
            continue
        objects = [scene.objects[i] for i, _ in qa.about]
        kinds.add(qa.kind)
        if qa.kind in ("color", "shape", "size"):
            assert [getattr(obj, qa.kind) for obj in objects] == [qa.answer]
        elif qa.kind == "count":
            assert number_word(len(objects)) == qa.answer
        elif qa.kind == "exists":
            assert bool(objects) == (qa.answer == "yes")
        elif qa.kind == "extreme":
            assert [captions.name(obj) for obj in objects] == [qa.answer]
        elif qa.kind == "same_color":
            assert (objects[0].color == objects[1].color) == (qa.answer == "yes")
        elif qa.kind == "larger":
            assert qa.answer in [name for _, name in qa.about]
    assert kinds >= {"color", "shape", "size", "position", "count", "exists", "neighbour", "extreme", "side", "more"}


def test_names_of_what_is_located_do_not_give_the_attribute_away() -> None:
    for _, qa in asked():
        if qa.kind in ("color", "shape", "size", "position"):
            assert qa.about is not None
            assert not set(qa.answer.split()) & set(qa.about[0][1].split()), qa


@pytest.mark.parametrize("split", ["train", "compositional"])
def test_the_reply_locates_and_then_answers(split: str) -> None:
    nothing = 0
    for index in range(60):
        sample = build("grounded_vqa", split, index)
        located, _, answer = sample.turns[-1].text.partition(", so the answer is ")
        found = parse_groundings(located)
        assert answer == f"{sample.target['answer']}."
        assert tuple(g.label for g in found) == sample.target["labels"]
        assert all(np.allclose(g.box, box, atol=0.0051) for g, box in zip(found, sample.target["boxes"], strict=True))
        if not found:
            assert located == NOTHING_FOUND and sample.target["answer"] in ("no", "zero")
            nothing += 1
    assert 0 < nothing < 20


def test_requests_to_locate_are_worded_in_many_ways_and_fit_into_packed_conversations() -> None:
    users = {build("grounded_vqa", "train", index).turns[0].text for index in range(60)}
    assert len(users) > 55
    sample = packed("train", 3, 4, tasks=("grounded_vqa",))
    assert all(", so the answer is " in turn.text for turn in sample.turns[1::2])
