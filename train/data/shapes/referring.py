"""Referring expressions that single out one object, and grounded descriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes import captions, referents
from train.data.shapes.referents import Description
from train.data.shapes.scene import Scene
from vitron.invocation import format_box
from vitron.types import Box

# Lead, in pixels, that makes an object "the leftmost", and in radius "the largest".
EXTREME_GAP = 3.0
SIZE_GAP = 2.0
_EXTREMES: dict[str, tuple[str, int]] = {
    "leftmost": ("x", 1),
    "rightmost": ("x", -1),
    "topmost": ("y", 1),
    "bottommost": ("y", -1),
    "largest": ("radius", -1),
    "biggest": ("radius", -1),
    "smallest": ("radius", 1),
}
_ORDINALS = ("first", "second", "third", "fourth")
_RELATIONS: dict[str, tuple[str, int]] = {
    "to the left of": ("x", 1),
    "left of": ("x", 1),
    "to the right of": ("x", -1),
    "right of": ("x", -1),
    "above": ("y", 1),
    "over": ("y", 1),
    "below": ("y", -1),
    "under": ("y", -1),
}


class Referring(NamedTuple):
    """An expression, the object it means, the expression's own head noun, and its kind."""

    text: str
    target: int
    noun: str
    kind: str


def expressions(scene: Scene, rng: np.random.Generator, n: int) -> list[Referring]:
    """Up to `n` different unambiguous expressions, varied in kind and target."""
    found: dict[str, Referring] = {}
    for _ in range(12 * n):
        if len(found) >= n:
            break
        if not scene.objects:
            break
        kind = _KINDS[int(rng.integers(len(_KINDS)))]
        # A few tries a kind, or those that seldom apply would be rare.
        made = next((m for m in (kind(scene, rng) for _ in range(5)) if m is not None), None)
        if made is not None:
            found.setdefault(made.text, made)
    return list(found.values())


def expression_for(scene: Scene, rng: np.random.Generator, target: int) -> Referring | None:
    """One expression for a given object, or None if words cannot single it out."""
    for _ in range(24):
        for made in expressions(scene, rng, 1):
            if made.target == target:
                return made
    return _attributes(scene, rng, target)


def extreme(scene: Scene, among: list[int], word: str) -> int | None:
    """The clearly leftmost (or so) of some objects; None if it is too close to call."""
    field, sign = _EXTREMES[word]
    order = sorted(among, key=lambda i: sign * getattr(scene.objects[i], field))
    if len(order) < 2:
        return None
    gap = abs(getattr(scene.objects[order[0]], field) - getattr(scene.objects[order[1]], field))
    return order[0] if gap >= (SIZE_GAP if field == "radius" else EXTREME_GAP) else None


def stands(scene: Scene, i: int, relation: str, anchor: int) -> bool | None:
    """Whether object `i` stands in a relation to `anchor`; None when too close to call."""
    field, sign = _RELATIONS[relation]
    delta = sign * (getattr(scene.objects[anchor], field) - getattr(scene.objects[i], field))
    if delta >= captions.RELATION_GAP:
        return True
    return False if delta <= 0.0 else None


def related(scene: Scene, among: list[int], relation: str, anchor: int) -> int | None:
    """The only one of some objects in the relation; None if there is none, or doubt."""
    verdicts = {i: stands(scene, i, relation, anchor) for i in among if i != anchor}
    true = [i for i, verdict in verdicts.items() if verdict]
    doubtful = any(verdict is None for verdict in verdicts.values())
    return true[0] if len(true) == 1 and not doubtful else None


def region_caption(scene: Scene, i: int) -> str:
    """The caption of one object: "a large red circle at the top left"."""
    return captions.article(captions.full_description(scene, i))


def grounded_caption(scene: Scene, boxes: npt.NDArray[np.float64]) -> str:
    """A sentence, then each object's name with its box, left to right (paper Table 15 form)."""
    order = sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].x)
    names = [captions.article(captions.describe(scene.objects[i])) for i in order]
    sentence = captions.with_background(captions.join(names), scene)
    groundings = [f"{captions.name(scene.objects[i])}: {format_box(_box(boxes[i]))}" for i in order]
    return f"{sentence}. {', '.join(groundings)}" if groundings else f"{sentence}."


