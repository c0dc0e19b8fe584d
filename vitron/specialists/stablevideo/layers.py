"""A fitted clip: where each pixel is in both atlases, and atlases as pictures that can be edited and looked up.

A lattice is an atlas on a grid with the pitch of the clip's pixels, so that what does not move comes back exactly.

Shapes: T frames, H and W their size, A and B rows and columns of a lattice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vitron.specialists.gligen_edit_pixels import fill_ground

Floats = npt.NDArray[np.float32]
ROUNDS = 6
"""Of the robust average."""
NEAR, LEAST = 3.0, 0.03
"""Channel values within which colours are the same to it, and the least part of its weight that a pixel keeps."""
UNSEEN = 0.01
"""Weight below which a place counts as seen by nobody."""
MAX_LATTICE = 3
"""A lattice is at most this many pictures long: what a wild mapping throws further away is dropped."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """What a fit found out, at the size that it worked at.

    Attributes:
        foreground, background: float32 [T, h, w, 2], the atlas place of every pixel, in half the longer side.
        alpha: float32 [T, h, w], the foreground's part of every pixel.
        psnr: of the clip as the atlas renders it, in dB.
    """

    foreground: Floats
    background: Floats
    alpha: Floats
    psnr: float

    def resized(self, height: int, width: int) -> Layers:
        """Return the same for frames of another size: mappings are smooth."""
        if self.alpha.shape[1:] == (height, width):
            return self
        return Layers(
            foreground=_stretch(self.foreground, height, width),
            background=_stretch(self.background, height, width),
            alpha=_stretch(self.alpha[..., None], height, width)[..., 0],
            psnr=self.psnr,
        )


@dataclass(frozen=True, eq=False)
class Lattice:
    """An atlas as a picture.

    Attributes:
        values: float32 [A, B, C].
        weight: float32 [A, B], how much each place is known from; 0: nobody saw it.
        origin: Atlas place of the first pixel's centre.
        pitch: Atlas units from one pixel to the next.
    """

    values: Floats
    weight: Floats
    origin: tuple[float, float]
    pitch: float

    def filled(self) -> Lattice:
        """Return it with what nobody saw filled from around it."""
        return replace(self, values=fill_ground(self.values, self.weight < UNSEEN))

    def look_up(self, uv: Floats) -> Floats:
        """Return the values [..., C] at atlas places [..., 2]; the border goes on beyond the border."""
        return _sample(self.values, self._grid(uv))

    def known(self, uv: Floats) -> Floats:
        """Return how much atlas places [..., 2] are known, 0 beyond the border."""
        return _sample(np.minimum(self.weight, 1.0)[..., None], self._grid(uv), padding="zeros")[..., 0]

    def _grid(self, uv: Floats) -> Tensor:
        rows, columns = self.weight.shape
        at = (torch.from_numpy(np.ascontiguousarray(uv)) - torch.tensor(self.origin)) / self.pitch
        grid: Tensor = (at + 0.5) * 2.0 / torch.tensor([columns, rows]) - 1.0
        return grid.float()


def bake(values: Floats, weight: Floats, uv: Floats) -> Lattice:
    """Average what the pixels [T, H, W, C] of frames show into an atlas, each at its place and with its weight.

    Args:
        values: Colours, or anything else of a pixel.
        weight: float32 [T, H, W]; 0 leaves a pixel out.
        uv: float32 [T, H, W, 2].
    """
    pitch = 2.0 / max(values.shape[1:3])
    inside = weight > 0
    if not inside.any():
        return Lattice(np.zeros((1, 1, values.shape[3]), np.float32), np.zeros((1, 1), np.float32), (0.0, 0.0), pitch)
    places, known, shown = uv[inside], weight[inside], values[inside]
    middle = np.median(places, axis=0)
    reach = MAX_LATTICE / 2 * 2.0
    near = np.abs(places - middle).max(axis=1) <= reach
    places, known, shown = places[near], known[near], shown[near]
    # On the pixels' own grid: the centre of a frame's first pixel is half a pitch from its corner.
    corner = (-values.shape[2] / max(values.shape[1:3]), -values.shape[1] / max(values.shape[1:3]))
    low = [float(c + (np.floor((m - c) / pitch) + 0.5) * pitch) for c, m in zip(corner, places.min(0), strict=True)]
    at = (places - low) / pitch
    columns, rows = (int(np.ceil(m)) + 2 for m in np.maximum(at.max(0), 0.0))
    sums, weights = _splat(shown, known, at + 1e-6, rows, columns)
    mean = np.asarray(sums / np.maximum(weights, 1e-6)[..., None], dtype=np.float32)
    return Lattice(mean, weights, (low[0], low[1]), pitch)


def robust_bake(values: Floats, weight: Floats, uv: Floats) -> tuple[Lattice, Floats]:
    """Return an atlas of what most frames show at a place, and the weights [T, H, W] that it was averaged with.

    The geometric median of the colours, by repeated weighting (Weiszfeld 1937): what passes by in a few frames does
    not smear the background behind it.
    """
    weights, lattice = weight, bake(values, weight, uv)
    for _ in range(ROUNDS):
        away = np.sqrt(((values - lattice.look_up(uv)) ** 2).sum(axis=3))
        weights = np.asarray(weight * np.maximum(NEAR / np.maximum(away, NEAR), LEAST), dtype=np.float32)
        lattice = bake(values, weights, uv)
    return lattice, weights


def _splat(shown: Floats, known: Floats, at: Floats, rows: int, columns: int) -> tuple[Floats, Floats]:
    """Add weighted values to the four cells around each place (x, y); return their sums and the weights'."""
    values = np.concatenate([shown * known[:, None], known[:, None]], axis=1).astype(np.float32)
    total = torch.zeros(rows * columns, values.shape[1])
    base = np.floor(at).astype(np.int64)
    part = (at - base).astype(np.float32)
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = base[:, 0] + dx, base[:, 1] + dy
            share = (part[:, 0] if dx else 1 - part[:, 0]) * (part[:, 1] if dy else 1 - part[:, 1])
            valid = (x >= 0) & (x < columns) & (y >= 0) & (y < rows) & (share > 1e-4)
            cells = torch.from_numpy(y[valid] * columns + x[valid])
            total.index_add_(0, cells, torch.from_numpy(values[valid] * share[valid, None]))
    grid = total.view(rows, columns, -1).numpy()
    return grid[..., :-1], grid[..., -1]


def _sample(picture: Floats, grid: Tensor, padding: str = "border") -> Floats:
    shape = grid.shape[:-1]
    plane = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    found = functional.grid_sample(plane, grid.reshape(1, 1, -1, 2), padding_mode=padding, align_corners=False)
    return np.asarray(found[0, :, 0].T.reshape(*shape, -1).numpy(), dtype=np.float32)


def _stretch(values: Floats, height: int, width: int) -> Floats:
    plane = torch.from_numpy(values).permute(0, 3, 1, 2)
    scaled = functional.interpolate(plane, size=(height, width), mode="bilinear", align_corners=False)
    return np.asarray(scaled.permute(0, 2, 3, 1).numpy(), dtype=np.float32)
