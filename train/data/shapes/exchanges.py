"""Question-and-answer exchanges about one picture: captions, questions, boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes import captions, drawing, questions, referring, region_questions, wording
from train.data.shapes.render import mask_box, masks, render
from train.data.shapes.scene import Scene
from vitron.invocation import format_box, format_boxes
from vitron.types import Box, Grounding

Rng = np.random.Generator
BoolMask = npt.NDArray[np.bool_]


class Picture(NamedTuple):
    """A scene with what is rendered from it once: image, visible masks [n, H, W], their boxes."""

    scene: Scene
    image: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    boxes: tuple[Box, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """One request and its reply; media placeholders are added by whoever joins exchanges.

    `images` is None for "the one picture talked about"; `marks` are (image index, mask).
    """

    user: str
    assistant: str
    target: Mapping[str, Any]
    marks: tuple[tuple[int, BoolMask], ...] = ()
    images: tuple[npt.NDArray[np.uint8], ...] | None = None
    invokes: bool = False
    condition_text: str | None = None


def picture(scene: Scene) -> Picture:
    """Renders a scene."""
    visible = masks(scene)
    return Picture(scene, render(scene), visible, tuple(mask_box(mask) for mask in visible))


def mark(pic: Picture, i: int, rng: Rng) -> BoolMask:
    """A user's drawing on object `i`, as a mask."""
    height, width = pic.masks.shape[1:]
    return drawing.rasterize(drawing.draw(pic.masks[i], rng), height, width)


def random_object(pic: Picture, rng: Rng) -> int:
    """The index of a random object."""
    return int(rng.integers(len(pic.scene.objects)))


def caption(pic: Picture, rng: Rng) -> Exchange:
    """A detailed caption if details are asked for, else a plain one; both in fixed wording."""
    scene = pic.scene
    detailed = bool(rng.integers(2))
    user = wording.command(wording.CAPTION_LONG if detailed else wording.CAPTION_SHORT, rng)
    answer = captions.canonical_caption(scene) if detailed else plain_caption(scene)
    wanted = [{"shape": o.shape, "color": o.color, "size": o.size} for o in scene.objects]
    return Exchange(user=user, assistant=answer, target={"answer": answer, "required": wanted})


def plain_caption(scene: Scene) -> str:
    """Every object with size, colour and shape, left to right, then the background."""
    order = sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].x)
    names = [captions.article(captions.describe(scene.objects[i])) for i in order]
    return captions.with_background(captions.join(names), scene)


def region_caption(pic: Picture, rng: Rng) -> Exchange:
    """The caption of a drawn-on object."""
    i = random_object(pic, rng)
    what = wording.pick(wording.MARKED_ANY, rng)
    answer = referring.region_caption(pic.scene, i)
    return Exchange(
        user=wording.command(wording.REGION_CAPTION, rng, what=what),
        assistant=answer,
        marks=((0, mark(pic, i, rng)),),
        target={"answer": answer, "index": i, "box": pic.boxes[i]},
    )


def vqa(pic: Picture, rng: Rng) -> Exchange | None:
    """A question about the whole picture."""
    return _asked(questions.questions(pic.scene, rng, 1), rng)


def vqa_compare(pic: Picture, rng: Rng) -> Exchange | None:
    """A question about the whole picture that wants a comparison, to practise on."""
    return _asked(questions.comparisons(pic.scene, rng, 1), rng)


def _asked(found: list[questions.QA], rng: Rng) -> Exchange | None:
    if not found:
        return None
    qa = found[0]
    return Exchange(
        user=wording.polish(qa.question, rng),
        assistant=qa.answer,
        target={"answer": qa.answer, "kind": qa.kind},
    )


def region_vqa(pic: Picture, rng: Rng) -> Exchange | None:
    """A question about a drawn-on object."""
    i = random_object(pic, rng)
    found = region_questions.region_questions(pic.scene, rng, i, 1)
    if not found:
        return None
    qa = found[0]
    return Exchange(
        user=wording.polish(qa.question, rng),
        assistant=qa.answer,
        marks=((0, mark(pic, i, rng)),),
        target={"answer": qa.answer, "kind": qa.kind, "index": i, "box": pic.boxes[i]},
    )


def rec(pic: Picture, rng: Rng) -> Exchange | None:
    """The box of the object that an expression means."""
    found = referring.expressions(pic.scene, rng, 1)
    if not found:
        return None
    text, i, _, kind = found[0]
    answer = format_box(pic.boxes[i])
    return Exchange(
        user=wording.command(wording.REC, rng, what=text),
        assistant=answer,
        target={"answer": answer, "box": pic.boxes[i], "index": i, "kind": kind},
    )


def grounded_caption(pic: Picture, rng: Rng) -> Exchange:
    """A sentence, then the name and box of each object."""
    answer = referring.grounded_caption(pic.scene, np.array(pic.boxes))
    order = sorted(range(len(pic.scene.objects)), key=lambda i: pic.scene.objects[i].x)
    return Exchange(
        user=wording.command(wording.GROUNDED, rng),
        assistant=answer,
        target={
            "answer": answer,
            "boxes": tuple(pic.boxes[i] for i in order),
            "labels": tuple(captions.name(pic.scene.objects[i]) for i in order),
        },
    )


def grounded_vqa(pic: Picture, rng: Rng) -> Exchange | None:
    """A question whose reply first locates what to look at, and then answers (paper B.2, grounding-aware QA)."""
    found = [(qa, qa.about) for qa in questions.questions(pic.scene, rng, 3) if qa.about is not None]
    if not found:
        return None
    qa, about = found[0]
    question = qa.question if qa.question.endswith("?") else f"{qa.question}."
    located = format_boxes([Grounding(box=pic.boxes[i], label=name) for i, name in about])
    return Exchange(
        user=wording.polish(wording.pick(wording.GROUNDED_QUESTION, rng).format(question), rng),
        assistant=f"{located or wording.NOTHING_FOUND}, so the answer is {qa.answer}.",
        target={
            "answer": qa.answer,
            "kind": qa.kind,
            "boxes": tuple(pic.boxes[i] for i, _ in about),
            "labels": tuple(name for _, name in about),
        },
    )
