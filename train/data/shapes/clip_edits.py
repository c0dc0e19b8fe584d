"""Edits of clips: what is asked for, and the clip with exactly that changed.

Everything that the request does not name (places, paths, tints, textures) stays as it was, so that the edited clip
differs from the source in the pixels of the edit alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes import captions, changes, clip_captions, motion_paths
from train.data.shapes.motion import MAX_MOVERS, Clip, Mover, insert, remove, well_formed
from train.data.shapes.render_clip import Footage
from train.data.shapes.scene import Object, sample_object, sample_pair

Rng = np.random.Generator
EDITS: tuple[str, ...] = ("recolor", "remove", "replace", "background", "add")
_TRIES = 12


class ClipEdit(NamedTuple):
    """An edit of a clip.

    Attributes:
        kind: one of EDITS.
        clip: the clip after the edit.
        target: the mover of the source that is changed; None for "background" and "add".
        result: the mover of the edited clip that is new or changed; None for "remove" and "background".
        words: what templates are filled with: "color", or "new", an object with its article.
    """

    kind: str
    clip: Clip
    target: int | None
    result: int | None
    words: dict[str, str]


def edit(film: Footage, rng: Rng, split: str, kind: str | None = None) -> ClipEdit | None:
    """Draws an edit that the clip allows; None if the one drawn does not fit. `kind` is one of EDITS, or None."""
    if kind is not None and kind not in EDITS:
        raise ValueError(f"kind is {kind!r}, must be one of {', '.join(EDITS)}")
    chosen = kind or EDITS[int(rng.integers(len(EDITS)))]
    return _MAKERS[chosen](film.clip, rng, split)


def changed_pixels(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where two clips [T, H, W, 3] differ, [T, H, W]: what an edit may touch."""
    return np.asarray((before != after).any(axis=3), dtype=np.bool_)


def _recolor(clip: Clip, rng: Rng, split: str) -> ClipEdit | None:
    """Another colour on the same object."""
    i = int(rng.integers(len(clip.movers)))
    painted = changes.recolored(clip.movers[i].looks, rng, split)
    return None if painted is None else _with(clip, i, painted, "recolor", {"color": painted.color})


def _replace(clip: Clip, rng: Rng, split: str) -> ClipEdit | None:
    """Another object of the same size in the place of one, on its path."""
    i = int(rng.integers(len(clip.movers)))
    put = changes.replaced(clip.movers[i].looks, rng, split)
    return None if put is None else _with(clip, i, put, "replace", {"new": captions.article(captions.name(put))})


def _remove(clip: Clip, rng: Rng, split: str) -> ClipEdit:
    """One object less; whoever passed behind it now passes in the open."""
    i = int(rng.integers(len(clip.movers)))
    movers = tuple(_in_the_open(mover) if mover.behind == i else mover for mover in clip.movers)
    return ClipEdit("remove", dataclasses.replace(clip, movers=remove(movers, i)), i, None, {})


def _background(clip: Clip, rng: Rng, split: str) -> ClipEdit | None:
    """Another background colour; its texture stays."""
    ground = changes.repainted(clip.background, rng)
    if ground is None:
        return None
    return ClipEdit("background", dataclasses.replace(clip, background=ground), None, None, {"color": ground.color})


def _add(clip: Clip, rng: Rng, split: str) -> ClipEdit | None:
    """A further object, still or moving, in front of all others."""
    if len(clip.movers) >= MAX_MOVERS:
        return None
    for _ in range(_TRIES):
        new = _newcomer(clip, rng, split)
        if new is None:
            continue
        movers = insert(clip.movers, new, len(clip.movers))
        if well_formed(movers, clip.frames):
            said = captions.article(captions.describe(new.looks))
            if new.path.moves:
                said = f"{said} that {clip_captions.action(clip, new)}"
            after = dataclasses.replace(clip, movers=movers)
            return ClipEdit("add", after, None, len(movers) - 1, {"new": said})
    return None


def _newcomer(clip: Clip, rng: Rng, split: str) -> Mover | None:
    obj = sample_object(rng, *sample_pair(rng, split))
    if rng.random() < 0.5:
        return Mover(looks=obj, path=motion_paths.still_path(rng, clip.frames))
    found = motion_paths.moving_path(rng, obj, clip.frames)
    return None if found is None else Mover(looks=found[0], path=found[1])


def _with(clip: Clip, i: int, looks: Object, kind: str, words: dict[str, str]) -> ClipEdit | None:
    """The clip with other looks for one mover; None if two movers could not be told apart any more."""
    movers = list(clip.movers)
    movers[i] = dataclasses.replace(movers[i], looks=looks)
    names = {(m.looks.size, m.looks.color, m.looks.shape, m.path.direction, m.path.event) for m in movers}
    if len(names) < len(movers):
        return None
    return ClipEdit(kind, dataclasses.replace(clip, movers=tuple(movers)), i, i, words)


def _in_the_open(mover: Mover) -> Mover:
    return dataclasses.replace(mover, behind=None, path=dataclasses.replace(mover.path, event="none"))


_MAKERS: dict[str, Callable[[Clip, Rng, str], ClipEdit | None]] = {
    "recolor": _recolor,
    "remove": _remove,
    "replace": _replace,
    "background": _background,
    "add": _add,
}
