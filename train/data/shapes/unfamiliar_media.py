"""Pictures and clips that show nothing of the Shapes world: cloudy grounds over which a shapeless spot drifts.

They stand for photographs and real footage: many colours, soft edges, detail at every scale.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from train.data.shapes.scene import HEIGHT, WIDTH

Rng = np.random.Generator
Floats = npt.NDArray[np.float32]
_GRAINS = (2, 3, 5, 9, 17, 33, 49)
"""Cells along each side of the noise that is summed up, from coarse to fine."""
_EDGE = 2.0
"""Width of the spot's soft edge, in pixels."""
_MOST = 0.5
"""Where the spot covers this much of a pixel, the pixel is its own."""


class Scenery(NamedTuple):
    """Frames uint8 [T, H, W, 3], and where the spot is, bool [T, H, W]; a picture is one frame."""

    frames: npt.NDArray[np.uint8]
    spot: npt.NDArray[np.bool_]


def scenery(rng: Rng, frames: int) -> Scenery:
    """Draw a view that a camera pans over, slowly or fast, steadily or not, with a spot that moves on its own."""
    margin = int(rng.choice([4, 12, 48]))
    shots = [_ground(rng, HEIGHT + 2 * margin, WIDTH + 2 * margin) for _ in range(_shots(rng, frames))]
    pan = _way(rng, frames, margin, margin, margin)
    if rng.random() < 0.3:
        pan = (pan + rng.normal(0, rng.uniform(1, 6), pan.shape)).clip(0, 2 * margin)
    spot = _surface(rng, HEIGHT, WIDTH) + rng.uniform(-60, 60, 3)
    radius = float(rng.uniform(6, 16))
    way = _way(rng, frames, WIDTH / 2, HEIGHT / 2, WIDTH / 2 - radius)
    outline = _outline(rng)
    shown, masks = [], []
    for number, ((dx, dy), (x, y)) in enumerate(zip(pan, way, strict=True)):
        left, top, ground = round(dx), round(dy), shots[number * len(shots) // frames]
        under = ground[top : top + HEIGHT, left : left + WIDTH]
        cover = _cover(x, y, radius, outline)
        shown.append(under + cover[..., None] * (spot - under))
        masks.append(cover > _MOST)
    noisy = np.stack(shown) + rng.normal(0, rng.uniform(0, 4), (frames, HEIGHT, WIDTH, 1))
    return Scenery(noisy.clip(0, 255).astype(np.uint8), np.stack(masks))


def _shots(rng: Rng, frames: int) -> int:
    """Return how many shots footage is cut from: mostly one."""
    return 1 if rng.random() < 0.8 else int(rng.integers(2, max(frames // 3, 2) + 1))


def _ground(rng: Rng, height: int, width: int) -> Floats:
    """Return colours [H, W, 3] of surfaces that border on each other."""
    ground = _surface(rng, height, width)
    for _ in range(int(rng.choice([0, 1, 2, 4, 8, 14]))):
        field = _noise(rng, height, width, float(rng.uniform(0.0, 1.5)))
        patch = field > np.quantile(field, rng.uniform(0.3, 0.95))
        ground = np.where(patch[..., None], _surface(rng, height, width), ground)
    return ground


def _surface(rng: Rng, height: int, width: int) -> Floats:
    """Return colours [H, W, 3] that change as light on rough things does: most at the coarsest scale."""
    roughness = float(rng.uniform(0.1, 1.2))
    light = _noise(rng, height, width, roughness)[..., None] * rng.uniform(10, 70)
    hue = np.stack([_noise(rng, height, width, 1.2) for _ in range(3)], axis=-1) * rng.uniform(0, 35)
    return np.asarray(rng.uniform(40, 215, 3) + light + hue, np.float32)


def _noise(rng: Rng, height: int, width: int, roughness: float) -> Floats:
    total = np.zeros((height, width), np.float32)
    for cells in _GRAINS:
        coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) * cells**-roughness
    return total


def _way(rng: Rng, frames: int, x: float, y: float, reach: float) -> npt.NDArray[np.float64]:
    """Return places [T, 2] on a straight way, or on one spot, within `reach` of (x, y) on each axis."""
    ends = rng.uniform(-reach, reach, (2, 2))
    if rng.random() < 0.3:
        ends[1] = ends[0]
    return np.linspace(ends[0], ends[1], frames) + np.array([x, y])


def _outline(rng: Rng) -> Floats:
    """Return the distance of an outline from its centre, by degrees, as a share of the radius."""
    angle = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    waves = [rng.uniform(0, 0.35 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 7)]
    return np.asarray(0.75 + np.sum(waves, axis=0), np.float32)


def _cover(x: float, y: float, radius: float, outline: Floats) -> Floats:
    """Return how much of each pixel a shape covers, [H, W]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    angle = np.degrees(np.arctan2(rows - y, columns - x)).astype(int) % 360
    inside = outline[angle] * radius - np.hypot(columns - x, rows - y)
    return np.asarray(np.clip(inside / _EDGE + 0.5, 0, 1), np.float32)
