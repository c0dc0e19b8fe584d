"""What happens in a clip, worked out again from its masks alone: the yardstick for texts and labels."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from train.data.shapes.motion import clip_at
from train.data.shapes.render_clip import Footage, film

Mask = npt.NDArray[np.bool_]


@cache
def footage(split: str, index: int) -> Footage:
    """Return a clip, rendered once for all tests."""
    return film(clip_at(split, index))


def inside(mask: Mask) -> bool:
    """Whether a mask [H, W] is there and not cut off by the picture's edge."""
    return bool(mask.any() and not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()))


def travel(whole: Mask) -> tuple[float, float]:
    """How far, in pixels, the centre of whole masks [T, H, W] goes between the frames that show all of it."""
    frames = [t for t in range(len(whole)) if inside(whole[t])]
    centers = [np.argwhere(whole[t])[:, ::-1].mean(axis=0) for t in (frames[0], frames[-1])]
    dx, dy = centers[1] - centers[0]
    return float(dx), float(dy)


def direction(whole: Mask) -> str:
    """Name the direction of a travel: diagonal where both axes count."""
    dx, dy = travel(whole)
    if np.hypot(dx, dy) < 3.0:
        return "still"
    vertical = "" if abs(dy) < 0.41 * abs(dx) else "down" if dy > 0 else "up"
    horizontal = "" if abs(dx) < 0.41 * abs(dy) else "right" if dx > 0 else "left"
    return f"{vertical} {horizontal}".strip()


def reach(film: Footage, k: int) -> Mask:
    """The discs [T, H, W] that an object can paint in, with a square's corners and half a pixel of border."""
    out = np.zeros(film.masks.shape[1:], dtype=bool)
    rows, columns = np.mgrid[: out.shape[1], : out.shape[2]] + 0.5
    for t in range(len(out)):
        obj = film.clip.movers[k].at(t)
        if obj is not None:
            out[t] = np.hypot(columns - obj.x, rows - obj.y) <= 1.14 * obj.radius + 1.0
    return out


def reaches(film: Footage) -> Mask:
    """All of them together."""
    return np.any([reach(film, k) for k in range(len(film.masks))], axis=0)


def core(mask: Mask) -> Mask:
    """Masks [..., H, W] without their borders, two pixels wide, where what lies behind shines through."""
    inner = mask.copy()
    for _ in range(2):
        less = np.zeros_like(inner)
        middle = inner[..., 1:-1, 1:-1]
        beside = inner[..., 1:-1, :-2] & inner[..., 1:-1, 2:] & inner[..., :-2, 1:-1] & inner[..., 2:, 1:-1]
        less[..., 1:-1, 1:-1] = middle & beside
        inner = less
    return inner
