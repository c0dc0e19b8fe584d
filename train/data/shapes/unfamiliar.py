"""Requests about pictures and clips that show nothing of the Shapes world, as users' own photographs and footage do.

What is to be done is in the user's words alone. A model that has only ever seen shapes loses its words in front of
anything else; here it learns to keep to the request: it calls the specialist for things that it has no picture of,
takes what stands out for what is meant, and says that it sees no shapes where there are none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from train.data.sample import Sample, Turn
from train.data.shapes import captions, clip_words, drawing, questions, wording
from train.data.shapes.clip_invocations import EDIT_PATTERNS
from train.data.shapes.edit_invocations import BACKGROUND, FULL, INSTRUCTIONS
from train.data.shapes.motion import FRAME_COUNTS
from train.data.shapes.render import mask_box
from train.data.shapes.scene import BACKGROUND_COLORS, COLORS, SHAPES, scene_rng
from train.data.shapes.unfamiliar_media import Scenery, scenery
from vitron.invocation import format_invocation
from vitron.types import Grounding, Invocation, Module

Rng = np.random.Generator
TASK = "unfamiliar"
_STREAM = 170
_CLIP_SHARE = 0.7
_KINDS = ("segment",) * 4 + ("recolor", "remove", "replace", "background", "add") + ("caption", "count", "exists")
_POINTED = ("segment", "recolor", "remove", "replace")
NOTHING = "I see no shapes that I know."
"""What is said of a picture or clip without any."""
NOUNS = (
    "object", "object", "thing", "person", "man", "woman", "child", "boy", "girl", "player", "dog", "cat", "horse",
    "bird", "cow", "sheep", "elephant", "bear", "rabbit", "squirrel", "fox", "duck", "fish", "lion", "tiger", "monkey",
    "car", "bus", "truck", "bicycle", "motorbike", "train", "boat", "ship", "plane", "rocket", "wheel", "tree",
    "flower", "leaf", "grass", "house", "building", "window", "door", "road", "sky", "sea", "river", "mountain",
    "cloud", "moon", "sun", "chair", "table", "sofa", "bed", "bottle", "cup", "plate", "bowl", "spoon", "knife",
    "apple", "banana", "pizza", "cake", "bread", "book", "phone", "laptop", "screen", "keyboard", "camera", "ball",
    "kite", "balloon", "hat", "shirt", "jacket", "bag", "umbrella", "shoe", "hand", "face", "hair", "wall", "floor",
    "lamp", "clock", "sign", "bridge", "tower", "robot", "guitar", "coin", "box", "rope", "stone", "animal", "vehicle",
)  # fmt: skip
_PLACES = ("on the left", "on the right", "at the top", "at the bottom", "in the middle", "in front", "in the back")


class _Thing(NamedTuple):
    """What a user means: in the user's words (with its article), as an instruction names it, and without its colour."""

    said: str
    noun: str
    plain: str


class _Request(NamedTuple):
    """What is asked, in the user's words, and the reply."""

    user: str
    text: str
    invocation: Invocation | None = None


def unfamiliar(split: str, index: int, seed: int = 0) -> Sample:
    """A request about a picture or clip without any shapes; always the same one."""
    rng = scene_rng(split, index, seed, _STREAM)
    in_clip = bool(rng.random() < _CLIP_SHARE)
    view = scenery(rng, int(rng.choice(FRAME_COUNTS)) if in_clip else 1)
    kind = wording.pick(_KINDS, rng)
    thing, drawn, frame = _thing(rng), None, 0
    if kind in _POINTED and rng.random() < 0.35:
        thing = thing._replace(said=wording.pick(wording.MARKED_NOUN, rng).format(thing.noun))
        frame = int(rng.integers(len(view.frames)))
        drawn = drawing.rasterize(drawing.draw(view.spot[frame], rng), *view.spot.shape[1:])
    if kind == "segment":
        asked = _segmentation(rng, view, in_clip, thing, drawn is not None)
    elif kind in INSTRUCTIONS:
        asked = _edit(rng, view, in_clip, thing, kind)
    else:
        asked = _question(rng, in_clip, kind)
    invocation = asked.invocation
    answer = f"{asked.text} {format_invocation(invocation)}" if invocation else asked.text
    medium = "<video>\n" if in_clip else "<image>\n"
    return Sample(
        id=f"shapes/{TASK}/{split}/{seed}/{index}",
        task=TASK,
        turns=(
            Turn(role="user", text=medium + asked.user),
            Turn(role="assistant", text=answer, invokes=invocation is not None),
        ),
        images=() if in_clip else (view.frames[0],),
        clips=(view.frames,) if in_clip else (),
        marks=() if drawn is None else ((0, drawn),),
        condition_text=invocation.instruction.partition(": ")[2] if invocation else None,
        target={"answer": answer, "kind": kind, "mark_frame": frame},
    )


