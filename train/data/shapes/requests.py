"""What a user asks to have drawn: part of a scene, in the user's words and in canonical ones."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np

from train.data.shapes import captions
from train.data.shapes.scene import Object, Scene, position_word
from train.data.shapes.wording import BACKGROUND_WORDS, PLACE_WORDS, SIZE_WORDS, pick

Rng = np.random.Generator
_ORACLE_RELATIONS = {"to the left of": "left of", "to the right of": "right of"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A request for a picture.

    Attributes:
        text: as the user says it.
        canonical: the same content in the fixed wording of captions, nothing added.
        target: "required" (attributes per object), "positions" (3x3 grid cell or None per object),
            "relations" ((attributes, relation, attributes) triples), "background" (name or None).
        objects: the scene's objects in the order of `target`.
        nouns: what each is called in `canonical`, in the singular.
    """

    text: str
    canonical: str
    target: dict[str, Any]
    objects: tuple[Object, ...]
    nouns: tuple[str, ...]


def ask(scene: Scene, rng: Rng) -> Asked:
    """A request that the scene fulfils, asking for its objects with some of their attributes."""
    objects = [scene.objects[int(i)] for i in rng.permutation(len(scene.objects))]
    with_size, draw = bool(rng.random() < 0.6), float(rng.random())
    if draw < 0.3:
        asked = _placed(scene, objects, with_size, rng)
    elif draw < 0.5 and len(objects) >= 2 and captions.relation(objects[0], objects[1]):
        asked = _related(objects, with_size, rng)
    else:
        asked = _listed(objects, with_size, rng)
    return _with_background(asked, scene, rng) if rng.random() < 0.75 else asked


def required(obj: Object, with_size: bool) -> dict[str, str]:
    """The attributes a drawn object must have."""
    wanted = {"shape": obj.shape, "color": obj.color}
    return {**wanted, "size": obj.size} if with_size else wanted


def _canonical_noun(obj: Object, with_size: bool) -> str:
    return captions.describe(obj) if with_size else captions.name(obj)


def _spoken_noun(obj: Object, with_size: bool, rng: Rng) -> str:
    name = captions.name(obj)
    return f"{pick(SIZE_WORDS[obj.size], rng)} {name}" if with_size else name


def _target(objects: list[Object], with_size: bool) -> dict[str, Any]:
    return {
        "required": [required(o, with_size) for o in objects],
        "positions": [None] * len(objects),
        "relations": [],
        "background": None,
    }


def _listed(objects: list[Object], with_size: bool, rng: Rng) -> Asked:
    """Equal objects counted: "two little red circles and a blue star"."""
    groups: dict[str, list[Object]] = collections.defaultdict(list)
    for obj in objects:
        groups[_canonical_noun(obj, with_size)].append(obj)
    spoken, canonical = [], []
    for noun, members in groups.items():
        said = _spoken_noun(members[0], with_size, rng)
        if len(members) == 1:
            spoken.append(captions.article(said))
            canonical.append(captions.article(noun))
        else:
            number = captions.NUMBERS[len(members)]
            spoken.append(f"{number} {captions.plural(said)}")
            canonical.append(f"{number} {captions.plural(noun)}")
    ordered = [obj for members in groups.values() for obj in members]
    return Asked(
        text=captions.join(spoken),
        canonical=captions.join(canonical),
        target=_target(ordered, with_size),
        **_named(ordered, with_size),
    )


def _named(objects: list[Object], with_size: bool) -> dict[str, Any]:
    return {"objects": tuple(objects), "nouns": tuple(_canonical_noun(obj, with_size) for obj in objects)}


def _placed(scene: Scene, objects: list[Object], with_size: bool, rng: Rng) -> Asked:
    """Every object with its place."""
    words = [position_word(o, scene.width, scene.height) for o in objects]
    spoken = [
        f"{captions.article(_spoken_noun(o, with_size, rng))} {pick(PLACE_WORDS[word], rng)}"
        for o, word in zip(objects, words, strict=True)
    ]
    canonical = [f"{captions.article(_canonical_noun(o, with_size))} {captions.place(o, scene)}" for o in objects]
    return Asked(
        text=captions.join(spoken),
        canonical=captions.join(canonical),
        target={**_target(objects, with_size), "positions": words},
        **_named(objects, with_size),
    )


def _related(objects: list[Object], with_size: bool, rng: Rng) -> Asked:
    """The first two objects with the relation between them, further ones listed."""
    first, second = objects[:2]
    relation = captions.relation(first, second, rng)
    assert relation is not None
    spoken = [captions.article(_spoken_noun(o, with_size, rng)) for o in objects]
    canonical = [captions.article(_canonical_noun(o, with_size)) for o in objects]
    triple = (
        required(first, with_size),
        _ORACLE_RELATIONS.get(relation, relation),
        required(second, with_size),
    )

    def sentence(nouns: list[str]) -> str:
        return captions.join([f"{nouns[0]} {relation} {nouns[1]}", *nouns[2:]])

    return Asked(
        text=sentence(spoken),
        canonical=sentence(canonical),
        target={**_target(objects, with_size), "relations": [triple]},
        **_named(objects, with_size),
    )


def _with_background(asked: Asked, scene: Scene, rng: Rng) -> Asked:
    color = scene.background.color
    return dataclasses.replace(
        asked,
        text=pick(BACKGROUND_WORDS, rng).format(asked.text, color),
        canonical=captions.with_background(asked.canonical, scene),
        target={**asked.target, "background": color},
    )
