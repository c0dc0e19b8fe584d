"""Simulated user drawings on an object: point, box, scribble, polygon, mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from train.data.shapes.render import mask_box
from vitron.regions import to_mask
from vitron.types import DrawnRegion, Point

KINDS: tuple[str, ...] = ("point", "box", "scribble", "polygon", "mask")
BoolMask = npt.NDArray[np.bool_]


def draw(mask: BoolMask, rng: np.random.Generator, kind: str | None = None) -> dict[str, Any]:
    """Draws on an object as a user would.

    Args:
        mask: the object's visible mask [H, W].
        rng: source of the hand's inaccuracy.
        kind: one of KINDS, or None for a random one.

    Returns:
        "kind" and one of "points", "box", "mask"; coordinates are normalised.
    """
    if not mask.any():
        raise ValueError("mask is empty, must have at least one pixel to draw on")
    chosen = kind or KINDS[int(rng.integers(len(KINDS)))]
    if chosen == "point":
        return {"kind": chosen, "points": _inner_points(mask, rng, 1)}
    if chosen == "box":
        return {"kind": chosen, "box": _rough_box(mask, rng)}
    if chosen == "scribble":
        return {"kind": chosen, "points": _scribble(mask, rng)}
    if chosen == "polygon":
        return {"kind": chosen, "points": _outline(mask, rng)}
    if chosen == "mask":
        return {"kind": chosen, "mask": mask}
    raise ValueError(f"kind is {chosen!r}, must be one of {', '.join(KINDS)}")


def rasterize(drawing: dict[str, Any], height: int, width: int) -> BoolMask:
    """The drawing as a mask [H, W], by the same rule as drawings of real users."""
    return to_mask(DrawnRegion(**drawing), height, width)


def _pixels(mask: BoolMask) -> npt.NDArray[np.float64]:
    """Centres (x, y) of the mask's pixels, in pixels [n, 2]."""
    rows, columns = np.nonzero(mask)
    return np.stack([columns, rows], axis=1).astype(np.float64) + 0.5


def _normalised(points: npt.NDArray[np.float64], mask: BoolMask) -> tuple[Point, ...]:
    scaled = np.clip(points / np.array(mask.shape[::-1], dtype=np.float64), 0.0, 1.0)
    return tuple((float(x), float(y)) for x, y in scaled)


def _inner_points(mask: BoolMask, rng: np.random.Generator, n: int) -> tuple[Point, ...]:
    """Clicks on pixels whose four neighbours also belong to the object, where there are any."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    pixels = _pixels(inner if inner.any() else mask)
    return _normalised(pixels[rng.integers(len(pixels), size=n)], mask)


def _rough_box(mask: BoolMask, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """The object's box with each side off by up to a tenth of its length."""
    x1, y1, x2, y2 = mask_box(mask)
    scale = 0.1 * np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    rough = np.clip(np.array([x1, y1, x2, y2]) + scale * rng.uniform(-1.0, 1.0, 4), 0.0, 1.0)
    return (float(rough[0]), float(rough[1]), float(rough[2]), float(rough[3]))


def _scribble(mask: BoolMask, rng: np.random.Generator) -> tuple[Point, ...]:
    """A stroke that wanders over the object in steps that stay on it."""
    pixels = _pixels(mask)
    stroke = [pixels[int(rng.integers(len(pixels)))]]
    for _ in range(int(rng.integers(3, 7))):
        near = pixels[np.abs(pixels - stroke[-1]).max(axis=1) <= 5.0]
        candidates = near[rng.integers(len(near), size=8)]
        inside = [p for p in candidates if _segment_inside(mask, stroke[-1], p)]
        if inside:
            stroke.append(max(inside, key=lambda p: float(np.abs(p - stroke[0]).sum())))
    if len(stroke) == 1:  # No way to move: a dab rather than a stroke.
        stroke.append(stroke[0])
    return _normalised(np.array(stroke), mask)


def _segment_inside(mask: BoolMask, start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> bool:
    steps = np.linspace(0.0, 1.0, 12)[:, None]
    points = (start + steps * (end - start)).astype(int)
    return bool(mask[points[:, 1], points[:, 0]].all())


def _outline(mask: BoolMask, rng: np.random.Generator) -> tuple[Point, ...]:
    """A rough polygon around the object: farthest pixels in 8 to 12 directions, shaken."""
    pixels = _pixels(mask)
    middle = pixels.mean(axis=0)
    count = int(rng.integers(8, 13))
    angles = 2 * np.pi * (np.arange(count) + rng.uniform(0.0, 1.0)) / count
    toward = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reach = ((pixels - middle) @ toward.T).max(axis=0) + 0.5 + rng.uniform(-0.6, 1.2, count)
    return _normalised(middle + reach[:, None] * toward, mask)
