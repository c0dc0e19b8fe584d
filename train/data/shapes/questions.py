"""Questions on whole pictures with exactly one right, short answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from train.data.shapes import captions, referents, referring
from train.data.shapes.referents import Description
from train.data.shapes.scene import COLORS, HELD_OUT, SHAPES, SIZES, Scene, position_word

Named = tuple[tuple[int, str], ...]


class QA(NamedTuple):
    """A question, its only right answer, and the kind of question.

    `about` are the objects to look at, each with a name for it that does not give the answer away if the question has
    one; None: the question is about no object.
    """

    question: str
    answer: str
    kind: str
    about: Named | None = None


Rng = np.random.Generator
RELATIONS = ("to the left of", "to the right of", "above", "below")
_EXTREMES = ("leftmost", "rightmost", "topmost", "bottommost", "largest", "smallest")
_ASK: dict[str, tuple[str, ...]] = {
    "color": (
        "what color is {}?", "what is the color of {}?", "which color does {} have?",
        "tell me the color of {}", "{} has what color?",
    ),
    "shape": (
        "what shape is {}?", "what is the shape of {}?", "which shape does {} have?",
        "tell me the shape of {}", "{} has what shape?",
    ),
    "size": (
        "is {} small or large?", "what size is {}?", "how big is {}?", "tell me the size of {}",
    ),
    "position": (
        "where is {}?", "where in the picture is {}?", "in which part of the image is {}?",
        "what is the position of {}?", "tell me where {} is",
    ),
    "count": (
        "how many {} are there?", "how many {} are in the picture?", "count the {}",
        "what is the number of {}?", "how many {} can you see?",
    ),
    "exists": (
        "is there {}?", "is there {} in the picture?", "do you see {}?",
        "does the image contain {}?", "can you see {} here?",
    ),
    "background": (
        "what color is the background?", "what is the background color?",
        "which color does the background have?", "tell me the color of the background",
    ),
    "neighbour": (
        "what is {} {}?", "which object is {} {}?", "what can be seen {} {}?",
        "name the object {} {}",
    ),
    "extreme": (
        "which object is the {}?", "what is the {} object?", "name the {} object",
        "tell me which object is the {}",
    ),
    "same_color": (
        "do {} and {} have the same color?", "are {} and {} of the same color?",
        "is the color of {} the same as that of {}?",
    ),
    "side": ("is {} {} {}?", "does {} lie {} {}?", "would you say {} is {} {}?"),
}  # fmt: skip


def questions(scene: Scene, rng: Rng, n: int) -> list[QA]:
    """Up to `n` different questions about a picture, of varied kinds."""
    return collect(n, rng, [functools.partial(kind, scene, rng) for kind in _KINDS])


def comparisons(scene: Scene, rng: Rng, n: int) -> list[QA]:
    """Up to `n` different questions about a picture that want a comparison, yes or no above all."""
    return collect(n, rng, [functools.partial(kind, scene, rng) for kind in _COMPARISONS])


def collect(n: int, rng: Rng, makers: Sequence[Callable[[], QA | None]]) -> list[QA]:
    """Different questions; each kind drawn gets a few tries, or relations would be rare."""
    found: dict[str, QA] = {}
    for _ in range(5 * n):
        if len(found) >= n:
            break
        make = makers[int(rng.integers(len(makers)))]
        qa = next((made for made in (make() for _ in range(6)) if made is not None), None)
        if qa is not None:
            found.setdefault(qa.question, qa)
    return list(found.values())


def ask_as(kind: str, rng: Rng, *words: str) -> str:
    """A question of the kind in one of its wordings."""
    options = _ASK[kind]
    return options[int(rng.integers(len(options)))].format(*words)


def yes_no(value: bool) -> str:
    """The answer to a yes-no question."""
    return "yes" if value else "no"


def number_word(count: int) -> str:
    """A count as an answer: "zero", "one", and so on."""
    return "zero" if count == 0 else captions.NUMBERS[count]


def _referent(scene: Scene, rng: Rng, without: tuple[str, ...]) -> tuple[int, str] | None:
    """A random object and a phrase for it that leaves some attributes open."""
    if not scene.objects:
        return None
    i = int(rng.integers(len(scene.objects)))
    options = referents.unique(scene, i, without)
    if not options:
        return None
    chosen = options[int(rng.integers(len(options)))]
    return i, f"the {referents.phrase(scene, i, chosen)}"


def _as_asked(*found: tuple[int, str]) -> Named:
    """Objects by the phrases of the question."""
    return tuple((i, phrase.removeprefix("the ")) for i, phrase in found)


def _each(scene: Scene, indices: Sequence[int]) -> Named:
    """Objects of a class by their own names, left to right."""
    order = sorted(indices, key=lambda i: scene.objects[i].x)
    return tuple((i, captions.name(scene.objects[i])) for i in order)


def _attribute(attribute: str) -> Callable[[Scene, Rng], QA | None]:
    """Makes the asker of one attribute of a described object."""

    def ask(scene: Scene, rng: Rng) -> QA | None:
        found = _referent(scene, rng, (attribute,))
        if found is None:
            return None
        answer = attribute_value(scene, found[0], attribute)
        return QA(ask_as(attribute, rng, found[1]), answer, attribute, _as_asked(found))

    return ask


def attribute_value(scene: Scene, i: int, attribute: str) -> str:
    """The value of an attribute of object `i`, as an answer."""
    obj = scene.objects[i]
    if attribute == "position":
        return position_word(obj, scene.width, scene.height)
    return str(getattr(obj, attribute))


def _background(scene: Scene, rng: Rng) -> QA | None:
    return QA(ask_as("background", rng), scene.background.color, "background")


def random_class(scene: Scene, rng: Rng) -> Description:
    """A class of objects, of which the scene may hold any number."""
    kind = int(rng.integers(5))
    if kind == 4:
        return Description()
    if scene.objects and rng.random() < 0.75:
        i = int(rng.integers(len(scene.objects)))
        sets = (("shape",), ("color",), ("color", "shape"), ("size",))
        return referents.of(scene, i, sets[kind])
    color, shape = str(rng.choice(list(COLORS))), str(rng.choice(SHAPES))
    size = str(rng.choice(list(SIZES)))
    classes = (
        Description(shape=shape),
        Description(color=color),
        Description(color=color, shape=shape),
        Description(size=size),
    )
    return classes[kind]


def may_name(scene: Scene, description: Description) -> bool:
    """Whether a question may name this pair.

    A pair never shown in training must not be asked about there either: its answer would always be
    "no", and the model would learn that instead of looking.
    """
    pair = (description.color, description.shape)
    return pair not in HELD_OUT or any((o.color, o.shape) in HELD_OUT for o in scene.objects)


def _count(scene: Scene, rng: Rng) -> QA | None:
    description = random_class(scene, rng)
    if not may_name(scene, description):
        return None
    meant = referents.select(scene, description)
    question = ask_as("count", rng, description.noun(many=True))
    return QA(question, number_word(len(meant)), "count", _each(scene, meant))


def _count_none(scene: Scene, rng: Rng) -> QA | None:
    """How many there are of what is not there."""
    for _ in range(12):
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
        color = list(COLORS)[int(rng.integers(len(COLORS)))] if rng.random() < 0.6 else None
        description = Description(color=color, shape=shape)
        if may_name(scene, description) and not referents.select(scene, description):
            return QA(ask_as("count", rng, description.noun(many=True)), number_word(0), "count", ())
    return None


def _exists(scene: Scene, rng: Rng) -> QA | None:
    """Yes and no equally often; a wrong object often shares an attribute with a real one."""
    wanted = bool(rng.integers(2))
    for _ in range(12):
        description = random_class(scene, rng)
        if description.shape and rng.random() < 0.5 and scene.objects:
            color = scene.objects[int(rng.integers(len(scene.objects)))].color
            description = description._replace(color=color)
        named = description.color or description.shape
        if not named or not may_name(scene, description):
            continue
        meant = referents.select(scene, description)
        if bool(meant) == wanted:
            phrase = captions.article(description.noun())
            return QA(ask_as("exists", rng, phrase), yes_no(wanted), "exists", _each(scene, meant))
    return None


def _neighbour(scene: Scene, rng: Rng) -> QA | None:
    """What lies on one side of an object, if exactly one object does."""
    found = _referent(scene, rng, ("position",))
    if found is None:
        return None
    relation = RELATIONS[int(rng.integers(len(RELATIONS)))]
    everything = list(range(len(scene.objects)))
    target = referring.related(scene, everything, relation, found[0])
    if target is None:
        return None
    answer = captions.name(scene.objects[target])
    return QA(ask_as("neighbour", rng, relation, found[1]), answer, "neighbour", _as_asked(found))


def _extreme(scene: Scene, rng: Rng) -> QA | None:
    word = str(rng.choice(_EXTREMES))
    target = referring.extreme(scene, list(range(len(scene.objects))), word)
    if target is None:
        return None
    answer = captions.name(scene.objects[target])
    return QA(ask_as("extreme", rng, word), answer, "extreme", ((target, f"{word} object"),))


def _pair(scene: Scene, rng: Rng) -> tuple[tuple[int, str], tuple[int, str]] | None:
    """Two different objects with phrases that leave their places open."""
    first = _referent(scene, rng, ("position",))
    second = _referent(scene, rng, ("position",))
    if first is None or second is None or first[0] == second[0]:
        return None
    return first, second


def _larger(scene: Scene, rng: Rng) -> QA | None:
    """Which of two is larger; only for a small and a large one, and sizes stay unsaid."""
    first = _referent(scene, rng, ("position", "size"))
    second = _referent(scene, rng, ("position", "size"))
    if first is None or second is None:
        return None
    sizes = [scene.objects[first[0]].size, scene.objects[second[0]].size]
    if sizes[0] == sizes[1]:
        return None
    word = ("larger", "smaller")[int(rng.integers(2))]
    wanted = "large" if word == "larger" else "small"
    answer = (first, second)[sizes.index(wanted)][1].removeprefix("the ")
    form = ("which is {}, {} or {}?", "what is {}: {} or {}?")[int(rng.integers(2))]
    return QA(form.format(word, first[1], second[1]), answer, "larger", _as_asked(first, second))


def _side(scene: Scene, rng: Rng) -> QA | None:
    pair = _pair(scene, rng)
    if pair is None:
        return None
    relation = RELATIONS[int(rng.integers(len(RELATIONS)))]
    verdict = referring.stands(scene, pair[0][0], relation, pair[1][0])
    opposite = referring.stands(scene, pair[1][0], relation, pair[0][0])
    if verdict is None or opposite is None:
        return None
    question = ask_as("side", rng, pair[0][1], relation, pair[1][1])
    return QA(question, yes_no(verdict), "side", _as_asked(*pair))


def _same_color(scene: Scene, rng: Rng) -> QA | None:
    first = _referent(scene, rng, ("color",))
    second = _referent(scene, rng, ("color",))
    if first is None or second is None or first[0] == second[0]:
        return None
    same = scene.objects[first[0]].color == scene.objects[second[0]].color
    question = ask_as("same_color", rng, first[1], second[1])
    return QA(question, yes_no(same), "same_color", _as_asked(first, second))


def _more(scene: Scene, rng: Rng) -> QA | None:
    """Compares the numbers of two classes of objects that are both named by shape or colour."""
    attribute, values = (("shape", SHAPES), ("color", tuple(COLORS)))[int(rng.integers(2))]
    names = [str(value) for value in rng.choice(values, size=2, replace=False)]
    if scene.objects:  # At least one of the two is there, or every answer would be "no".
        shown = int(rng.integers(len(scene.objects)))
        names[int(rng.integers(2))] = attribute_value(scene, shown, attribute)
    if names[0] == names[1]:
        return None
    classes = [Description(**{attribute: value}) for value in names]
    meant = [referents.select(scene, c) for c in classes]
    nouns = [c.noun(many=True) for c in classes]
    answer = yes_no(len(meant[0]) > len(meant[1]))
    question = f"are there more {nouns[0]} than {nouns[1]}?"
    return QA(question, answer, "more", _each(scene, meant[0] + meant[1]))


_KINDS: tuple[Callable[[Scene, Rng], QA | None], ...] = (
    _attribute("color"), _attribute("color"), _attribute("shape"), _attribute("size"),
    _attribute("position"), _background, _count, _count, _exists, _exists, _neighbour, _neighbour,
    _extreme, _larger, _side, _same_color, _more,
)  # fmt: skip
# Whether and how many: to answer, what is asked for has to be compared with what is there. A small LLM trained from
# scratch answers these at chance until it has seen tens of thousands of them (docs/decisions.md).
_COMPARISONS: tuple[Callable[[Scene, Rng], QA | None], ...] = (
    *(_exists,) * 8, *(_count,) * 3, _count_none, *(_more,) * 2, *(_side,) * 2, _attribute("position"),
    _attribute("position"),
    _larger, _same_color, _attribute("shape"),
)  # fmt: skip
