"""Exchanges that end in a call of a specialist (paper Table 14, the rows on pictures).

The instruction is deliberately less than the user meant: a segmentation names only the object's
kind, and "another one like it" does not say like what. Which one is meant is in `condition_text`,
and the signal embedding has to carry it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from train.data.shapes import captions, referring, requests, wording
from train.data.shapes.exchanges import Exchange, Picture, mark, picture, random_object
from train.data.shapes.render import render
from train.data.shapes.scene import (
    COLORS,
    HELD_OUT,
    SHAPES,
    Object,
    Scene,
    sample_background,
    sample_object,
    sample_scene,
    well_formed,
)
from vitron.invocation import format_invocation
from vitron.types import Box, Grounding, Invocation, Module

Rng = np.random.Generator


def reply(text: str, module: Module, instruction: str, regions: Sequence[Grounding] = ()) -> str:
    """The assistant's words followed by the structured invocation."""
    invocation = Invocation(module=module, instruction=instruction, regions=tuple(regions))
    return f"{text} {format_invocation(invocation)}"


def region(box: Box, label: str = "") -> Grounding:
    """A region as replies spell it."""
    x1, y1, x2, y2 = (round(value, 2) for value in box)
    return Grounding(box=(x1, y1, x2, y2), label=label)


def segment_text(pic: Picture, rng: Rng) -> Exchange | None:
    """Segment what an expression means."""
    found = referring.expressions(pic.scene, rng, 1)
    if not found:
        return None
    expression = found[0]
    if rng.random() < 0.75:
        user = wording.command(wording.SEGMENT, rng, what=expression.text)
    else:
        user = wording.polish(wording.pick(wording.SEGMENT_TERSE, rng).format(expression.text), rng)
    return _segmentation(pic, rng, user, expression.target, expression.noun)


def segment_mark(pic: Picture, rng: Rng) -> Exchange:
    """Segment what was drawn on: "this one", "this circle" or "the red circle"."""
    i = random_object(pic, rng)
    what, noun = marked(pic.scene.objects[i], rng)
    user = wording.command(wording.SEGMENT, rng, what=what)
    made = _segmentation(pic, rng, user, i, noun, box=pic.boxes[i])
    return dataclasses.replace(made, marks=((0, mark(pic, i, rng)),))


def segment_reference(pic: Picture, rng: Rng, split: str) -> Exchange | None:
    """Segment in a second picture what is like an object marked in the first."""
    i = random_object(pic, rng)
    placed = _scene_with_twin(pic.scene.objects[i], rng, split)
    if placed is None:
        return None
    other, k = picture(placed[0]), placed[1]
    user = wording.polish(wording.pick(wording.REFERENCE, rng), rng)
    text = wording.pick(wording.REFERENCE_REPLIES, rng)
    return Exchange(
        user=user,
        assistant=reply(text, Module.IMAGE_SEGMENTATION, "segmentation: object", [region(other.boxes[k])]),
        images=(pic.image, other.image),
        marks=((0, mark(pic, i, rng)),),
        invokes=True,
        condition_text=captions.full_description(other.scene, k),
        target=_segmentation_target(other, k, image=1),
    )


def marked(looks: Object, rng: Rng) -> tuple[str, str]:
    """What a user says who has drawn on an object, and the noun in it: "object", its shape, or colour and shape."""
    noun = ("object", "object", looks.shape, captions.name(looks))[int(rng.integers(4))]
    options = wording.MARKED_ANY if noun == "object" else wording.MARKED_NOUN
    return wording.pick(options, rng).format(noun), noun


def generate(pic: Picture, rng: Rng) -> Exchange:
    """Draw a picture from a description alone; the reply plans where each object goes.

    The image generator is conditioned on labelled boxes (paper Table 13: GLIGEN), and counting and placing in words is
    what diffusion models are worst at.
    """
    asked = requests.ask(pic.scene, rng)
    if rng.random() < 0.7:
        objects = wording.pick(wording.GENERATE_OBJECTS, rng).format(asked.text)
        user = wording.command(wording.GENERATE, rng, what=objects)
    else:
        user = wording.polish(wording.pick(wording.GENERATE_TERSE, rng).format(asked.text), rng)
    text = wording.pick(wording.GENERATE_REPLIES, rng)
    return Exchange(
        user=user,
        assistant=reply(text, Module.IMAGE_GENERATION, f"generation: {asked.text}", layout(pic, asked)),
        images=(),
        invokes=True,
        condition_text=asked.canonical,
        target={**asked.target, "image": pic.image, "exact": True},
    )


def layout(pic: Picture, asked: requests.Asked) -> list[Grounding]:
    """Where the objects asked for are, in the order of the request."""
    places = {id(obj): box for obj, box in zip(pic.scene.objects, pic.boxes, strict=True)}
    return [region(places[id(obj)], noun) for obj, noun in zip(asked.objects, asked.nouns, strict=True)]


def generate_like(pic: Picture, rng: Rng, split: str) -> Exchange | None:
    """Draw a picture that takes something over from the one shown."""
    draw = float(rng.random())
    if draw < 0.15:
        return _like_whole(pic, rng)
    i = random_object(pic, rng)
    marks: tuple[tuple[int, npt.NDArray[np.bool_]], ...] = ()
    if rng.random() < 0.6:
        what, marks = wording.pick(wording.MARKED_ANY, rng), ((0, mark(pic, i, rng)),)
    else:
        expression = referring.expression_for(pic.scene, rng, i)
        if expression is None:
            return None
        what = expression.text
    if draw < 0.55:
        made = _another(pic, rng, i, what)
    elif draw < 0.80:
        made = _same_color(pic, rng, i, what, split)
    else:
        made = _same_shape(pic, rng, i, what, split)
    return dataclasses.replace(made, marks=marks)


