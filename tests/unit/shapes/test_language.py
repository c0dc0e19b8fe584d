"""Captions, questions, expressions and drawings: true, unambiguous, and inside the object."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.unit.shapes import reading
from train.data.shapes import captions, drawing, questions, referring, region_questions
from train.data.shapes.render import boxes, masks
from train.data.shapes.scene import HELD_OUT, Scene, scene_at
from vitron.invocation import parse_groundings

SCENES = [scene_at("train", i) for i in range(150)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("style", captions.STYLES)
def test_captions_of_every_style_are_true_plain_and_short(style: str) -> None:
    source = rng()
    for scene in SCENES:
        text = captions.caption(scene, source, style)
        assert reading.caption_holds(scene, text), text
        assert text == text.lower() and text.isascii() and len(text.split()) <= 45


def test_the_canonical_caption_names_every_object_with_its_place_and_the_background() -> None:
    for scene in SCENES:
        text = captions.canonical_caption(scene)
        assert reading.caption_holds(scene, text), text
        assert all(captions.full_description(scene, i) in text for i in range(len(scene.objects)))
        assert text.endswith(f"{scene.background.color} background") and len(text.split()) <= 45


def test_captions_vary() -> None:
    source = rng()
    assert len({captions.caption(SCENES[0], source) for _ in range(60)}) > 40


def test_expressions_mean_exactly_their_target() -> None:
    source = rng()
    kinds = set()
    for scene in SCENES:
        for made in referring.expressions(scene, source, 6):
            assert _meant(scene, made.text) == [made.target], made.text
            kinds.add(made.kind)
    assert kinds == {"attributes", "superlative", "relation", "same", "ordinal"}


def _meant(scene: Scene, text: str) -> list[int]:
    """Evaluates an expression of any kind with the independent reader."""
    if found := re.fullmatch(r"the (\w+est|\w+most) (.+)", text):
        return [reading.extreme(scene, reading.meant(scene, found[2]), found[1])]
    if found := re.fullmatch(r"the (first|second|third|fourth) (.+) from the (\w+)", text):
        among = reading.meant(scene, found[2])
        field, sign = {"left": ("x", 1), "right": ("x", -1), "top": ("y", 1), "bottom": ("y", -1)}[found[3]]
        among.sort(key=lambda i: sign * getattr(scene.objects[i], field))
        return [among[("first", "second", "third", "fourth").index(found[1])]]
    if found := re.fullmatch(r"the (?:other )?object (?:with|that has) the same (\w+) as (.+)", text):
        anchors = reading.meant(scene, found[2])
        assert len(anchors) == 1
        value = getattr(scene.objects[anchors[0]], found[1])
        same = [i for i, o in enumerate(scene.objects) if getattr(o, found[1]) == value]
        return [i for i in same if i != anchors[0]]
    sides = r"to the left of|left of|to the right of|right of|above|over|below|under"
    if found := re.fullmatch(rf"(the .+?) ({sides}) (the .+)", text):
        anchors = reading.meant(scene, found[3])
        assert len(anchors) == 1
        standing = reading.standing(scene, found[2], anchors[0])
        return [i for i in reading.meant(scene, found[1]) if i in standing]
    return reading.meant(scene, text)


def test_answers_about_attributes_are_right_by_an_independent_reader() -> None:
    source = rng()
    checked = 0
    for scene in SCENES:
        for qa in questions.questions(scene, source, 6):
            if qa.kind in ("color", "shape", "size"):
                phrase = re.search(r"the (?:small |large )?[\w ]*?(?:object|circle|square|triangle"
                                   r"|star|ring|cross)(?: (?:at|on|in) the (?:top|bottom|left|right"
                                   r"|center)(?: left| right)?)?", qa.question.replace(
                                       f"the {qa.kind} of ", ""))  # fmt: skip
                assert phrase is not None, qa.question
                found = reading.meant(scene, phrase[0])
                assert [getattr(scene.objects[i], qa.kind) for i in found] == [qa.answer], qa
                checked += 1
            elif qa.kind == "background":
                assert qa.answer == scene.background.color
    assert checked > 80


def test_counts_and_existence_agree_with_the_scene() -> None:
    source = rng()
    numbers = ("zero", "one", "two", "three", "four")
    for scene in SCENES:
        for qa in questions.questions(scene, source, 6):
            if qa.kind not in ("count", "exists"):
                continue
            words = re.sub(r"[^a-z ]", "", qa.question).split()
            facts = [re.sub("(?<=cross)es$|(?<!s)s$", "", word) for word in words]
            known = {"small", "large", *_values("color"), *_values("shape")}
            named = {word for word in facts if word in known}
            like = [o for o in scene.objects if named <= {o.size, o.color, o.shape}]
            right = numbers[len(like)] if qa.kind == "count" else ("yes" if like else "no")
            assert qa.answer == right, (qa, named)


def _values(field: str) -> set[str]:
    return {getattr(o, field) for scene in SCENES for o in scene.objects}


def test_yes_and_no_are_about_equally_frequent() -> None:
    source = rng()
    found = [qa for scene in SCENES for qa in questions.questions(scene, source, 4)]
    answers = [qa.answer for qa in found if qa.kind == "exists"]
    assert 0.35 < answers.count("yes") / len(answers) < 0.65


def test_training_questions_never_name_a_held_out_pair() -> None:
    source = rng()
    names = [f"{color} {shape}" for color, shape in HELD_OUT]
    for scene in SCENES:
        for qa in questions.questions(scene, source, 5):
            assert not any(name in qa.question for name in names), qa


def test_region_questions_hold_one_region_and_answer_about_that_object() -> None:
    source = rng()
    for scene in SCENES:
        for i, obj in enumerate(scene.objects):
            for qa in region_questions.region_questions(scene, source, i, 3):
                assert qa.question.count("<region>") == 1
                if qa.kind in ("region_color", "region_shape", "region_size"):
                    assert qa.answer == getattr(obj, qa.kind.removeprefix("region_"))
                elif qa.kind == "region_name":
                    assert qa.answer == f"{obj.color} {obj.shape}"


@pytest.mark.parametrize("kind", drawing.KINDS)
def test_drawings_of_every_kind_lie_on_their_object(kind: str) -> None:
    source = rng()
    for scene in SCENES[:40]:
        for mask in masks(scene):
            drawn = drawing.draw(mask, source, kind)
            assert drawn["kind"] == kind
            area = drawing.rasterize(drawn, 64, 64)
            assert (area & mask).sum() >= 0.3 * area.sum()
            if kind in ("box", "polygon"):
                assert (area & mask).sum() >= 0.7 * mask.sum()


def test_drawing_on_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="mask is empty"):
        drawing.draw(np.zeros((4, 4), dtype=np.bool_), rng())


def test_a_grounded_caption_gives_back_every_name_and_box() -> None:
    for scene in SCENES[:40]:
        exact = boxes(scene)
        text = referring.grounded_caption(scene, exact).split(". ", 1)[1]
        found = parse_groundings(text)
        order = sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].x)
        assert [g.label for g in found] == [captions.name(scene.objects[i]) for i in order]
        assert np.allclose([g.box for g in found], exact[order], atol=0.0051)
