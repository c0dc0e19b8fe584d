"""Pixel work of editing: growing areas, filling holes, new colours on old shapes, and pasting without a seam.

All pictures here are float32 RGB [H, W, 3] in 0 to 255, all areas bool [H, W].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from vitron.types import BoolMask, Image

Pixels = npt.NDArray[np.float32]
GAINS = (0.67, 1.5)
"""Least and most contrast of a texture under its new colour, against the old: on black there hardly is any."""
AROUND = 0.08
"""Width of a hole's surroundings, as a part of the picture's side."""
DRIFT = 24.0
"""Most channel values by which a painted area is brought nearer to what is around it."""
UNLIKE, MOSTLY = 48.0, 0.6
"""A pixel so many channel values off the usual colour of a background is none of it, if so much of that is usual."""
ASIDE = 60.0
"""A mixture of two colours is at most this far off the line between them, in any channel."""


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Stretch a picture; the same size comes back as it is."""
    if pixels.shape[:2] == (height, width):
        return pixels
    channels = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    scaled = functional.interpolate(
        channels, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return np.asarray(scaled[0].permute(1, 2, 0).numpy(), dtype=np.float32)


def shrink(area: BoolMask, height: int, width: int) -> BoolMask:
    """Return an area on a grid of another size: a cell is set when any pixel in it is."""
    if area.shape == (height, width):
        return area
    plane = torch.from_numpy(area)[None, None].float()
    if area.shape[0] < height or area.shape[1] < width:
        plane = functional.interpolate(plane, size=(max(height, area.shape[0]), max(width, area.shape[1])))
    return np.asarray(functional.adaptive_max_pool2d(plane, (height, width))[0, 0].numpy() > 0)


def grow(area: BoolMask, radius: int) -> BoolMask:
    """Widen an area by a disc's radius in pixels; a negative one narrows it (the picture's border does not)."""
    if radius == 0 or not area.any():
        return area
    if radius < 0:
        return ~grow(~area, -radius)
    axis = np.arange(-radius, radius + 1)
    out = area.copy()
    for dy in axis:
        reach = int(np.sqrt(radius**2 - dy**2) + 0.3)
        padded = np.pad(_shifted_rows(area, int(dy)), ((0, 0), (reach + 1, reach)))
        counted = np.cumsum(padded, axis=1)
        out |= (counted[:, 2 * reach + 1 :] - counted[:, : -2 * reach - 1]) > 0
    return out


def _shifted_rows(area: BoolMask, dy: int) -> BoolMask:
    out = np.zeros_like(area)
    if dy >= 0:
        out[dy:] = area[: len(area) - dy]
    else:
        out[:dy] = area[-dy:]
    return out


def inner_weight(area: BoolMask, seam: int) -> npt.NDArray[np.float32]:
    """Return how much of the new picture each pixel takes: 0 outside, rising to 1 over `seam` pixels inside."""
    weight = np.zeros(area.shape, np.float32)
    inner = area
    for step in range(1, seam + 1):
        weight[inner] = step / (seam + 1)
        inner = grow(inner, -1)
    weight[inner] = 1.0
    return weight


def fill(pixels: Pixels, hole: BoolMask) -> Pixels:
    """Return the picture with a hole filled from around it: smooth, equal to the picture elsewhere.

    Push and pull over a pyramid (Gortler et al. 1996): holes take the mean of what is known at the finest level that
    knows anything. A picture that is all hole keeps its mean.
    """
    if not hole.any():
        return pixels
    if hole.all():
        return np.broadcast_to(pixels.mean(axis=(0, 1)), pixels.shape).astype(np.float32)
    colours = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    known = torch.from_numpy(~hole)[None, None].float()
    filled = _pull(colours * known, known)[0].permute(1, 2, 0).numpy()
    return np.where(hole[..., None], filled, pixels).astype(np.float32)


def fill_ground(pixels: Pixels, hole: BoolMask) -> Pixels:
    """Return the picture with a hole filled from what most of its surroundings are.

    What stands beside the hole and is no ground does not run into it.
    """
    reach = max(round(AROUND * min(hole.shape)), 2)
    ring = grow(hole, reach) & ~hole
    if not ring.any():
        return fill(pixels, hole)
    unlike = np.abs(pixels - np.median(pixels[ring], axis=0)).max(axis=2) > ASIDE / 2
    filled = fill(pixels, hole | (unlike & grow(ring, reach)))
    return np.where(hole[..., None], filled, pixels).astype(np.float32)


def _pull(sums: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the mean of the known at every place, from the next coarser level where nothing is known."""
    mean = sums / weight.clamp(min=1e-6)
    if bool((weight > 0).all()) or max(weight.shape[-2:]) == 1:
        return mean
    coarse_sums = functional.avg_pool2d(sums, 2, ceil_mode=True, count_include_pad=False)
    coarse_weight = functional.avg_pool2d(weight, 2, ceil_mode=True, count_include_pad=False)
    coarse = _pull(coarse_sums, coarse_weight)
    finer = functional.interpolate(coarse, size=tuple(weight.shape[-2:]), mode="bilinear", align_corners=False)
    known = weight.clamp(max=1.0)
    return mean * known + finer * (1.0 - known)


def main_color(pixels: Pixels, area: BoolMask) -> Pixels:
    """Return the colour [3] of what fills an area: the mean of its brighter half, without what is far off it."""
    inside = pixels[area]
    typical = np.median(inside, axis=0)
    far = np.abs(inside - typical).sum(axis=1)
    near = inside[far <= max(float(np.quantile(far, 0.7)), 1.0)]
    value = near.max(axis=1)
    return np.asarray(near[value >= np.median(value)].mean(axis=0), dtype=np.float32)


def ground_of(pixels: Pixels | Image, stays: Sequence[BoolMask]) -> BoolMask:
    """Return what is background of a picture in which objects stay: what none of their masks covers.

    A background of one colour tells more than masks, which may lack an object, or be boxes around nothing: what has
    another colour is no background, and a mask that is mostly background holds only what is not.
    """
    covered = np.any([np.zeros(pixels.shape[:2], np.bool_), *stays], axis=0)
    ground: BoolMask = ~covered
    if not ground.any():
        return ground
    usual = np.median(pixels[ground].astype(np.float32), axis=0)
    unlike = np.abs(pixels.astype(np.float32) - usual).max(axis=2) > UNLIKE
    if unlike[ground].mean() > 1.0 - MOSTLY:
        return ground
    held = [mask for mask in stays if mask.any() and unlike[mask].mean() >= 0.5]
    found: BoolMask = ~np.any([unlike, *held], axis=0)
    return found


def own_colors(pixels: Pixels, area: BoolMask, against: Pixels, radius: int = 2) -> Pixels:
    """Return, for every pixel, the colour of what fills an area near it: of thin and textured things as well.

    Of the area's pixels at most `radius` away it is the one least like `against` [3], which edges are mixed with. Where
    none is near, the pixel keeps its own colour.
    """
    best, found = pixels.copy(), np.full(area.shape, -1.0, np.float32)
    unlike = np.where(area, np.abs(pixels - against).sum(axis=2), np.float32(-1.0))
    stacked = np.concatenate([pixels, unlike[..., None] + 2.0], axis=2)
    for y in range(-radius, radius + 1):
        for x in range(-radius, radius + 1):
            near = shifted(stacked, (x, y))
            better = near[..., 3] - 2.0 > found
            better &= near[..., 3] > 1.0
            best[better], found[better] = near[better][:, :3], near[better][:, 3] - 2.0
    return best


def object_part(pixels: Pixels, area: BoolMask, behind: Pixels, color: Pixels) -> Pixels:
    """Return how much of each pixel is an object's, [H, W]: 1 within it, less at its soft edge, 0 beyond.

    A pixel at the edge is a mixture of the object and what is behind it. How much of each is read off from where its
    colour lies between the two; a colour that does not lie between them belongs to something else.

    Args:
        pixels: The picture.
        area: The object; two pixels around it may be partly its own.
        behind: The picture without it.
        color: Its main colour [3].
    """
    core = core_of(area)
    line, away = color - behind, pixels - behind
    length = np.maximum((line**2).sum(axis=2), 1.0)
    along = np.clip((away * line).sum(axis=2) / length, 0.0, 1.0)
    aside = np.abs(away - along[..., None] * line).max(axis=2)
    part = np.where((aside < ASIDE) & (along > 0.08), along, np.float32(0.0))
    part[~grow(area, 2)] = 0.0
    part[core] = 1.0
    return np.asarray(part, dtype=np.float32)


def tint(pixels: Pixels, area: BoolMask, behind: Pixels, color: Pixels, old: Pixels | None = None) -> Pixels:
    """Give what fills an area another main colour; its shape, its shading and its soft edge stay.

    Args:
        pixels: The picture.
        area: The object; two pixels around it may change too.
        behind: The picture without the object, for its edge.
        color: The new main colour [3].
        old: The main colour so far; None: it is measured.
    """
    if not area.any():
        return pixels
    core = core_of(area)
    old = main_color(pixels, core) if old is None else old
    part = object_part(pixels, area, behind, old)[..., None]
    # At the edge the object's own colour is unknown; its main colour stands in.
    change = np.where(core[..., None], shaded(pixels, old, color) - pixels, color - old)
    return np.clip(pixels + part * change, 0.0, 255.0).astype(np.float32)


def uncover(pixels: Pixels, area: BoolMask, behind: Pixels, new: Pixels) -> Pixels:
    """Put something else in the place of what fills an area, its soft edge included.

    Args:
        pixels: The picture.
        area: What goes; two pixels around it may change too.
        behind: The picture without it, for its edge.
        new: What is put there, a picture.
    """
    if not area.any():
        return pixels
    core = core_of(area)
    old = main_color(pixels, core)
    part = object_part(pixels, area, behind, old)[..., None]
    change = np.where(core[..., None], new - pixels, new - old)
    return np.clip(pixels + part * change, 0.0, 255.0).astype(np.float32)


def carry(pixels: Pixels, area: BoolMask, behind: Pixels, shift: tuple[int, int]) -> Pixels:
    """Return `behind` with the object of an area laid over it, `shift` (x, y) pixels from where it is in `pixels`."""
    core = core_of(area)
    part = object_part(pixels, area, behind, main_color(pixels, core))[..., None]
    # At its soft edge the object shows what is behind it; its own colours go on to there.
    own = fill(pixels, grow(area, 3) & ~core)
    moved, cover = shifted(own, shift), shifted(part, shift)
    return np.asarray(behind + cover * (moved - behind), dtype=np.float32)


def shifted(values: Pixels, shift: tuple[int, int]) -> Pixels:
    """Return a plane [H, W, C] moved by whole pixels (x, y), zero where nothing comes in."""
    x, y = shift
    height, width = values.shape[:2]
    out = np.zeros_like(values)
    if abs(x) < width and abs(y) < height:
        to = (slice(max(y, 0), height + min(y, 0)), slice(max(x, 0), width + min(x, 0)))
        of = (slice(max(-y, 0), height + min(-y, 0)), slice(max(-x, 0), width + min(-x, 0)))
        out[to] = values[of]
    return out


def match(made: Pixels, source: Pixels, area: BoolMask) -> Pixels:
    """Return a painted picture whose colours meet the source's at the border of the painted area.

    The difference around the area goes on smoothly into it, as in Poisson editing (Pérez et al. 2003): what a generator
    or its autoencoder gets wrong about the ground's shade then leaves no patch.
    """
    if area.all():
        return made
    difference = np.clip(source - made, -DRIFT, DRIFT)
    return np.asarray(np.clip(made + fill(difference, area), 0.0, 255.0), dtype=np.float32)


def core_of(area: BoolMask, depth: int = 1) -> BoolMask:
    """Return an area without a border `depth` pixels wide, or all of it where nothing would be left."""
    inner = grow(area, -depth)
    return inner if inner.any() else area


def shaded(pixels: Pixels, old: Pixels, new: Pixels) -> Pixels:
    """Return the new colour, darker and lighter where the old one is."""
    gain = float(np.clip(new.max() / max(float(old.max()), 1.0), *GAINS))
    difference = (pixels.max(axis=2) - old.max()) * gain
    return np.asarray(new * (1.0 + difference[..., None] / max(float(new.max()), 1.0)), dtype=np.float32)


def to_image(pixels: Pixels) -> Image:
    """Round to uint8."""
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
