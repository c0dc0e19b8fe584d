"""The networks of a layered neural atlas (Kasten et al. 2021, §3): two mappings, the atlases, and alpha.

Places are (x, y, t): x and y in units of half the longer side from the picture's middle, t in [-1, 1]. Atlas places
(u, v) are in the same unit. Both atlases are one network: the foreground is looked up at uv / 2 + 1/2, the background
at uv / 2 - 1/2, as in the paper.

The mappings start from a first guess, the shift of each layer in each frame, and learn what is missing: last layers are
zero. From there a small clip takes a hundred steps; the paper's mappings start from nothing and take 400,000.

Shapes: N places.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from vitron.config import AtlasConfig


class Mlp(nn.Module):
    """A multi-layer perceptron over places, with sines and cosines of `bands` octaves beside them."""

    def __init__(self, width_in: int, width_out: int, *, hidden: int, layers: int, bands: int, zero: bool) -> None:
        super().__init__()
        self.bands = bands
        widths = [width_in * (1 + 2 * bands), *[hidden] * layers]
        steps: list[nn.Module] = []
        for low, high in pairwise(widths):
            steps += [nn.Linear(low, high), nn.GELU()]
        last = nn.Linear(widths[-1], width_out)
        if zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*steps, last)

    def forward(self, places: Tensor) -> Tensor:
        """Return [N, out] for places [N, in]."""
        encoded = [places]
        for band in range(self.bands):
            turned = places * (math.pi * 2**band)
            encoded += [turned.sin(), turned.cos()]
        out: Tensor = self.layers(torch.cat(encoded, dim=-1))
        return out


class AtlasNetworks(nn.Module):
    """A clip as two layers.

    Attributes:
        shifts: [2, T, 2], the first guess: how far foreground and background are from their atlas in each frame.
    """

    shifts: Tensor

    def __init__(self, config: AtlasConfig, shifts: Tensor) -> None:
        super().__init__()
        sizes = {"hidden": config.hidden, "layers": config.layers}
        self.foreground_map = Mlp(3, 2, bands=0, zero=True, **sizes)
        self.background_map = Mlp(3, 2, bands=0, zero=True, **sizes)
        self.colors = Mlp(2, 3, bands=config.color_bands, zero=False, **sizes)
        self.alpha = Mlp(3, 1, bands=config.alpha_bands, zero=False, **sizes)
        self.register_buffer("shifts", shifts)

    def map(self, places_N3: Tensor, frames_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return the atlas places [N, 2] of foreground and background."""
        first_N2, second_N2 = (places_N3[:, :2] - self.shifts[layer, frames_N] for layer in (0, 1))
        return first_N2 + self.foreground_map(places_N3), second_N2 + self.background_map(places_N3)

    def look_up(self, uv_N2: Tensor, *, foreground: bool) -> Tensor:
        """Return the colours [N, 3] in [0, 1] of an atlas."""
        colors: Tensor = torch.sigmoid(self.colors(uv_N2 * 0.5 + (0.5 if foreground else -0.5)))
        return colors

    def opacity(self, places_N3: Tensor) -> Tensor:
        """Return logits [N] of alpha, the foreground's part of a pixel."""
        logits: Tensor = self.alpha(places_N3)[:, 0]
        return logits
