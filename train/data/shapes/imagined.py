"""Requests for pictures and videos of things that are no Shapes: "draw a brown dog on a sofa".

An LLM that has only ever copied a dozen words learns which of them follow each other, and writes those instead of what
was said. Here anything may be asked for, also words that do not exist, so that instructions are copied word for word.
Nothing is planned for them: where a dog belongs is not known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from train.data.sample import Sample, Turn
from train.data.shapes import captions, clip_words, wording
from train.data.shapes.scene import BACKGROUND_COLORS, COLORS, scene_rng
from train.data.shapes.unfamiliar import NOUNS
from vitron.invocation import format_invocation
from vitron.types import Invocation, Module

Rng = np.random.Generator
TASK = "imagined"
_STREAM = 171
_CLIP_SHARE = 0.25
_INVENTED_SHARE = 0.15
_THINGS = tuple(noun for noun in NOUNS if noun not in ("object", "thing"))
_LOOKS = (
    "small", "large", "big", "tiny", "huge", "little", "old", "young", "happy", "sad", "wooden", "shiny", "dark",
    "bright", "round", "tall", "golden", "silver", "fluffy", "beautiful", "wild", "sleeping", "broken", "modern",
    "purple and green",
)  # fmt: skip
_WHERE = (
    "on the left", "on the right", "at the top left", "at the bottom", "in the middle", "in the background",
    "on a beach", "in a forest", "on the moon", "in the rain", "at night", "under a bridge", "in the snow",
    "in front of a castle", "beside the road", "by the sea", "on a mountain", "in a kitchen", "at sunset",
)  # fmt: skip
_STYLES = (
    ", photorealistic", ", watercolor", " in the style of a cartoon", ", oil painting", " with warm light",
    ", highly detailed", " in black and white", " from above", ", pixel art", " on a white background",
    " over a gray background",
)  # fmt: skip
_DOING = (
    ("running", "runs"), ("jumping", "jumps"), ("dancing", "dances"), ("flying over the sea", "flies over the sea"),
    ("walking to the left", "walks to the left"), ("moving to the right", "moves to the right"),
    ("swimming", "swims"), ("falling down", "falls down"), ("turning around", "turns around"),
    ("playing with a ball", "plays with a ball"), ("crossing the street", "crosses the street"),
)  # fmt: skip
_JOINTS = (" and ", " next to ", " above ", " behind ", " with ", " to the left of ")
_SYLLABLES = tuple(a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "n", "r", "x"))


class _Wish(NamedTuple):
    """What is asked for, and the request around it."""

    text: str
    user: str


def imagined(split: str, index: int, seed: int = 0) -> Sample:
    """A request for a picture or video of anything; always the same one."""
    rng = scene_rng(split, index, seed, _STREAM)
    in_clip = bool(rng.random() < _CLIP_SHARE)
    wish = _event(rng) if in_clip else _view(rng)
    module = Module.VIDEO_GENERATION if in_clip else Module.IMAGE_GENERATION
    text = wording.pick((clip_words if in_clip else wording).GENERATE_REPLIES, rng)
    answer = f"{text} {format_invocation(Invocation(module=module, instruction=f'generation: {wish.text}'))}"
    return Sample(
        id=f"shapes/{TASK}/{split}/{seed}/{index}",
        task=TASK,
        turns=(Turn(role="user", text=wish.user), Turn(role="assistant", text=answer, invokes=True)),
        condition_text=wish.text,
        target={"answer": answer, "kind": "video" if in_clip else "picture"},
    )


def _view(rng: Rng) -> _Wish:
    things = [captions.article(_thing(rng)) for _ in range(int(rng.integers(1, 4)))]
    where = [f"{thing} {wording.pick(_WHERE, rng)}" if rng.random() < 0.4 else thing for thing in things]
    said = captions.join(where) if len(where) != 2 else wording.pick(_JOINTS, rng).join(where)
    text = said + (wording.pick(_STYLES, rng) if rng.random() < 0.3 else "")
    if rng.random() < 0.7:
        what = wording.pick(wording.GENERATE_OBJECTS, rng).format(text)
        return _Wish(text, wording.command(wording.GENERATE, rng, what=what))
    return _Wish(text, wording.polish(wording.pick(wording.GENERATE_TERSE, rng).format(text), rng))


def _event(rng: Rng) -> _Wish:
    thing, (doing, does) = captions.article(_thing(rng)), _DOING[int(rng.integers(len(_DOING)))]
    where = f" {wording.pick(_WHERE, rng)}" if rng.random() < 0.4 else ""
    relative = bool(rng.random() < 0.5)
    text = f"{thing} {doing if relative else does}{where}"
    patterns = clip_words.GENERATE if relative else clip_words.GENERATE_SENTENCE
    return _Wish(text, wording.polish(wording.pick(patterns, rng).format(text), rng))


def _thing(rng: Rng) -> str:
    """Return a noun, mostly with words in front of it."""
    noun = wording.pick(_THINGS, rng) if rng.random() > _INVENTED_SHARE else _invented(rng)
    color = f"{wording.pick((*COLORS, *BACKGROUND_COLORS), rng)} " if rng.random() < 0.6 else ""
    look = f"{wording.pick(_LOOKS, rng)} " if rng.random() < 0.4 else ""
    return f"{look}{color}{noun}"


def _invented(rng: Rng) -> str:
    return "".join(wording.pick(_SYLLABLES, rng) for _ in range(int(rng.integers(2, 4))))
