"""Requests on clips that need a specialist, each answered with text and a structured invocation (paper Table 14).

As with pictures, an instruction names what the user named, often less than what is meant ("segmentation: object"); the
condition text says all of it, and the signal embedding has to carry it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from train.data.shapes import (
    captions,
    clip_captions,
    clip_edits,
    clip_plans,
    clip_requests,
    clip_words,
    drawing,
    wording,
)
from train.data.shapes.clip_animate import Animation, animate
from train.data.shapes.clip_edits import ClipEdit
from train.data.shapes.clip_exchanges import groundings, track_target
from train.data.shapes.clip_referring import ClipReferring, expression
from train.data.shapes.edit_invocations import BACKGROUND, FULL, INSTRUCTIONS
from train.data.shapes.exchanges import BoolMask, Exchange
from train.data.shapes.invocations import marked
from train.data.shapes.motion import MAX_HIDDEN
from train.data.shapes.render_clip import Footage, film
from train.data.shapes.scene import Scene
from vitron.invocation import format_invocation
from vitron.routing import ANIMATION
from vitron.types import Grounding, Invocation, Module

Rng = np.random.Generator


def track_text(clip_film: Footage, rng: Rng) -> Exchange | None:
    """Segment in every frame what an expression means."""
    found = expression(clip_film.clip, rng)
    if found is None:
        return None
    if rng.random() < 0.75:
        user = wording.command(clip_words.SEGMENT, rng, what=found.text)
    else:
        user = wording.polish(wording.pick(clip_words.SEGMENT_TERSE, rng).format(found.text), rng)
    return _segmentation(clip_film, rng, user, found.target, found.noun)


def track_mark(clip_film: Footage, rng: Rng) -> Exchange:
    """Segment in every frame what was drawn on in one of them ("mark_frame")."""
    i = int(rng.integers(len(clip_film.clip.movers)))
    what, noun = marked(clip_film.clip.movers[i].looks, rng)
    frame = mark_frame(clip_film, i, rng)
    user = wording.command(clip_words.SEGMENT, rng, what=what)
    made = _segmentation(clip_film, rng, user, i, noun, groundings(clip_film, i))
    target = {**made.target, "mark_frame": frame}
    return dataclasses.replace(made, marks=((0, mark(clip_film, i, frame, rng)),), target=target)


def generate(clip_film: Footage, rng: Rng) -> Exchange:
    """Make a video from a description alone; the reply plans where each object is when (see `clip_plans`)."""
    relative = bool(rng.integers(2))
    asked = clip_requests.ask(clip_film.clip, rng, relative=relative)
    patterns = clip_words.GENERATE if relative else clip_words.GENERATE_SENTENCE
    user = wording.polish(wording.pick(patterns, rng).format(asked.text), rng)
    text = wording.pick(clip_words.GENERATE_REPLIES, rng)
    return Exchange(
        user=user,
        assistant=_reply(text, Module.VIDEO_GENERATION, asked.text, clip_plans.plan(clip_film, asked.order)),
        images=(),
        invokes=True,
        condition_text=asked.canonical,
        target={**asked.target, "clip": clip_film.frames},
    )


def image_to_video(rng: Rng, split: str, frames: int) -> Exchange | None:
    """Make a video that begins with a picture, in which an object, named or drawn on, starts to move.

    The reply plans where it is when.
    """
    made = animate(rng, split, frames)
    return animation(made, rng) if made else None


def animation(made: Animation, rng: Rng) -> Exchange:
    """Ask for a motion, and plan it."""
    clip_film, i = film(made.clip), made.index
    mover = clip_film.clip.movers[i]
    toward = wording.pick(clip_words.TOWARD_SPOKEN[mover.path.direction], rng)
    marks: tuple[tuple[int, BoolMask], ...] = ()
    if rng.random() < 0.35:
        what, noun = marked(clip_film.clip.movers[i].looks, rng)
        marks = ((0, mark(clip_film, i, 0, rng)),)
    else:
        what, noun = made.said, made.noun
    action = clip_captions.action(clip_film.clip, mover)
    text = wording.pick(clip_words.ANIMATE_REPLIES, rng).format(noun)
    wanted = [clip_requests.required(each) for each in clip_film.clip.movers]
    return Exchange(
        user=wording.polish(wording.pick(clip_words.ANIMATE, rng).format(what=what, toward=toward), rng),
        assistant=_reply(
            text, Module.VIDEO_GENERATION, f"{noun} {action}", clip_plans.track(clip_film, i, noun), verb=ANIMATION
        ),
        images=(clip_film.frames[0],),
        marks=marks,
        invokes=True,
        condition_text=f"{captions.full_description(made.scene, i)} {action}",
        target={
            "clip": clip_film.frames,
            "index": i,
            "direction": mover.path.direction,
            "required": wanted,
            "background": clip_film.clip.background.color,
            "exact": True,
        },
    )


def edit(clip_film: Footage, rng: Rng, split: str) -> Exchange | None:
    """Change a video as told; the object to be changed is named or drawn on."""
    made = clip_edits.edit(clip_film, rng, split)
    if made is None:
        return None
    if made.target is None:
        return _edit_exchange(clip_film, rng, made, "", "")
    if rng.random() < 0.4:
        what, noun = marked(clip_film.clip.movers[made.target].looks, rng)
        frame = mark_frame(clip_film, made.target, rng)
        exchange = _edit_exchange(clip_film, rng, made, what, f"the {noun}")
        marks = ((0, mark(clip_film, made.target, frame, rng)),)
        return dataclasses.replace(exchange, marks=marks, target={**exchange.target, "mark_frame": frame})
    found: ClipReferring | None = expression(clip_film.clip, rng, made.target)
    if found is None:
        return None
    return _edit_exchange(clip_film, rng, made, found.text, f"the {found.noun}")


def mark(clip_film: Footage, i: int, frame: int, rng: Rng) -> BoolMask:
    """A user's drawing on a mover in a frame, as a mask [H, W]."""
    visible = clip_film.masks[i, frame]
    return drawing.rasterize(drawing.draw(visible, rng), *visible.shape)