def _thing(rng: Rng) -> _Thing:
    plain = wording.pick(NOUNS, rng)
    size = f"{wording.pick(('small', 'large', 'big', 'little'), rng)} " if rng.random() < 0.2 else ""
    color = f"{wording.pick((*COLORS, *BACKGROUND_COLORS), rng)} " if rng.random() < 0.35 else ""
    place = f" {wording.pick(_PLACES, rng)}" if rng.random() < 0.25 else ""
    return _Thing(f"the {size}{color}{plain}{place}", f"{size}{color}{plain}", f"{size}{plain}")


def _segmentation(rng: Rng, view: Scenery, in_clip: bool, thing: _Thing, marked: bool) -> _Request:
    words = clip_words if in_clip else wording
    user = wording.command(words.SEGMENT, rng, what=thing.said)
    regions = (_place(view, in_clip, ""),) if marked else ()
    module = Module.VIDEO_SEGMENTATION if in_clip else Module.IMAGE_SEGMENTATION
    invocation = Invocation(module=module, instruction=f"segmentation: {thing.noun}", regions=regions)
    return _Request(user, wording.pick(words.SEGMENT_REPLIES, rng).format(thing.noun), invocation)


def _edit(rng: Rng, view: Scenery, in_clip: bool, thing: _Thing, kind: str) -> _Request:
    looks = f"{wording.pick(('small', 'large'), rng)} {wording.pick(tuple(COLORS), rng)} {wording.pick(SHAPES, rng)}"
    color = wording.pick(tuple(BACKGROUND_COLORS if kind == "background" else COLORS), rng)
    words = {"color": color, "new": captions.article(looks)}
    user = wording.command((EDIT_PATTERNS if in_clip else wording.IMAGE_EDITS)[kind], rng, what=thing.said, **words)
    label = {"recolor": f"{color} {thing.plain}", "remove": BACKGROUND, "background": f"{color} {BACKGROUND}"}
    place = _place(view, in_clip, label.get(kind, looks))
    if kind == "background":
        place = Grounding(box=FULL, label=place.label, span=place.span)
    return _Request(
        user,
        wording.pick((clip_words if in_clip else wording).EDIT_REPLIES, rng),
        Invocation(
            module=Module.VIDEO_EDITING if in_clip else Module.IMAGE_EDITING,
            instruction="edit: " + INSTRUCTIONS[kind].format(what=f"the {thing.noun}", **words),
            regions=(place,),
        ),
    )


def _place(view: Scenery, in_clip: bool, label: str) -> Grounding:
    x1, y1, x2, y2 = (round(float(value), 2) for value in mask_box(view.spot[0]))
    return Grounding(box=(x1, y1, x2, y2), label=label, span=(0, len(view.frames) - 1) if in_clip else None)


def _question(rng: Rng, in_clip: bool, kind: str) -> _Request:
    """A question and its answer: there are none of the shapes that are asked for."""
    if kind == "caption":
        said = clip_words.CAPTION_SHORT if in_clip else wording.CAPTION_SHORT
        return _Request(wording.command(said, rng), NOTHING)
    shape = wording.pick(SHAPES, rng)
    noun = shape if rng.random() < 0.3 else f"{wording.pick(tuple(COLORS), rng)} {shape}"
    if kind == "exists":
        asked = questions.ask_as("exists", rng, captions.article(noun))
        return _Request(wording.polish(asked, rng), questions.yes_no(False))
    asked = questions.ask_as("count", rng, captions.plural(noun))
    return _Request(wording.polish(asked, rng), questions.number_word(0))
