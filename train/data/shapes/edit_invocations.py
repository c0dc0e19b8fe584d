"""Requests to edit a picture, each answered with text and a structured invocation (paper Table 14).

The regions of the invocation say where, and by their labels what will be there: the object after the edit, or
"background". A full-picture background means that everything but the listed objects is painted anew. The signal
embedding stands for a description of the whole edited picture: that is what the generator draws from.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from train.data.shapes import captions, edits, referring, requests, wording
from train.data.shapes.edits import Edit
from train.data.shapes.exchanges import Exchange, Picture, mark, picture
from train.data.shapes.invocations import marked, region, reply
from vitron.types import Grounding, Module

Rng = np.random.Generator
INSTRUCTIONS: dict[str, str] = {
    "recolor": "make {what} {color}",
    "remove": "remove {what}",
    "replace": "replace {what} with {new}",
    "move": "move {what} to {place}",
    "background": "make the background {color}",
    "add": "add {new}",
}
"""What stands after the verb; the same words for pictures and clips."""
FULL = (0.0, 0.0, 1.0, 1.0)
BACKGROUND = "background"
"""Label of what is no object."""


def image_edit(pic: Picture, rng: Rng, split: str) -> Exchange | None:
    """Change a picture as told; the object to be changed is named or drawn on."""
    made = edits.edit(pic.scene, rng, split)
    return asked(pic, rng, made) if made else None


def asked(pic: Picture, rng: Rng, made: Edit) -> Exchange | None:
    """Ask for an edit; None if no words single out what is changed."""
    if made.target is None:
        return _exchange(pic, rng, made, "", "")
    if rng.random() < 0.4:
        what, noun = marked(pic.scene.objects[made.target], rng)
        exchange = _exchange(pic, rng, made, what, f"the {noun}")
        return dataclasses.replace(exchange, marks=((0, mark(pic, made.target, rng)),))
    found = referring.expression_for(pic.scene, rng, made.target)
    return None if found is None else _exchange(pic, rng, made, found.text, f"the {found.noun}")


def _exchange(pic: Picture, rng: Rng, made: Edit, what: str, named: str) -> Exchange:
    """Join an edit with its wording: `what` is said, `named` is in the instruction."""
    after = picture(made.scene)
    instruction = INSTRUCTIONS[made.kind].format(what=named, **made.words)
    return Exchange(
        user=wording.command(wording.IMAGE_EDITS[made.kind], rng, what=what, **made.words),
        assistant=reply(
            wording.pick(wording.EDIT_REPLIES, rng), Module.IMAGE_EDITING, f"edit: {instruction}", _regions(pic, made)
        ),
        invokes=True,
        condition_text=captions.canonical_caption(made.scene),
        target={
            "kind": made.kind,
            "image": after.image,
            "before": captions.canonical_caption(pic.scene),
            "changed": np.asarray((pic.image != after.image).any(axis=2), dtype=np.bool_),
            "index": made.target,
            "result": made.result,
            "required": [requests.required(obj, with_size=True) for obj in made.scene.objects],
            "background": made.scene.background.color,
            "exact": True,
        },
    )


def _regions(pic: Picture, made: Edit) -> list[Grounding]:
    """Where the edit is, and what will be there."""
    after = picture(made.scene)
    if made.kind == "background":
        kept = [region(box, captions.describe(o)) for o, box in zip(pic.scene.objects, pic.boxes, strict=True)]
        return [Grounding(box=FULL, label=f"{made.words['color']} {BACKGROUND}"), *kept]
    found = []
    if made.kind in ("remove", "move"):
        assert made.target is not None
        found.append(region(pic.boxes[made.target], BACKGROUND))
    if made.result is not None:
        found.append(region(after.boxes[made.result], captions.describe(made.scene.objects[made.result])))
    return found
