"""Local fitting of one shape to evidence on the pixel grid, for the oracle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes import geometry
from train.data.shapes.scene import MAX_ROTATION

FloatArray = npt.NDArray[np.float32]

_ROUNDS = 4
_CANDIDATES = 20
# First-round spread of x, y (pixels), radius (pixels) and rotation (degrees).
_SPREAD = np.array([0.8, 0.8, 0.7, 9.0], dtype=np.float32)
RADIUS_RANGE = (4.5, 16.0)


class Fit(NamedTuple):
    """A fitted shape; `distance` [H, W] is its signed distance in pixels."""

    shape: str
    x: float
    y: float
    radius: float
    rotation: float
    score: float
    distance: FloatArray


def distance(shape: str, params: FloatArray, columns: FloatArray, rows: FloatArray) -> FloatArray:
    """Signed distances [K, len(rows), len(columns)] for `params` [K, (x, y, radius, rotation)]."""
    x, y, radius, rotation = (params[:, i, None, None] for i in range(4))
    angle = np.deg2rad(rotation)
    du, dv = (columns[None, None, :] - x) / radius, (rows[None, :, None] - y) / radius
    u = du * np.cos(angle) + dv * np.sin(angle)
    v = dv * np.cos(angle) - du * np.sin(angle)
    return np.asarray(radius * geometry.unit_distance(shape, u, v), dtype=np.float32)


def coverage(shape: str, params: FloatArray, columns: FloatArray, rows: FloatArray) -> FloatArray:
    """Anti-aliased coverage in [0, 1], same form as `distance`."""
    gap = np.float32(0.5) - distance(shape, params, columns, rows)
    return np.asarray(np.clip(gap, 0.0, 1.0), dtype=np.float32)


def refine(shape: str, start: tuple[float, float, float, float], evidence: FloatArray) -> Fit:
    """Improves a start by shrinking random search; deterministic.

    Args:
        shape: the shape to fit.
        start: x, y, radius, rotation.
        evidence: [H, W], positive where the shape should be, negative where it must not be.
    """
    rng = np.random.default_rng(0)
    height, width = evidence.shape
    reach = start[2] + 4.0
    top, bottom = max(int(start[1] - reach), 0), min(int(start[1] + reach) + 1, height)
    left, right = max(int(start[0] - reach), 0), min(int(start[0] + reach) + 1, width)
    part = evidence[top:bottom, left:right]
    rows = np.arange(top, bottom, dtype=np.float32) + np.float32(0.5)
    columns = np.arange(left, right, dtype=np.float32) + np.float32(0.5)
    best = np.array(start, dtype=np.float32)
    best_score = -np.inf
    for i in range(_ROUNDS):
        noise = rng.standard_normal((_CANDIDATES, 4)).astype(np.float32)
        noise[0] = 0.0
        params = best + noise * _SPREAD * np.float32(0.6**i)
        params[:, 2] = np.clip(params[:, 2], *RADIUS_RANGE)
        params[:, 3] = np.clip(params[:, 3], -MAX_ROTATION - 6.0, MAX_ROTATION + 6.0)
        scores = (coverage(shape, params, columns, rows) * part).sum(axis=(1, 2))
        k = int(scores.argmax())
        if scores[k] >= best_score:
            best, best_score = params[k], float(scores[k])
    everywhere = distance(
        shape,
        best[None],
        np.arange(width, dtype=np.float32) + np.float32(0.5),
        np.arange(height, dtype=np.float32) + np.float32(0.5),
    )[0]
    x, y, radius, rotation = (float(value) for value in best)
    return Fit(shape, x, y, radius, rotation, best_score, everywhere)
