"""Exact shapes on the pixel grid, by signed distance functions.

The signed distance is taken at pixel centres (column + 0.5, row + 0.5), negative inside. A pixel
belongs to an object's mask when its centre is inside, which is the same as a painted coverage of
at least one half, so pictures and masks never disagree.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from train.data.shapes.scene import Object

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
# Rows and columns of a picture: (row slice, column slice).
Window = tuple[slice, slice]


def window(obj: Object, width: int, height: int) -> Window:
    """The part of the picture an object can touch; empty when it lies outside."""
    reach = obj.radius + 1.5
    left, right = int(obj.x - reach), int(obj.x + reach) + 1
    top, bottom = int(obj.y - reach), int(obj.y + reach) + 1
    return (
        slice(min(max(top, 0), height), max(min(bottom, height), 0)),
        slice(min(max(left, 0), width), max(min(right, width), 0)),
    )


def local_coordinates(obj: Object, part: Window) -> tuple[FloatArray, FloatArray]:
    """Pixel centres of a window in the object's own frame: centred and turned back."""
    rows = np.arange(part[0].start, part[0].stop, dtype=np.float32)[:, None] + 0.5 - obj.y
    columns = np.arange(part[1].start, part[1].stop, dtype=np.float32)[None, :] + 0.5 - obj.x
    angle = np.deg2rad(obj.rotation)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return columns * cosine + rows * sine, rows * cosine - columns * sine


def signed_distance(obj: Object, u: FloatArray, v: FloatArray) -> FloatArray:
    """Distance to the outline in pixels at object coordinates `(u, v)`, negative inside."""
    radius = np.float32(obj.radius)
    return radius * unit_distance(obj.shape, u / radius, v / radius)


def unit_distance(shape: str, u: FloatArray, v: FloatArray) -> FloatArray:
    """Signed distance to a shape of radius one at the origin, for coordinates of any form."""
    if shape == "circle":
        return np.hypot(u, v) - np.float32(0.95)
    if shape == "ring":
        return np.abs(np.hypot(u, v) - np.float32(0.74)) - np.float32(0.24)
    if shape == "square":
        return _box_distance(u, v, 0.80, 0.80)
    if shape == "cross":
        return np.minimum(_box_distance(u, v, 0.95, 0.30), _box_distance(u, v, 0.30, 0.95))
    return _polygon_distance(u, v, _unit_polygon(shape))


def amodal_mask(obj: Object, width: int, height: int) -> BoolArray:
    """The object's whole mask [H, W], as if nothing were in front of it."""
    mask = np.zeros((height, width), dtype=np.bool_)
    part = window(obj, width, height)
    mask[part] = signed_distance(obj, *local_coordinates(obj, part)) <= 0.0
    return mask


def visible_enough(objects: tuple[Object, ...], share: float, width: int = 64, height: int = 64) -> bool:
    """Whether at least `share` of every object is not hidden by those painted after it."""
    whole: dict[int, BoolArray] = {}

    def mask(i: int) -> BoolArray:
        if i not in whole:
            whole[i] = amodal_mask(objects[i], width, height)
        return whole[i]

    for i, back in enumerate(objects):
        front = [j for j in range(i + 1, len(objects)) if _may_touch(back, objects[j])]
        if any(_centre_gap(back, objects[j]) < 0.55 for j in front):
            return False  # Nearly concentric: cheap refusal before any mask is made.
        if not front:
            continue
        hidden = np.any([mask(j) for j in front], axis=0)
        if np.count_nonzero(mask(i) & ~hidden) < share * np.count_nonzero(mask(i)):
            return False
    return True


def _centre_gap(a: Object, b: Object) -> float:
    return float(np.hypot(a.x - b.x, a.y - b.y) / (a.radius + b.radius))


def _may_touch(a: Object, b: Object) -> bool:
    return _centre_gap(a, b) < 1.0


def _box_distance(u: FloatArray, v: FloatArray, half_width: float, half_height: float) -> FloatArray:
    du: FloatArray = np.abs(u) - np.float32(half_width)
    dv: FloatArray = np.abs(v) - np.float32(half_height)
    outside = np.hypot(np.maximum(du, 0.0), np.maximum(dv, 0.0))
    return np.asarray(outside + np.minimum(np.maximum(du, dv), 0.0), dtype=np.float32)


@functools.cache
def _unit_polygon(shape: str) -> FloatArray:
    """Corners [n, 2] of a triangle or five-pointed star of circumscribed radius one."""
    if shape == "triangle":
        angles, radii = np.arange(3) * 120.0, np.array([1.0])
    else:
        angles, radii = np.arange(10) * 36.0, np.array([1.0, 0.42])
    turned = np.deg2rad(angles - 90.0)  # The first corner points up.
    length = np.resize(radii, len(angles))
    corners = np.stack([length * np.cos(turned), length * np.sin(turned)], axis=1)
    return corners.astype(np.float32)


def _polygon_distance(u: FloatArray, v: FloatArray, corners: FloatArray) -> FloatArray:
    """Signed distance to a polygon: nearest edge, sign by crossing parity."""
    broadcast = (-1, *[1] * u.ndim)
    edges = np.roll(corners, -1, axis=0) - corners
    eu, ev = edges[:, 0].reshape(broadcast), edges[:, 1].reshape(broadcast)
    pu, pv = u - corners[:, 0].reshape(broadcast), v - corners[:, 1].reshape(broadcast)
    along = np.clip((pu * eu + pv * ev) / (eu * eu + ev * ev), 0.0, 1.0)
    du, dv = pu - eu * along, pv - ev * along
    distance = np.sqrt((du * du + dv * dv).min(axis=0))
    # A ray to the right crosses an edge when the edge spans the point's height on its right side.
    spans = (pv < 0.0) != (pv < ev)
    right_of = (pu * ev - pv * eu < 0.0) == (ev > 0.0)
    inside = np.logical_xor.reduce(spans & right_of, axis=0)
    return np.asarray(np.where(inside, -distance, distance), dtype=np.float32)
