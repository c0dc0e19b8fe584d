"""Descriptions of clips in words: who does what, true and lower-case."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from train.data.shapes import captions, clip_words
from train.data.shapes.motion import Clip, Mover
from train.data.shapes.render_clip import Footage
from train.data.shapes.scene import Object
from train.data.shapes.wording import pick

Rng = np.random.Generator
Noun = Callable[[Object], str]


def canonical_caption(clip: Clip) -> str:
    """Every object with size, colour, shape and action in fixed words and order, then the background."""
    return on_background(captions.join(sentences(clip)), clip)


def plain_caption(film: Footage) -> str:
    """The canonical caption with objects in the order in which they are first seen, left to right."""
    return on_background(captions.join(sentences(film.clip, order=order_of_sight(film))), film.clip)


def detailed_caption(film: Footage) -> str:
    """As `plain_caption`, with the place where each object is first seen and the speed at which it moves."""

    def noun(i: int) -> str:
        mover = film.clip.movers[i]
        if mover.path.event == "slides in":
            return captions.article(captions.describe(mover.looks))
        return captions.article(f"{captions.describe(mover.looks)} {first_place(film, i)}")

    clip = film.clip
    parts = [f"{noun(i)} {action(clip, clip.movers[i], speed=True)}" for i in spoken_movers(clip, order_of_sight(film))]
    return on_background(captions.join(parts), clip)


def sentences(
    clip: Clip, noun: Noun = captions.describe, *, order: list[int] | None = None, speed: bool = False
) -> list[str]:
    """One sentence for each mover, without a full stop; what is only passed behind is named in the passer's."""
    movers = [clip.movers[i] for i in spoken_movers(clip, order or list(range(len(clip.movers))))]
    return [f"{captions.article(noun(m.looks))} {action(clip, m, noun, speed=speed)}" for m in movers]


def spoken_movers(clip: Clip, order: list[int]) -> list[int]:
    """Those that have a sentence of their own: all but still ones that another passes behind."""
    fronts = {mover.behind for mover in clip.movers if mover.behind is not None}
    return [i for i in order if i not in fronts]


def order_of_sight(film: Footage) -> list[int]:
    """Movers by the frame in which they are first seen, and by x in that frame."""

    def place(i: int) -> tuple[int, float]:
        start = film.spans[i][0][0]
        return start, float(film.tracks[i, start, 0])

    return sorted(range(len(film.spans)), key=place)


def action(clip: Clip, mover: Mover, noun: Noun = captions.describe, *, speed: bool = False) -> str:
    """What a mover does, in the third person: "moves to the right behind a large blue square"."""
    path = mover.path
    if not path.moves:
        return "stays still" if path.event == "none" else path.event
    adverb = f" {clip_words.ADVERBS[path.speed]}" if speed else ""
    if path.event == "slides in":
        return f"comes in{adverb} {clip_words.FROM[path.direction]}"
    if path.event == "slides out":
        return f"leaves{adverb} {clip_words.OUT[path.direction]}"
    moving = f"moves{adverb} {clip_words.TOWARD[path.direction]}"
    if path.event == "appears":
        return f"appears and {moving}"
    if path.event == "disappears":
        return f"{moving} and disappears"
    if mover.behind is not None:
        return f"{moving} behind {captions.article(noun(clip.movers[mover.behind].looks))}"
    return moving


def spoken_action(clip: Clip, mover: Mover, rng: Rng, noun: Noun, *, speed: bool = False) -> str:
    """The same in one of many wordings."""
    path = mover.path
    if not path.moves:
        words = {"none": clip_words.STAYS, "appears": clip_words.APPEARS, "disappears": clip_words.DISAPPEARS}
        return pick(words[path.event], rng)
    adverb = f" {clip_words.ADVERBS[path.speed]}" if speed else ""
    if path.event == "slides in":
        return f"{pick(clip_words.COMES_IN, rng)}{adverb} {clip_words.FROM[path.direction]}"
    if path.event == "slides out":
        return f"{pick(clip_words.LEAVES, rng)}{adverb} {clip_words.OUT[path.direction]}"
    toward = pick(clip_words.TOWARD_SPOKEN[path.direction], rng)
    moving = f"{pick(clip_words.MOVES, rng)}{adverb} {toward}"
    if path.event == "appears":
        return f"{pick(clip_words.APPEARS, rng)} and {moving}"
    if path.event == "disappears":
        return f"{moving} and {pick(clip_words.DISAPPEARS, rng)}"
    if mover.behind is not None:
        front = captions.article(noun(clip.movers[mover.behind].looks))
        return f"{moving} {pick(clip_words.BEHIND, rng)} {front}"
    return moving


def full_description(film: Footage, i: int) -> str:
    """Looks, place where first seen and action, as in "small red circle on the left that stays still"."""
    mover = film.clip.movers[i]
    return f"{captions.describe(mover.looks)} {first_place(film, i)} that {action(film.clip, mover)}"


def first_place(film: Footage, i: int) -> str:
    """Where a mover is in the first frame in which it is seen, as in "at the top left"."""
    obj = film.clip.movers[i].at(film.spans[i][0][0])
    assert obj is not None
    return captions.place(obj)


def on_background(text: str, clip: Clip) -> str:
    """Appends the background."""
    return f"{text} on {captions.article(clip.background.color + ' background')}"
