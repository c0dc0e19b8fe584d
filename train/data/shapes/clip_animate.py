"""Pictures set in motion: clips that begin with a scene, in which one object starts to move."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from train.data.shapes import motion_paths, referring
from train.data.shapes.motion import MAX_HIDDEN, Clip, Mover, hidden_shares
from train.data.shapes.referring import Referring
from train.data.shapes.scene import MIN_VISIBLE, Scene, sample_scene

Rng = np.random.Generator
_TRIES = 12


class Animation(NamedTuple):
    """A clip whose first frame is `scene`; mover `index` moves, and `said` singles it out in that picture.

    `noun` is the head of `said` ("red circle", "object").
    """

    clip: Clip
    scene: Scene
    index: int  # type: ignore[assignment]  # it hides tuple's method
    said: str
    noun: str


def animate(rng: Rng, split: str, frames: int) -> Animation | None:
    """Draws a picture and a motion that begins in its first frame; None if the object drawn has no way to go."""
    scene = sample_scene(rng, split)
    found = referring.expressions(scene, rng, 1)
    return set_in_motion(scene, found[0], rng, frames) if found else None


def set_in_motion(scene: Scene, what: Referring, rng: Rng, frames: int) -> Animation | None:
    """Draws a motion of one object of a scene, which begins in the first frame; None if it has no way to go."""
    i = what.target
    for _ in range(_TRIES):
        path = motion_paths.path_from(rng, scene.objects[i], frames)
        if path is None:
            continue
        movers = tuple(
            Mover(looks=obj, path=path if k == i else motion_paths.still_path(rng, frames))
            for k, obj in enumerate(scene.objects)
        )
        if _all_stay_visible(movers, i, frames):
            clip = Clip(background=scene.background, movers=movers, frames=frames)
            return Animation(clip, scene, i, what.text, what.noun)
    return None


def _all_stay_visible(movers: tuple[Mover, ...], i: int, frames: int) -> bool:
    """Whether nobody is hidden by the moving object, or hides it, more than pictures and clips allow."""
    most = max(MAX_HIDDEN, 1.0 - MIN_VISIBLE)
    shares = [hidden_shares(back, movers[i], frames) for back in movers[:i]]
    shares += [hidden_shares(movers[i], front, frames) for front in movers[i + 1 :]]
    return all(share.max() <= most for share in shares)
