"""Questions about an object that is drawn on, with exactly one right, short answer."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from train.data.shapes import captions, questions, referents, referring
from train.data.shapes.questions import QA
from train.data.shapes.scene import Scene

Rng = np.random.Generator

_NOUNS = ("<region>", "the object <region>", "this object <region>", "the one at <region>")
_NAME = (
    "what is {}?", "what object is {}?", "name {}", "what do you call {}?", "which thing is {}?",
)  # fmt: skip
_CHECK = ("is {} {}?", "would you say {} is {}?", "is it true that {} is {}?")


def region_questions(scene: Scene, rng: Rng, i: int, n: int) -> list[QA]:
    """Up to `n` different questions about object `i`, which is drawn on: "<region>" in the text."""
    return questions.collect(n, rng, [functools.partial(kind, scene, rng, i) for kind in _KINDS])


def _noun(rng: Rng) -> str:
    return _NOUNS[int(rng.integers(len(_NOUNS)))]


def _attribute(attribute: str) -> Callable[[Scene, Rng, int], QA | None]:
    def ask(scene: Scene, rng: Rng, i: int) -> QA | None:
        question = questions.ask_as(attribute, rng, _noun(rng))
        return QA(question, questions.attribute_value(scene, i, attribute), f"region_{attribute}")

    return ask


def _name(scene: Scene, rng: Rng, i: int) -> QA | None:
    form = _NAME[int(rng.integers(len(_NAME)))]
    return QA(form.format(_noun(rng)), captions.name(scene.objects[i]), "region_name")


def _check(scene: Scene, rng: Rng, i: int) -> QA | None:
    """Whether the object is of some class; yes and no equally often."""
    wanted = bool(rng.integers(2))
    for _ in range(12):
        description = questions.random_class(scene, rng)
        if not (description.color or description.shape) or not questions.may_name(scene, description):
            continue
        if description.fits(scene.objects[i], scene) != wanted:
            continue
        phrase = captions.article(description.noun()) if description.shape else description.color
        form = _CHECK[int(rng.integers(len(_CHECK)))]
        return QA(form.format(_noun(rng), phrase), questions.yes_no(wanted), "region_check")
    return None


def _neighbour(scene: Scene, rng: Rng, i: int) -> QA | None:
    relation = questions.RELATIONS[int(rng.integers(len(questions.RELATIONS)))]
    target = referring.related(scene, list(range(len(scene.objects))), relation, i)
    if target is None:
        return None
    answer = captions.name(scene.objects[target])
    return QA(questions.ask_as("neighbour", rng, relation, _noun(rng)), answer, "region_neighbour")


def _same(scene: Scene, rng: Rng, i: int) -> QA | None:
    """How many others share its colour or shape."""
    attribute = ("color", "shape")[int(rng.integers(2))]
    like = referents.select(scene, referents.of(scene, i, (attribute,)))
    question = f"how many other objects have the same {attribute} as {_noun(rng)}?"
    return QA(question, questions.number_word(len(like) - 1), "region_same")


_KINDS: tuple[Callable[[Scene, Rng, int], QA | None], ...] = (
    _attribute("color"), _attribute("shape"), _attribute("size"),
    _attribute("position"), _name, _name, _check, _neighbour,
    _same,
)  # fmt: skip
