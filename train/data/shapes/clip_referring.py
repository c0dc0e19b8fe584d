"""Expressions that single out one mover of a clip, by looks, by what it does, or by both.

An expression is true of its target in the strict sense, and of nobody else in a loose one: "the circle that moves up"
is never said beside a circle that moves up and to the left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from train.data.shapes import captions, clip_words, referents
from train.data.shapes.motion import Clip, Mover, cast
from train.data.shapes.wording import pick

Rng = np.random.Generator
ENTERING: tuple[str, ...] = ("appears", "slides in")
LEAVING: tuple[str, ...] = ("disappears", "slides out")
_LOOKS: tuple[tuple[str, ...], ...] = (("shape",), ("color",), ("color", "shape"), (), ("size", "shape"), ("size",))


class Predicate(NamedTuple):
    """A relative clause: text, kind, and the movers of which it could be said in a loose reading."""

    text: str
    kind: str
    holds: frozenset[int]


class ClipReferring(NamedTuple):
    """An expression, the mover it means, its head noun ("red circle", "object"), and its kind."""

    text: str
    target: int
    noun: str
    kind: str


def expression(clip: Clip, rng: Rng, target: int | None = None, without: tuple[str, ...] = ()) -> ClipReferring | None:
    """A random unambiguous expression, or None if none was found.

    Args:
        clip: what is spoken of.
        rng: draws target and wording.
        target: the mover to be meant; None: any.
        without: kinds of predicates, and attributes, that must stay unsaid: what a question asks for.
    """
    chosen = int(rng.integers(len(clip.movers))) if target is None else target
    options = by_action(clip, rng, chosen, without) + by_looks(clip, chosen, without)
    if not options:
        return None
    # Actions are said twice as often as looks alone: they are what a clip has and a picture has not.
    weights = np.array([2.0 if option.kind != "attributes" else 1.0 for option in options])
    return options[int(rng.choice(len(options), p=weights / weights.sum()))]


def by_looks(clip: Clip, i: int, without: tuple[str, ...] = ()) -> list[ClipReferring]:
    """Every expression by size, colour and shape alone that singles a mover out."""
    found = referents.unique(cast(clip), i, ("position", *without))
    return [ClipReferring(f"the {d.noun()}", i, d.short(), "attributes") for d in found]


def by_action(clip: Clip, rng: Rng, i: int, without: tuple[str, ...] = ()) -> list[ClipReferring]:
    """Expressions in which an action decides: without it, each would mean several movers."""
    scene, found = cast(clip), []
    for attributes, predicate in itertools.product(_LOOKS, predicates(clip, rng, i)):
        if predicate.kind in without or set(attributes) & set(without):
            continue
        description = referents.of(scene, i, attributes)
        alike = set(referents.select(scene, description))
        if (len(alike) > 1 or len(clip.movers) == 1) and alike & predicate.holds == {i}:
            noun = description.noun()
            found.append(ClipReferring(f"the {noun} that {predicate.text}", i, description.short(), predicate.kind))
    return found


def predicates(clip: Clip, rng: Rng, i: int) -> list[Predicate]:
    """What can truly be said of a mover's action, each in one wording."""
    path, found = clip.movers[i].path, []
    if not path.moves:
        still = _all(clip, lambda mover: not mover.path.moves)
        if path.event == "none":
            found.append(Predicate(pick(clip_words.STAYS, rng), "still", still))
    elif path.event not in ("slides in", "slides out"):
        toward = pick(clip_words.TOWARD_SPOKEN[path.direction], rng)
        same = _all(clip, lambda mover: goes(mover, path.direction))
        found.append(Predicate(f"{pick(clip_words.MOVES, rng)} {toward}", "direction", same))
        speed = _all(clip, lambda mover: mover.path.speed == path.speed)
        found.append(Predicate(f"moves {clip_words.ADVERBS[path.speed]}", "speed", speed))
    if path.moves:
        found.append(Predicate("moves", "moving", _all(clip, lambda mover: mover.path.moves)))
    return found + _events(clip, rng, i) + _passing(clip, rng, i)


def goes(mover: Mover, direction: str) -> bool:
    """Whether a mover goes in a direction in a loose reading: "left" covers "up left"."""
    return set(direction.split()) <= set(mover.path.direction.split())


def name_of(clip: Clip, i: int) -> str:
    """The answer that names a mover: colour and shape."""
    return captions.name(clip.movers[i].looks)


def _events(clip: Clip, rng: Rng, i: int) -> list[Predicate]:
    """Coming and going, with the side where the object slides through the edge of the picture."""
    path = clip.movers[i].path
    said = {
        "appears": (clip_words.APPEARS, "", ENTERING),
        "slides in": (clip_words.COMES_IN, clip_words.FROM.get(path.direction, ""), ENTERING),
        "disappears": (clip_words.DISAPPEARS, "", LEAVING),
        "slides out": (clip_words.LEAVES, clip_words.OUT.get(path.direction, ""), LEAVING),
    }
    if path.event not in said:
        return []
    words, side, kin = said[path.event]
    text = f"{pick(words, rng)} {side}".strip()
    same = _all(clip, lambda mover: mover.path.event in kin and (not side or goes(mover, path.direction)))
    return [Predicate(text, "event", same)]


def _passing(clip: Clip, rng: Rng, i: int) -> list[Predicate]:
    """Who passes behind whom; a clip has one such pair at most."""
    mover = clip.movers[i]
    if mover.behind is not None:
        front = captions.name(clip.movers[mover.behind].looks)
        return [Predicate(f"passes behind the {front}", "behind", frozenset((i,)))]
    passers = [j for j, other in enumerate(clip.movers) if other.behind == i]
    if passers:
        return [Predicate(f"hides the {name_of(clip, passers[0])}", "behind", frozenset((i,)))]
    return []


def _all(clip: Clip, test: Callable[[Mover], bool]) -> frozenset[int]:
    return frozenset(i for i, mover in enumerate(clip.movers) if test(mover))
