"""Edits of scenes: one change as a user would ask for it, and the scene that comes of it.

Everything else stays, so the exact target differs from the source in the pixels of the edit alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from train.data.shapes import captions, changes
from train.data.shapes.scene import MAX_OBJECTS, Object, Scene, position_word, sample_object, sample_pair, well_formed

Rng = np.random.Generator
_TRIES = 20


class Edit(NamedTuple):
    """An edit of a scene.

    Attributes:
        kind: one of EDITS.
        scene: the scene after the edit.
        target: the object of the source that is changed; None for "background" and "add".
        result: the object of the edited scene that is new or changed; None for "remove" and "background".
        words: what templates are filled with: "color", "place", or "new", an object with its article.
    """

    kind: str
    scene: Scene
    target: int | None
    result: int | None
    words: dict[str, str]


def edit(scene: Scene, rng: Rng, split: str, kind: str | None = None) -> Edit | None:
    """Draws an edit that the scene allows; None if the one drawn does not fit. `kind` is one of EDITS, or None."""
    if kind is not None and kind not in EDITS:
        raise ValueError(f"kind is {kind!r}, must be one of {', '.join(EDITS)}")
    return _MAKERS[kind or EDITS[int(rng.integers(len(EDITS)))]](scene, rng, split)


def _recolor(scene: Scene, rng: Rng, split: str) -> Edit | None:
    """Another colour on the same object."""
    i = int(rng.integers(len(scene.objects)))
    painted = changes.recolored(scene.objects[i], rng, split)
    return None if painted is None else _with(scene, i, painted, "recolor", {"color": painted.color})


def _replace(scene: Scene, rng: Rng, split: str) -> Edit | None:
    """Another object of the same size in the place of one."""
    i = int(rng.integers(len(scene.objects)))
    put = changes.replaced(scene.objects[i], rng, split)
    return None if put is None else _with(scene, i, put, "replace", {"new": captions.article(captions.name(put))})


def _move(scene: Scene, rng: Rng, split: str) -> Edit | None:
    """The same object in another part of the picture."""
    i = int(rng.integers(len(scene.objects)))
    obj = scene.objects[i]
    for _ in range(_TRIES):
        place = sample_object(rng, obj.color, obj.shape, obj.size)
        margin = obj.radius + 1.0
        x = float(np.clip(place.x, margin, scene.width - margin))
        y = float(np.clip(place.y, margin, scene.height - margin))
        moved = dataclasses.replace(obj, x=x, y=y)
        if position_word(moved, scene.width, scene.height) != position_word(obj, scene.width, scene.height):
            word = captions.place(moved, scene).split(" ", 1)[1]
            made = _with(scene, i, moved, "move", {"place": word})
            if made is not None:
                return made
    return None


def _remove(scene: Scene, rng: Rng, split: str) -> Edit:
    """One object less."""
    i = int(rng.integers(len(scene.objects)))
    objects = (*scene.objects[:i], *scene.objects[i + 1 :])
    return Edit("remove", dataclasses.replace(scene, objects=objects), i, None, {})


def _background(scene: Scene, rng: Rng, split: str) -> Edit | None:
    """Another background colour; its texture stays."""
    ground = changes.repainted(scene.background, rng)
    if ground is None:
        return None
    return Edit("background", dataclasses.replace(scene, background=ground), None, None, {"color": ground.color})


def _add(scene: Scene, rng: Rng, split: str) -> Edit | None:
    """A further object in front of all others, its place said or not."""
    if len(scene.objects) >= MAX_OBJECTS:
        return None
    for _ in range(_TRIES):
        new = sample_object(rng, *sample_pair(rng, split))
        objects = (*scene.objects, new)
        if well_formed(objects):
            said = captions.article(captions.describe(new))
            if rng.random() < 0.6:
                said = f"{said} {captions.place(new, scene)}"
            return Edit("add", dataclasses.replace(scene, objects=objects), None, len(objects) - 1, {"new": said})
    return None


def _with(scene: Scene, i: int, obj: Object, kind: str, words: dict[str, str]) -> Edit | None:
    """The scene with another object for one; None if the objects could not be told apart any more."""
    objects = (*scene.objects[:i], obj, *scene.objects[i + 1 :])
    if not well_formed(objects):
        return None
    return Edit(kind, dataclasses.replace(scene, objects=objects), i, i, words)


_MAKERS: dict[str, Callable[[Scene, Rng, str], Edit | None]] = {
    "recolor": _recolor,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "background": _background,
    "add": _add,
}
EDITS: tuple[str, ...] = tuple(_MAKERS)
