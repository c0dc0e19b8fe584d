"""Clip graphs of the Shapes world: a still background and one to three shapes that move, come, go and hide.

Splits, held-out pairs and unnamed properties follow `scene`. Everything else (frames, masks, tracks, captions,
questions, edits) is derived from a clip exactly.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from train.data.shapes import geometry, motion_paths
from train.data.shapes.motion_paths import Path
from train.data.shapes.scene import (
    HEIGHT,
    HELD_OUT,
    SPLITS,
    WIDTH,
    Background,
    Object,
    Scene,
    sample_background,
    sample_object,
    sample_pair,
    scene_rng,
)

Rng = np.random.Generator
FRAME_COUNTS: tuple[int, ...] = (8, 12, 16)
MAX_MOVERS = 3
# Of any object, any other may hide at most this much, unless it is passed behind.
MAX_HIDDEN = 0.25
# Objects of one colour keep apart, up to this many pixels of their circles: touching, they would be one blot.
MAX_TOUCH = 0.5
# What passes behind is hidden at least this much at some time, and at most MAX_HIDDEN before and after.
MIN_HIDDEN = 0.85
CLIP_STREAM = 100
# Shapes without holes or thin arms: what is behind them is gone.
_SCREENS: tuple[str, ...] = ("circle", "square")
# How often what catches the eye is (event, moves); stillness is drawn separately.
_ACTIONS: tuple[tuple[str, bool, float], ...] = (
    ("none", True, 0.44),
    ("appears", False, 0.08),
    ("appears", True, 0.09),
    ("disappears", False, 0.08),
    ("disappears", True, 0.09),
    ("slides in", True, 0.11),
    ("slides out", True, 0.11),
)
_TRIES = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mover:
    """An object on a path; `looks` has its `(x, y)` where the path starts, `behind` is whom it passes behind."""

    looks: Object
    path: Path
    behind: int | None = None

    def at(self, frame: int) -> Object | None:
        """The object as it is in a frame, perhaps outside the picture; None where it does not exist."""
        offset = self.path.offset(frame)
        if offset is None:
            return None
        return dataclasses.replace(self.looks, x=self.looks.x + offset[0], y=self.looks.y + offset[1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A background and movers painted back to front, over a number of frames."""

    background: Background
    movers: tuple[Mover, ...]
    frames: int
    width: int = WIDTH
    height: int = HEIGHT

    def __post_init__(self) -> None:
        """Refuses movers that outlive the clip or pass behind somebody who is not in front of them."""
        for i, mover in enumerate(self.movers):
            if mover.path.last >= self.frames:
                raise ValueError(f"movers[{i}].path.last is {mover.path.last}, must be below frames = {self.frames}")
            if mover.behind is not None and not i < mover.behind < len(self.movers):
                raise ValueError(f"movers[{i}].behind is {mover.behind}, must be a later mover")


def clip_at(split: str, index: int, seed: int = 0, frames: int | None = None) -> Clip:
    """The clip number `index` of a split; always the same one. `frames` fixes its length, else it varies."""
    return sample_clip(scene_rng(split, index, seed, CLIP_STREAM), split, frames)


