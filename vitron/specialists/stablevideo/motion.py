"""First guesses of motion: where a masked object is in each frame, how the camera moves, and optical flow.

Shapes: T frames, h and w their size. Shifts are in pixels (x, y), relative to a reference frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Floats = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]
MISSING = 0.6
"""Price of a pixel that the object should cover and does not: it may be hidden, or the shift is wrong."""
CLIPPED = 0.03
"""Differences of colour above this say nothing about the camera: something else moves there."""
CHANGED, PANNED = 0.02, 0.12
"""A camera that moves changes at least this part of a picture by this much; objects alone change less."""
BETTER = 0.8
"""A camera motion must explain a frame this much better than rest."""
LEVELS, WINDOW, ROUNDS = 3, 7, 3
"""Of the pyramidal Lucas-Kanade flow."""
AGREE = 0.75
"""Pixels by which flow forth and back may differ."""


def object_shifts(masks: Masks) -> tuple[Floats, int]:
    """Return shifts [T, 2] of an object, and the reference frame: the one that shows most of it.

    Its mask in the reference frame is laid over each frame where it fits best. What lies outside the picture costs
    nothing, so that an object that comes in at an edge is not taken for one that grows there. Frames without it lie
    between their neighbours.
    """
    areas = masks.sum(axis=(1, 2))
    reference = int(areas.argmax())
    shifts = np.full((len(masks), 2), np.nan, np.float32)
    for frame in np.flatnonzero(areas):
        shifts[frame] = _best_shift(masks[reference], masks[frame])
    known = np.flatnonzero(~np.isnan(shifts[:, 0]))
    for axis in range(2):
        shifts[:, axis] = np.interp(np.arange(len(masks)), known, shifts[known, axis]) if len(known) else 0.0
    return shifts, reference


def _best_shift(model: npt.NDArray[np.bool_], seen: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the shift (x, y) of `model` that explains `seen` best, to a part of a pixel."""
    height, width = model.shape
    shape = (2 * height, 2 * width)
    spectrum = np.conj(np.fft.rfft2(model.astype(np.float32), shape))

    def correlate(plane: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.asarray(np.fft.irfft2(np.fft.rfft2(plane.astype(np.float32), shape) * spectrum, shape))

    both = correlate(seen)
    score = both - MISSING * (correlate(np.ones_like(seen)) - both)
    top = score.max()
    # The centre of the plateau: subpixel where several shifts are about equally good.
    near = np.argwhere(score >= top - max(0.02 * float(model.sum()), 0.5))
    offsets = np.where(near > np.array(shape) / 2, near - np.array(shape), near)
    best = np.unravel_index(int(score.argmax()), shape)
    center = np.array([b - s if b > s / 2 else b for b, s in zip(best, shape, strict=True)])
    close = offsets[np.abs(offsets - center).max(axis=1) <= 1]
    y, x = close.mean(axis=0)
    return float(x), float(y)


def camera_shifts(frames: Floats, masks: Masks) -> Floats:
    """Return shifts [T, 2] of the background of frames [T, h, w, 3] in [0, 1], the masked object left out.

    Whole pixels, by phase correlation; rest unless a motion explains the frame much better.
    """
    shifts = np.zeros((len(frames), 2), np.float32)
    gray = frames.mean(axis=3)
    for frame in range(1, len(frames)):
        hidden = masks[frame - 1] | masks[frame]
        shifts[frame] = shifts[frame - 1] + _camera_step(gray[frame - 1], gray[frame], ~hidden)
    return shifts


def _camera_step(before: Floats, after: Floats, shown: npt.NDArray[np.bool_]) -> Floats:
    if not shown.any() or (np.abs(after - before) > CHANGED)[shown].mean() < PANNED:
        return np.zeros(2, np.float32)
    candidates = [(0, 0), *_peaks(before, after)]
    costs = [_difference(before, after, shown, step) for step in candidates]
    best = int(np.argmin(costs))
    moved = costs[best] < BETTER * costs[0]
    return np.array(candidates[best] if moved else (0, 0), np.float32)


def _peaks(before: Floats, after: Floats, count: int = 3) -> list[tuple[int, int]]:
    """Return the shifts (x, y) of at most a quarter of the picture that correlate best in phase."""
    height, width = before.shape
    product = np.fft.rfft2(after - after.mean()) * np.conj(np.fft.rfft2(before - before.mean()))
    surface = np.fft.irfft2(product / np.maximum(np.abs(product), 1e-9), before.shape)
    rows, columns = np.fft.fftfreq(height, 1 / height), np.fft.fftfreq(width, 1 / width)
    surface[(np.abs(rows) > height / 4)] = -1.0
    surface[:, np.abs(columns) > width / 4] = -1.0
    order = np.argsort(surface, axis=None)[::-1][:count]
    return [(int(columns[i % width]), int(rows[i // width])) for i in order]


def _difference(before: Floats, after: Floats, shown: npt.NDArray[np.bool_], step: tuple[int, int]) -> float:
    """Return the mean clipped difference where both frames show the background."""
    x, y = step
    height, width = before.shape
    to = (slice(max(y, 0), height + min(y, 0)), slice(max(x, 0), width + min(x, 0)))
    of = (slice(max(-y, 0), height + min(-y, 0)), slice(max(-x, 0), width + min(-x, 0)))
    both = shown[to] & shown[of]
    if not both.any():
        return CLIPPED
    return float(np.minimum(np.abs(after[to] - before[of]), CLIPPED)[both].mean())


def flow(frames: Floats) -> tuple[Tensor, Tensor]:
    """Return optical flow to the next frame, [T - 1, h, w, 2] in pixels, and where to trust it, bool [T - 1, h, w].

    Pyramidal Lucas-Kanade (Bouguet 2001). Trusted is what has texture and comes back to where it began.
    """
    gray = torch.from_numpy(np.ascontiguousarray(frames.mean(axis=3)))[:, None]
    forth, textured = _lucas_kanade(gray[:-1], gray[1:])
    back, _ = _lucas_kanade(gray[1:], gray[:-1])
    closed = forth + _warp(back, forth)
    trusted = (closed.norm(dim=1) < AGREE) & textured
    return forth.permute(0, 2, 3, 1), trusted


def _lucas_kanade(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Return flow [B, 2, h, w] and whether there is texture, bool [B, h, w], of pictures [B, 1, h, w]."""
    pyramid = [(before, after)]
    while len(pyramid) < LEVELS and min(pyramid[-1][0].shape[-2:]) >= 2 * WINDOW:
        pyramid.append((functional.avg_pool2d(pyramid[-1][0], 2), functional.avg_pool2d(pyramid[-1][1], 2)))
    estimate = before.new_zeros(len(before), 2, *pyramid[-1][0].shape[-2:])
    least = estimate[:, 0]
    for low, high in reversed(pyramid):
        if estimate.shape[-2:] != low.shape[-2:]:
            estimate = 2.0 * functional.interpolate(estimate, size=tuple(low.shape[-2:]), mode="bilinear")
        for _ in range(ROUNDS):
            step, least = _solve(low, _warp(high, estimate))
            estimate = estimate + step
    return estimate, least > 1e-3


def _solve(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Return one least-squares step [B, 2, h, w], and the smaller eigenvalue of its matrix [B, h, w]."""
    padded = functional.pad(before, (1, 1, 1, 1), mode="replicate")
    dx, dy = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    dt = before - after

    def window(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, WINDOW, 1, WINDOW // 2, count_include_pad=False)[:, 0]

    xx, yy, xy = window(dx * dx), window(dy * dy), window(dx * dy)
    least = (xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()
    xt, yt = window(dx * dt), window(dy * dt)
    determinant = (xx + 1e-4) * (yy + 1e-4) - xy**2
    step = torch.stack([(yy + 1e-4) * xt - xy * yt, (xx + 1e-4) * yt - xy * xt], dim=1) / determinant[:, None]
    return step.clamp(-2.0, 2.0), least


def _warp(picture: Tensor, shift: Tensor) -> Tensor:
    """Return the picture [B, C, h, w] looked up `shift` [B, 2, h, w] pixels further on."""
    height, width = picture.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = (columns + 0.5 + shift[:, 0]) * (2.0 / width) - 1.0
    y = (rows + 0.5 + shift[:, 1]) * (2.0 / height) - 1.0
    grid: Any = torch.stack([x, y], dim=-1).to(picture.dtype)
    return functional.grid_sample(picture, grid, padding_mode="border", align_corners=False)