def _segmentation(pic: Picture, rng: Rng, user: str, i: int, noun: str, box: Box | None = None) -> Exchange:
    text = wording.pick(wording.SEGMENT_REPLIES, rng).format(noun)
    return Exchange(
        user=user,
        assistant=reply(text, Module.IMAGE_SEGMENTATION, f"segmentation: {noun}", [region(box)] if box else ()),
        invokes=True,
        condition_text=captions.full_description(pic.scene, i),
        target=_segmentation_target(pic, i, image=0),
    )


def _segmentation_target(pic: Picture, i: int, image: int) -> dict[str, object]:
    return {"mask": pic.masks[i], "box": pic.boxes[i], "index": i, "image_index": image}


def _scene_with_twin(like: Object, rng: Rng, split: str) -> tuple[Scene, int] | None:
    """A new scene with exactly one object of the given colour and shape, and its index."""
    for _ in range(10):
        base = sample_scene(rng, split)
        others = tuple(o for o in base.objects[:3] if (o.color, o.shape) != (like.color, like.shape))
        twin = _repaint(sample_object(rng, like.color, like.shape), like)
        at = int(rng.integers(len(others) + 1))
        objects = (*others[:at], twin, *others[at:])
        if well_formed(objects):
            return dataclasses.replace(base, objects=objects), at
    return None


def _repaint(obj: Object, like: Object) -> Object:
    """The object with the exact tint and texture of another of the same colour name."""
    return dataclasses.replace(obj, hue=like.hue, saturation=like.saturation, value=like.value, texture=like.texture)


def _like_whole(pic: Picture, rng: Rng) -> Exchange:
    wanted = [requests.required(o, with_size=True) for o in pic.scene.objects]
    return Exchange(
        user=wording.command(wording.LIKE_WHOLE, rng),
        assistant=_drawn(rng, "a picture like this one"),
        invokes=True,
        condition_text=captions.canonical_caption(pic.scene),
        target=_drawing_target(pic.scene, wanted, pic.scene.background.color),
    )


def _another(pic: Picture, rng: Rng, i: int, what: str) -> Exchange:
    """The same object once more, alone on the same kind of background."""
    like = pic.scene.objects[i]
    background = sample_background(rng, pic.scene.background.color)
    drawn = _repaint(sample_object(rng, like.color, like.shape, like.size), like)
    scene = Scene(background=background, objects=(drawn,))
    return Exchange(
        user=wording.command(wording.ANOTHER, rng, what=what),
        assistant=_drawn(rng, "another one like it"),
        invokes=True,
        condition_text=captions.with_background(captions.article(captions.describe(like)), scene),
        target=_drawing_target(scene, [requests.required(drawn, True)], background.color),
    )


def _same_color(pic: Picture, rng: Rng, i: int, what: str, split: str) -> Exchange:
    """A named shape in the colour of an object shown."""
    like = pic.scene.objects[i]
    shape = _other(rng, SHAPES, like.shape, split, lambda s: (like.color, s))
    drawn = _repaint(sample_object(rng, like.color, shape), like)
    user = wording.command(wording.SAME_COLOR, rng, noun=shape, what=what)
    return _variation(rng, user, f"{shape} in the same color", drawn)


def _same_shape(pic: Picture, rng: Rng, i: int, what: str, split: str) -> Exchange:
    """A named colour on the shape of an object shown."""
    like = pic.scene.objects[i]
    color = _other(rng, tuple(COLORS), like.color, split, lambda c: (c, like.shape))
    drawn = sample_object(rng, color, like.shape)
    user = wording.command(wording.SAME_SHAPE, rng, noun=color, what=what)
    return _variation(rng, user, f"{color} object of the same shape", drawn)


def _variation(rng: Rng, user: str, instruction: str, drawn: Object) -> Exchange:
    scene = Scene(background=sample_background(rng), objects=(drawn,))
    return Exchange(
        user=user,
        assistant=_drawn(rng, instruction),
        invokes=True,
        condition_text=captions.article(captions.name(drawn)),
        target=_drawing_target(scene, [requests.required(drawn, False)], None),
    )


def _drawn(rng: Rng, instruction: str) -> str:
    text = wording.pick(wording.GENERATE_REPLIES, rng)
    return reply(text, Module.IMAGE_GENERATION, f"generation: {instruction}")


def _drawing_target(scene: Scene, wanted: list[dict[str, str]], background: str | None) -> dict[str, object]:
    return {
        "required": wanted,
        "positions": [None] * len(wanted),
        "relations": [],
        "background": background,
        "image": render(scene),
        "exact": True,
    }


def _other(
    rng: Rng,
    values: tuple[str, ...],
    current: str,
    split: str,
    pair: Callable[[str], tuple[str, str]],
) -> str:
    """Another shape or colour whose pair the split may show."""
    allowed = [
        value for value in values if value != current and (split == "compositional" or pair(value) not in HELD_OUT)
    ]
    return allowed[int(rng.integers(len(allowed)))]