def sample_clip(rng: Rng, split: str, frames: int | None = None) -> Clip:
    """Draws a clip that obeys the split's rule on held-out pairs; something happens in every one.

    Raises:
        ValueError: the split is unknown, or `frames` is below 8: too short for a slow motion.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, must be one of {', '.join(SPLITS)}")
    if frames is not None and frames < FRAME_COUNTS[0]:
        raise ValueError(f"frames is {frames}, must be at least {FRAME_COUNTS[0]}")
    length = frames or FRAME_COUNTS[int(rng.integers(len(FRAME_COUNTS)))]
    count = int(rng.integers(1, MAX_MOVERS + 1))
    movers: tuple[Mover, ...] = ()
    if count > 1 and rng.random() < 0.4:
        movers = _passing(rng, split, length) or ()
    while len(movers) < count:
        grown = _grow(rng, split, movers, length)
        if grown is None:
            if movers:
                break  # A crowded clip keeps the movers that fit.
            continue
        movers = grown
    return Clip(background=sample_background(rng), movers=movers, frames=length)


def frame_scene(clip: Clip, frame: int) -> Scene:
    """What is painted in a frame: the objects that exist then, in painting order."""
    objects = tuple(obj for mover in clip.movers if (obj := mover.at(frame)) is not None)
    return Scene(background=clip.background, objects=objects, width=clip.width, height=clip.height)


def present(clip: Clip, frame: int) -> list[int]:
    """Indices of the movers that `frame_scene` paints, in its order."""
    return [i for i, mover in enumerate(clip.movers) if mover.at(frame) is not None]


def cast(clip: Clip) -> Scene:
    """Every mover at its starting place, whether or not they ever share a frame: for rules on who takes part."""
    return Scene(background=clip.background, objects=tuple(m.looks for m in clip.movers))


def hidden_shares(back: Mover, front: Mover, frames: int) -> npt.NDArray[np.float64]:
    """How much of what is in the picture of `back` the mask of `front` covers, per frame [T]."""
    shares = np.zeros(frames)
    for t in range(frames):
        a, b = back.at(t), front.at(t)
        if a is None or b is None or np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius:
            continue
        whole = geometry.amodal_mask(a, WIDTH, HEIGHT)
        covered = whole & geometry.amodal_mask(b, WIDTH, HEIGHT)
        shares[t] = np.count_nonzero(covered) / max(int(np.count_nonzero(whole)), 1)
    return shares


def well_formed(movers: tuple[Mover, ...], frames: int) -> bool:
    """Whether all movers can be told apart by looks and motion, and hide each other only as they should."""
    names = {(m.looks.size, m.looks.color, m.looks.shape, m.path.direction, m.path.event) for m in movers}
    if len(names) < len(movers):
        return False
    return all(
        _hides_rightly(back, front, frames, back.behind == j)
        for i, back in enumerate(movers)
        for j, front in enumerate(movers[i + 1 :], i + 1)
    )


def insert(movers: tuple[Mover, ...], new: Mover, at: int) -> tuple[Mover, ...]:
    """The movers with one more at painting position `at`, and `behind` adjusted."""
    moved = [m if m.behind is None or m.behind < at else dataclasses.replace(m, behind=m.behind + 1) for m in movers]
    return (*moved[:at], new, *moved[at:])


def remove(movers: tuple[Mover, ...], i: int) -> tuple[Mover, ...]:
    """The movers without number `i`, which nobody may pass behind, and `behind` adjusted."""
    assert all(m.behind != i for m in movers)
    rest = movers[:i] + movers[i + 1 :]
    return tuple(m if m.behind is None or m.behind < i else dataclasses.replace(m, behind=m.behind - 1) for m in rest)


def _hides_rightly(back: Mover, front: Mover, frames: int, passes: bool) -> bool:
    shares = hidden_shares(back, front, frames)
    if not passes:
        apart = back.looks.color != front.looks.color or not _touch(back, front, frames)
        return bool(apart and shares.max() <= MAX_HIDDEN)
    ends = max(shares[: back.path.begins + 1].max(), shares[back.path.stops :].max())
    return bool(shares.max() >= MIN_HIDDEN and ends <= MAX_HIDDEN)


def _touch(one: Mover, other: Mover, frames: int) -> bool:
    """Whether the circles around two objects ever meet."""
    pairs = [(a, b) for t in range(frames) if (a := one.at(t)) is not None and (b := other.at(t)) is not None]
    return any(np.hypot(a.x - b.x, a.y - b.y) < a.radius + b.radius - MAX_TOUCH for a, b in pairs)


def _passing(rng: Rng, split: str, frames: int) -> tuple[Mover, ...] | None:
    """A small object that passes behind a large one of another colour; None if no such pair was found."""
    for _ in range(_TRIES):
        color, shape = _pair(rng, split, ())
        other = sample_pair(rng, split)[0]
        screen = _SCREENS[int(rng.integers(len(_SCREENS)))]
        if other == color or (split != "compositional" and (other, screen) in HELD_OUT):
            continue
        front = sample_object(rng, other, screen, "large")
        found = motion_paths.passing_path(rng, sample_object(rng, color, shape, "small"), front, frames)
        if found is None:
            continue
        back = Mover(looks=found[0], path=found[1], behind=1)
        pair = (back, Mover(looks=front, path=motion_paths.still_path(rng, frames)))
        if well_formed(pair, frames):
            return pair
    return None


def _grow(rng: Rng, split: str, movers: tuple[Mover, ...], frames: int) -> tuple[Mover, ...] | None:
    """Adds one mover in front of or behind the others; None if none was found that fits."""
    still = bool(movers) and rng.random() < 0.3
    for _ in range(_TRIES):
        color, shape = _pair(rng, split, movers)
        new = _act(rng, sample_object(rng, color, shape), frames, still)
        if new is None:
            continue
        candidate = insert(movers, new, int(rng.integers(len(movers) + 1)))
        if well_formed(candidate, frames):
            return candidate
    return None


def _act(rng: Rng, obj: Object, frames: int, still: bool) -> Mover | None:
    """Gives an object something to do; None if nothing drawn for it fits."""
    if still:
        return Mover(looks=obj, path=motion_paths.still_path(rng, frames))
    chosen = int(rng.choice(len(_ACTIONS), p=[weight for *_, weight in _ACTIONS]))
    event, moves, _ = _ACTIONS[chosen]
    if not moves:
        return Mover(looks=obj, path=motion_paths.still_path(rng, frames, event))
    draw = motion_paths.sliding_path if event in motion_paths.SLIDES else motion_paths.moving_path
    for _ in range(_TRIES):  # An action is not given up early, or those that seldom fit would be rare.
        found = draw(rng, obj, frames, event)
        if found is not None:
            return Mover(looks=found[0], path=found[1])
    return None


def _pair(rng: Rng, split: str, movers: tuple[Mover, ...]) -> tuple[str, str]:
    """Colour and shape of a new mover, one or both often shared with another: then only motion tells them apart."""
    if split == "compositional" and not movers:
        return HELD_OUT[int(rng.integers(len(HELD_OUT)))]
    color, shape = sample_pair(rng, split)
    draw = float(rng.random())
    if movers and draw < 0.5:
        other = movers[int(rng.integers(len(movers)))].looks
        color = other.color if draw < 0.34 else color
        shape = other.shape if draw < 0.18 or draw >= 0.34 else shape
    if split != "compositional" and (color, shape) in HELD_OUT:
        return sample_pair(rng, split)
    return color, shape
