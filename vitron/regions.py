"""What users draw on a picture: checking it, rasterising it, its box, and a mask's wire forms.

Coordinates are those of `vitron.types`: `(x, y)` in [0, 1] of the whole picture, so pixel column
`c` of `width` covers `[c / width, (c + 1) / width)`. A valid region never rasterises to an empty
mask, however small it is: at least the pixel under it is set, since an empty mask has no box and
pools no feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageDraw

from vitron.media import ImageLimits, encode_gray_png, open_picture
from vitron.types import BoolMask, Box, DrawnRegion, Point, box_around, check_box

POINT_RADIUS = 0.02
"""Radius of the disc around a click, as a part of the picture's shorter side."""
SCRIBBLE_WIDTH = 0.03
"""Width of a scribble's stroke, as a part of the picture's shorter side (at least one pixel)."""
MAX_POINTS = 4096
MAX_PIXELS = 40_000_000
MIN_POINTS = {"point": 1, "scribble": 1, "polygon": 3}
KINDS = ("point", "box", "scribble", "polygon", "mask")


class Rle(TypedDict):
    """COCO's compressed run-length encoding of a mask: `[height, width]` and the counts."""

    size: list[int]
    counts: str


def validate(region: DrawnRegion) -> DrawnRegion:
    """Return `region` unchanged, or raise ValueError naming field, value and what is allowed."""
    if region.kind not in KINDS:
        raise ValueError(f"kind: got {region.kind!r}, expected one of {', '.join(KINDS)}")
    for name, number in (("image", region.image), ("frame", region.frame)):
        if number < 0:
            raise ValueError(f"{name}: got {number}, expected 0 or more")
    owner = "points" if region.kind in MIN_POINTS else region.kind
    given = {"points": region.points or None, "box": region.box, "mask": region.mask}
    for name, value in given.items():
        if value is not None and name != owner:
            raise ValueError(f"{name}: given for kind {region.kind!r}, expected only {owner}")
    if owner == "points":
        _check_points(region.kind, region.points)
    elif owner == "box":
        if region.box is None:
            raise ValueError("box: got None, expected (x1, y1, x2, y2) for kind 'box'")
        check_box(region.box)
    else:
        _check_mask(region.mask)
    return region


def _check_points(kind: str, points: Sequence[Point]) -> None:
    least = MIN_POINTS[kind]
    if not least <= len(points) <= MAX_POINTS:
        raise ValueError(f"points: got {len(points)} for kind {kind!r}, expected {least} to {MAX_POINTS}")
    for index, point in enumerate(points):
        if len(point) != 2 or not all(isfinite(v) and 0.0 <= v <= 1.0 for v in point):
            raise ValueError(f"points[{index}]: got {tuple(point)}, expected (x, y) in [0, 1]")


def _check_mask(mask: BoolMask | None) -> None:
    if mask is None:
        raise ValueError("mask: got None, expected a bool [height, width] array for kind 'mask'")
    if mask.dtype != np.bool_ or mask.ndim != 2:
        got = f"{mask.dtype} {list(mask.shape)}"
        raise ValueError(f"mask: got {got}, expected bool [height, width]")
    if mask.size > MAX_PIXELS:
        raise ValueError(f"mask: got {mask.size} pixels, expected at most {MAX_PIXELS}")
    if not mask.any():
        raise ValueError("mask: got an empty mask, expected at least one set pixel")


