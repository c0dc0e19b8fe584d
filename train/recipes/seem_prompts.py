"""Prompts on Shapes pictures for training SEEM, each with the objects that it means.

Words, simulated signals (the words of a fuller description) and drawings. Text may leave the target open, to be settled
by the signal or the drawing; text alone may mean several objects and then means all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from train.data.shapes import captions, drawing, referents
from train.data.shapes.referring import expressions
from train.data.shapes.render import masks, render
from train.data.shapes.scene import Scene, scene_at, scene_rng
from vitron.types import BoolMask, Image

VAGUE = ("this one", "this", "it", "that", "the object", "object", "one", "the shape", "that one")
# A stream of random numbers that no other user of the scenes reads.
STREAM = 41
REFERENCE_RATE = 0.6


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt: words, the words its signal stands for, a drawing; None or "" where it has none.

    `reference` is the picture of the batch that is drawn on, None for the prompt's own.
    """

    meant: frozenset[int]
    text: str = ""
    signal: str = ""
    drawn: BoolMask | None = None
    reference: int | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture, its objects' visible masks, and two groups of prompts."""

    scene: Scene
    image: Image
    masks: npt.NDArray[np.bool_]
    worded: tuple[Prompt, ...]
    drawn: tuple[Prompt, ...]


def picture_at(split: str, index: int, num_worded: int, num_drawn: int, seed: int = 0) -> Picture:
    """Picture number `index` of a split with its prompts; always the same."""
    scene = scene_at(split, index, seed)
    rng = scene_rng(split, index, seed, stream=STREAM)
    visible = masks(scene)
    return Picture(
        scene=scene,
        image=render(scene),
        masks=visible,
        worded=tuple(_worded(scene, visible, rng) for _ in range(num_worded)),
        drawn=tuple(_drawn(visible, rng) for _ in range(num_drawn)),
    )


def with_references(pictures: list[Picture], rng: np.random.Generator) -> list[Picture]:
    """Replace some drawn prompts by drawings on an object of the same name in another picture of the batch."""
    named: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for i, picture in enumerate(pictures):
        for k, obj in enumerate(picture.scene.objects):
            named.setdefault((obj.color, obj.shape), []).append((i, k))
    return [
        _with_reference(picture, i, pictures, named, rng) if rng.random() < REFERENCE_RATE else picture
        for i, picture in enumerate(pictures)
    ]


def _with_reference(
    picture: Picture,
    i: int,
    pictures: list[Picture],
    named: dict[tuple[str, str], list[tuple[int, int]]],
    rng: np.random.Generator,
) -> Picture:
    shared = [
        (name, place)
        for name in sorted({(obj.color, obj.shape) for obj in picture.scene.objects})
        for place in named[name]
        if place[0] != i
    ]
    if not shared:
        return picture
    (color, shape), (other, k) = shared[int(rng.integers(len(shared)))]
    meant = referents.select(picture.scene, referents.Description(color=color, shape=shape))
    mark = _mark(pictures[other].masks[k], rng)
    prompt = Prompt(meant=frozenset(meant), drawn=mark, reference=other)
    return replace(picture, drawn=(*picture.drawn[:-1], prompt))


def _worded(scene: Scene, visible: npt.NDArray[np.bool_], rng: np.random.Generator) -> Prompt:
    """Text alone, signal alone, vague text settled by a signal, or by a drawing."""
    draw = float(rng.random())
    if draw < 0.50:
        text, meant = _text(scene, rng)
        return Prompt(text=text, meant=meant)
    if draw < 0.72:
        signal, meant = _signal(scene, rng)
        return Prompt(signal=signal, meant=meant)
    target = int(rng.integers(len(scene.objects)))
    vague = _vague(scene, target, rng)
    full = captions.full_description(scene, target)
    meant = frozenset({target})
    if draw < 0.90:
        return Prompt(text=vague, signal=full, meant=meant)
    mark = _mark(visible[target], rng)
    if draw < 0.93:
        return Prompt(signal=full, drawn=mark, meant=meant)
    return Prompt(text=vague if rng.random() < 0.7 else full, drawn=mark, meant=meant)


def _drawn(visible: npt.NDArray[np.bool_], rng: np.random.Generator) -> Prompt:
    target = int(rng.integers(len(visible)))
    return Prompt(drawn=_mark(visible[target], rng), meant=frozenset({target}))


def _mark(mask: BoolMask, rng: np.random.Generator) -> BoolMask:
    return drawing.rasterize(drawing.draw(mask, rng), *mask.shape)


def _text(scene: Scene, rng: np.random.Generator) -> tuple[str, frozenset[int]]:
    """A full description, a referring expression, or some attributes of a random object."""
    draw = float(rng.random())
    if draw < 0.25:
        target = int(rng.integers(len(scene.objects)))
        return captions.full_description(scene, target), frozenset({target})
    if draw < 0.60:
        for made in expressions(scene, rng, 1):
            return made.text, frozenset({made.target})
    return _attributes(scene, rng)


def _attributes(scene: Scene, rng: np.random.Generator) -> tuple[str, frozenset[int]]:
    """Some attributes of a random object ("red circle", "all red circles"): every object of which they are true."""
    target = int(rng.integers(len(scene.objects)))
    names = [name for name in referents.ATTRIBUTES if rng.random() < 0.5] or ["shape"]
    description = referents.of(scene, target, tuple(names))
    meant = frozenset(referents.select(scene, description))
    if description.position is None and rng.random() < 0.25:
        lead = ("all ", "all the ", "every one of the ", "")[int(rng.integers(4))]
        return lead + description.noun(many=True), meant
    lead = ("", "", "the ", "a ")[int(rng.integers(4))]
    return lead + referents.phrase(scene, target, description), meant


def _signal(scene: Scene, rng: np.random.Generator) -> tuple[str, frozenset[int]]:
    """Mostly a full description: that is what alignment will aim at."""
    if rng.random() < 0.2:
        return _attributes(scene, rng)
    target = int(rng.integers(len(scene.objects)))
    return captions.full_description(scene, target), frozenset({target})


def _vague(scene: Scene, target: int, rng: np.random.Generator) -> str:
    """Words that are true of the target and maybe of others, or that name nothing."""
    if rng.random() < 0.4:
        return VAGUE[int(rng.integers(len(VAGUE)))]
    names = (("shape",), ("color",), ("color", "shape"), ("size",))[int(rng.integers(4))]
    lead = ("", "the ", "this ")[int(rng.integers(3))]
    return lead + referents.of(scene, target, names).noun()