def _box(row: npt.NDArray[np.float64]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in row)
    return (x1, y1, x2, y2)


def _attributes(scene: Scene, rng: np.random.Generator, target: int | None = None) -> Referring | None:
    """As in "the large red circle at the top left", in a random choice of its attributes."""
    i = int(rng.integers(len(scene.objects))) if target is None else target
    options = referents.unique(scene, i)
    if not options:
        return None
    description = options[int(rng.integers(len(options)))]
    text = f"the {referents.phrase(scene, i, description)}"
    return Referring(text, i, description.short(), "attributes")


def _superlative(scene: Scene, rng: np.random.Generator) -> Referring | None:
    """As in "the leftmost circle"."""
    description = _class_of(scene, rng, ("color",), ("shape",), ())
    word = str(rng.choice(list(_EXTREMES)))
    target = extreme(scene, referents.select(scene, description), word)
    if target is None:
        return None
    return Referring(f"the {word} {description.noun()}", target, description.noun(), "superlative")


def _relation(scene: Scene, rng: np.random.Generator) -> Referring | None:
    """As in "the star above the red square"."""
    description = _class_of(scene, rng, ("shape",), ("color", "shape"), ("color",), ())
    anchor = _named_anchor(scene, rng)
    if anchor is None:
        return None
    relation = str(rng.choice(list(_RELATIONS)))
    target = related(scene, referents.select(scene, description), relation, anchor[0])
    if target is None:
        return None
    text = f"the {description.noun()} {relation} the {anchor[1]}"
    return Referring(text, target, description.noun(), "relation")


def _same(scene: Scene, rng: np.random.Generator) -> Referring | None:
    """As in "the object with the same color as the ring"."""
    anchor = _named_anchor(scene, rng)
    if anchor is None:
        return None
    attribute = ("color", "shape")[int(rng.integers(2))]
    shared = referents.select(scene, referents.of(scene, anchor[0], (attribute,)))
    others = [i for i in shared if i != anchor[0]]
    if len(others) != 1:
        return None
    lead = "other object" if rng.random() < 0.4 else "object"
    link = ("with the same {} as", "that has the same {} as")[int(rng.integers(2))]
    text = f"the {lead} {link.format(attribute)} the {anchor[1]}"
    return Referring(text, others[0], "object", "same")


def _ordinal(scene: Scene, rng: np.random.Generator) -> Referring | None:
    """As in "the second circle from the left"."""
    description = _class_of(scene, rng, ("shape",), ("color",), ())
    among = referents.select(scene, description)
    side = ("left", "right", "top", "bottom")[int(rng.integers(4))]
    field = "x" if side in ("left", "right") else "y"
    values = {i: float(getattr(scene.objects[i], field)) for i in among}
    order = sorted(among, key=values.__getitem__, reverse=side in ("right", "bottom"))
    gaps = np.abs(np.diff([values[i] for i in order]))
    if len(order) < 2 or gaps.min() < EXTREME_GAP:
        return None
    k = int(rng.integers(len(order)))
    text = f"the {_ORDINALS[k]} {description.noun()} from the {side}"
    return Referring(text, order[k], description.noun(), "ordinal")


def _class_of(scene: Scene, rng: np.random.Generator, *options: tuple[str, ...]) -> Description:
    """The class of a random object by one of the given sets of attributes."""
    i = int(rng.integers(len(scene.objects)))
    return referents.of(scene, i, options[int(rng.integers(len(options)))])


def _named_anchor(scene: Scene, rng: np.random.Generator) -> tuple[int, str] | None:
    """A random object that one short phrase without a place singles out."""
    i = int(rng.integers(len(scene.objects)))
    options = [d for d in referents.unique(scene, i, without=("position",)) if d.shape or d.color]
    if not options:
        return None
    return i, options[int(rng.integers(len(options)))].noun()


_KINDS: tuple[Callable[[Scene, np.random.Generator], Referring | None], ...] = (
    _attributes,
    _attributes,
    _superlative,
    _relation,
    _relation,
    _same,
    _ordinal,
)