def to_mask(region: DrawnRegion, height: int, width: int) -> BoolMask:
    """Rasterise `region` on a picture of `height` x `width`.

    A click becomes a disc (`POINT_RADIUS`), a scribble a stroke (`SCRIBBLE_WIDTH`), a polygon
    everything it winds around (so a lasso that crosses itself has no holes), and a mask is
    stretched to the nearest pixel.

    Args:
        region: any region; it is validated.
        height: rows of the picture.
        width: columns of the picture.

    Returns:
        A new bool `[height, width]` array with at least one set pixel.
    """
    _check_size(height, width)
    validate(region)
    if region.box is not None:
        return _box_mask(region.box, height, width)
    if region.mask is not None:
        return _stretch(region.mask, height, width)
    points = np.asarray(region.points, dtype=np.float64) * (width, height)
    clicked = region.kind == "point" or len(points) == 1  # a scribble of one point is a tap
    if clicked:
        mask = _discs(points, height, width)
    elif region.kind == "scribble":
        mask = _stroke(points, height, width)
    else:
        mask = _winding(points, height, width) != 0
    if clicked or not mask.any():
        mask[_pixels(points[:, 1], height), _pixels(points[:, 0], width)] = True
    return mask


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"size: got {height} x {width}, expected positive and at most {MAX_PIXELS} pixels")


def _pixels(values: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.int64]:
    """Indices of the pixels that hold `values`; the far border belongs to the last pixel."""
    return np.clip(values.astype(np.int64), 0, size - 1)


def _box_mask(box: Box, height: int, width: int) -> BoolMask:
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[_span(box[1], box[3], height), _span(box[0], box[2], width)] = True
    return mask


def _span(low: float, high: float, size: int) -> slice:
    """Pixels whose edges round into `[low, high]`: a box made of pixel edges comes back exactly."""
    start = min(round(low * size), size - 1)
    stop = max(round(high * size), start + 1)
    if stop == start + 1 and (high - low) * size < 1:
        # Narrower than a pixel: rounding may pick the neighbour, so take the one under the middle.
        start = min(int((low + high) / 2 * size), size - 1)
        stop = start + 1
    return slice(start, stop)


def _stretch(mask: BoolMask, height: int, width: int) -> BoolMask:
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(np.int64)
    stretched: BoolMask = mask[rows[:, None], columns[None, :]]
    if not stretched.any():  # details finer than a target pixel fell between the samples
        found = np.nonzero(mask)
        target = found[0] * height // mask.shape[0], found[1] * width // mask.shape[1]
        stretched[target] = True
    return stretched