def mark_frame(clip_film: Footage, i: int, rng: Rng) -> int:
    """A frame in which a mover can be drawn on: it is hardly hidden. Often the first such frame."""
    whole = np.maximum(clip_film.amodal[i].sum(axis=(1, 2)), 1)
    shown = clip_film.masks[i].sum(axis=(1, 2)) / whole
    frames = np.flatnonzero(clip_film.seen[i] & (shown >= 1.0 - MAX_HIDDEN))
    if not len(frames):
        frames = np.flatnonzero(clip_film.seen[i])
    return int(frames[0] if rng.random() < 0.4 else rng.choice(frames))


EDIT_PATTERNS: dict[str, tuple[str, ...]] = {
    "recolor": clip_words.RECOLOR,
    "remove": clip_words.REMOVE,
    "replace": clip_words.REPLACE,
    "background": clip_words.BACKGROUND,
    "add": clip_words.ADD,
}


def _edit_exchange(clip_film: Footage, rng: Rng, made: ClipEdit, what: str, named: str) -> Exchange:
    """Join an edit with its wording: `what` is said, `named` is in the instruction."""
    edited = film(made.clip)
    after = edited.frames
    instruction = INSTRUCTIONS[made.kind].format(what=named, **made.words)
    regions = _edit_regions(clip_film, edited, made)
    return Exchange(
        user=wording.command(EDIT_PATTERNS[made.kind], rng, what=what, **made.words),
        assistant=_reply(wording.pick(clip_words.EDIT_REPLIES, rng), Module.VIDEO_EDITING, instruction, regions),
        invokes=True,
        condition_text=_looks(made),
        target={
            "kind": made.kind,
            "clip": after,
            "changed": clip_edits.changed_pixels(clip_film.frames, after),
            "index": made.target,
            "result": made.result,
            "required": [clip_requests.required(mover) for mover in made.clip.movers],
            "background": made.clip.background.color,
            "exact": True,
        },
    )


def _edit_regions(source: Footage, edited: Footage, made: ClipEdit) -> list[Grounding]:
    """Where and when the edit is, and what will be there; as for pictures (`edit_invocations`)."""
    if made.kind == "background":
        whole = Grounding(box=FULL, label=f"{made.words['color']} {BACKGROUND}", span=(0, len(source.frames) - 1))
        kept = [groundings(source, i, captions.describe(m.looks))[:1] for i, m in enumerate(source.clip.movers)]
        return [whole, *(each for runs in kept for each in runs)]
    if made.result is not None:
        return groundings(edited, made.result, captions.describe(made.clip.movers[made.result].looks))
    assert made.target is not None
    return groundings(source, made.target, BACKGROUND)


def _looks(made: ClipEdit) -> str:
    """What a frame of the edited clip shows: keyframes are painted by the image editor."""
    listed = captions.join([captions.article(captions.describe(mover.looks)) for mover in made.clip.movers])
    return captions.with_background(listed, Scene(background=made.clip.background, objects=()))


def _segmentation(
    clip_film: Footage, rng: Rng, user: str, i: int, noun: str, regions: Sequence[Grounding] = ()
) -> Exchange:
    text = wording.pick(clip_words.SEGMENT_REPLIES, rng).format(noun)
    return Exchange(
        user=user,
        assistant=_reply(text, Module.VIDEO_SEGMENTATION, noun, regions),
        invokes=True,
        condition_text=clip_captions.full_description(clip_film, i),
        target=track_target(clip_film, i),
    )


_VERBS: dict[Module, str] = {
    Module.VIDEO_SEGMENTATION: "segmentation",
    Module.VIDEO_GENERATION: "generation",
    Module.VIDEO_EDITING: "edit",
}


def _reply(text: str, module: Module, what: str, regions: Sequence[Grounding] = (), verb: str = "") -> str:
    """The assistant's words followed by the structured invocation; `verb` in place of the module's own."""
    instruction = f"{verb or _VERBS[module]}: {what}"
    invocation = Invocation(module=module, instruction=instruction, regions=tuple(regions))
    return f"{text} {format_invocation(invocation)}"