def _discs(points: npt.NDArray[np.float64], height: int, width: int) -> BoolMask:
    radius = POINT_RADIUS * min(height, width)
    mask = np.zeros((height, width), dtype=np.bool_)
    for x, y in points:
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        bottom, right = int(y + radius) + 1, int(x + radius) + 1
        rows = np.arange(top, min(bottom, height))[:, None] + 0.5
        columns = np.arange(left, min(right, width))[None, :] + 0.5
        mask[top:bottom, left:right] |= (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    return mask


def _stroke(points: npt.NDArray[np.float64], height: int, width: int) -> BoolMask:
    stroke = max(1, round(SCRIBBLE_WIDTH * min(height, width)))
    canvas = PillowImage.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    # Pillow's coordinates are pixel centres, ours are pixel edges.
    path = [(float(x) - 0.5, float(y) - 0.5) for x, y in points]
    pen.line(path, fill=255, width=stroke, joint="curve")
    return np.asarray(canvas) > 0


def _winding(points: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.int32]:
    """Winding number of the closed polygon `points` (pixels) around every pixel centre.

    Each edge adds its direction at the first pixel centre right of where it crosses a row of
    centres; the running sum along a row is then the winding number.
    """
    steps = np.zeros((height, width + 1), dtype=np.int32)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        first, last = np.ceil(np.array([min(y0, y1), max(y0, y1)]) - 0.5).astype(np.int64)
        rows = np.arange(max(first, 0), min(last, height))
        crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
        steps[rows, columns] += 1 if y1 > y0 else -1
    summed: npt.NDArray[np.int32] = np.cumsum(steps[:, :width], axis=1, dtype=np.int32)
    return summed


def box_of(mask: BoolMask) -> Box:
    """Return the tight box of `mask` (outer pixel edges over the size); ValueError if empty."""
    box = box_around(mask)
    if box is None:
        raise ValueError("mask: got an empty mask, expected at least one set pixel")
    return box


def mask_to_rle(mask: BoolMask) -> Rle:
    """Encode `mask` as COCO's compressed RLE (column-major runs, first run of zeros)."""
    flat = np.asarray(mask, dtype=np.bool_).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate(([0], edges, [flat.size]))
    counts = np.diff(bounds)
    if flat.size and flat[0]:
        counts = np.concatenate(([0], counts))
    height, width = mask.shape
    return {"size": [int(height), int(width)], "counts": _pack(counts.astype(np.int64))}


def rle_to_mask(rle: Rle, max_pixels: int = MAX_PIXELS) -> BoolMask:
    """Decode COCO's compressed RLE.

    Args:
        rle: `size` and `counts`; checked in full before the mask is allocated.
        max_pixels: largest mask accepted.

    Raises:
        ValueError: for a wrong size, a mask above `max_pixels`, or counts that do not fill it.
    """
    size, counts = rle["size"], rle["counts"]
    if len(size) != 2 or not all(type(v) is int and v > 0 for v in size):
        raise ValueError(f"size: got {size}, expected two positive whole numbers [height, width]")
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        raise ValueError(f"size: got {size}, expected at most {max_pixels} pixels")
    runs = _unpack(counts, pixels)
    if (runs < 0).any() or (runs > pixels).any() or int(runs.sum()) != pixels:
        raise ValueError(f"counts: runs do not fill {size[0]} x {size[1]} pixels")
    values = np.arange(runs.size) % 2 == 1
    return np.repeat(values, runs).reshape((size[0], size[1]), order="F")


def _pack(counts: npt.NDArray[np.int64]) -> str:
    """Write runs as COCO does: differences to the run before last, six bits a character."""
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    digits: list[npt.NDArray[np.uint8]] = []
    lengths = np.zeros(rest.size, dtype=np.int64)
    open_ = np.ones(rest.size, dtype=np.bool_)
    while open_.any():
        low = rest & 0x1F
        rest >>= 5
        more = np.where(low & 0x10, rest != -1, rest != 0) & open_
        digits.append((low + 0x20 * more + 48).astype(np.uint8))
        lengths += open_
        open_ = more
    table = np.stack(digits, axis=1) if digits else np.zeros((0, 1), dtype=np.uint8)
    used = np.arange(table.shape[1])[None, :] < lengths[:, None]
    return bytes(table[used]).decode("ascii")


def _unpack(text: str, pixels: int) -> npt.NDArray[np.int64]:
    """Read what `_pack` writes; differences are summed back into runs."""
    # At most seven characters a run, and one run a pixel beside the leading run of zeros.
    if not isinstance(text, str) or not text.isascii() or len(text) > 7 * (pixels + 1):
        raise ValueError("counts: expected an ASCII string in COCO's compressed form")
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if not codes.size or (codes < 0).any() or (codes > 63).any() or codes[-1] & 0x20:
        raise ValueError("counts: got a broken string, expected COCO's compressed form")
    ends = np.flatnonzero((codes & 0x20) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    if (ends - starts).max() > 6:
        raise ValueError("counts: got a run of more than seven characters, expected at most seven")
    places = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
    runs = np.add.reduceat((codes & 0x1F) << (5 * places), starts)
    runs -= np.where(codes[ends] & 0x10, 1 << (5 * (ends - starts + 1)), 0)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs


def mask_to_png(mask: BoolMask) -> bytes:
    """Encode `mask` as a gray PNG: 255 where it is set, 0 elsewhere."""
    return encode_gray_png(np.where(mask, np.uint8(255), np.uint8(0)))


def png_to_mask(data: bytes, max_pixels: int = MAX_PIXELS) -> BoolMask:
    """Decode a mask picture: set where its brightness is 128 or more (transparency is ignored).

    Raises:
        MediaError: (a ValueError) if it is no readable PNG or has more than `max_pixels`.
    """
    picture = open_picture(data, ImageLimits(max_pixels=max_pixels, formats=("PNG",)))
    return np.asarray(picture.convert("L")) >= 128
