"""SEEM's pixel decoder: a Transformer on the coarsest map, then a feature pyramid.

This is `transformer_encoder_fpn` of the released configurations: no deformable attention. Parameter names are those
of the published checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitron.config import SeemConfig
from vitron.specialists.seem.attention import Attention

NUM_SCALES = 3
GROUPS = 32


class PixelFeatures(NamedTuple):
    """What the decoder reads: three maps `[B, hidden, H_i, W_i]`, coarsest first, and the map masks are read from."""

    scales: tuple[Tensor, ...]
    mask_features: Tensor


class NormConv(nn.Conv2d):
    """A convolution without bias, group-normalised, optionally followed by ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, relu: bool) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(GROUPS, outputs)
        self.relu = relu
        nn.init.kaiming_uniform_(self.weight, a=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, D, H, W]`."""
        out: Tensor = self.norm(super().forward(x))
        return functional.relu(out) if self.relu else out


class EncoderLayer(nn.Module):
    """A post-norm Transformer layer whose positions are added to queries and keys only."""

    def __init__(self, config: SeemConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config.hidden, config.num_heads)
        self.linear1 = nn.Linear(config.hidden, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, config.hidden)
        self.norm1 = nn.LayerNorm(config.hidden)
        self.norm2 = nn.LayerNorm(config.hidden)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Map `[B, N, hidden]` to the same shape."""
        placed = x + positions
        x = self.norm1(x + self.self_attn(placed, placed, x))
        out: Tensor = self.norm2(x + self.linear2(functional.relu(self.linear1(x))))
        return out


class Encoder(nn.Module):
    """A stack of layers; the nesting gives the published parameter names."""

    def __init__(self, config: SeemConfig) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, hidden, H, W]` to the same shape."""
        height, width = x.shape[-2:]
        positions = sine_positions(height, width, x.shape[1], x)
        tokens = x.flatten(2).transpose(1, 2)
        for layer in self.encoder.get_submodule("layers").children():
            tokens = layer(tokens, positions)
        return tokens.transpose(1, 2).unflatten(2, (height, width))


class PixelDecoder(nn.Module):
    """From backbone maps to `PixelFeatures`."""

    def __init__(self, config: SeemConfig, channels: Sequence[int]) -> None:
        super().__init__()
        self.num_levels = len(channels)
        self.input_proj = nn.Conv2d(channels[-1], config.hidden, kernel_size=1)
        self.transformer = Encoder(config)
        for i, width in enumerate(channels[:-1], start=1):
            self.add_module(f"adapter_{i}", NormConv(width, config.hidden, 1, relu=False))
        for i in range(1, self.num_levels + 1):
            self.add_module(f"layer_{i}", NormConv(config.hidden, config.hidden, 3, relu=True))
        self.mask_features = nn.Conv2d(config.hidden, config.hidden, kernel_size=3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """Map the backbone's maps, finest first, to features of width `hidden`."""
        x = self.transformer(self.input_proj(maps[-1]))
        x = self.get_submodule(f"layer_{self.num_levels}")(x)
        scales = [x]
        for level in range(self.num_levels - 1, 0, -1):
            lateral: Tensor = self.get_submodule(f"adapter_{level}")(maps[level - 1])
            x = lateral + functional.interpolate(x, size=lateral.shape[-2:], mode="nearest")
            x = self.get_submodule(f"layer_{level}")(x)
            scales.append(x)
        return PixelFeatures(tuple(scales[:NUM_SCALES]), self.mask_features(x))


def sine_positions(height: int, width: int, dim: int, like: Tensor) -> Tensor:
    """Sine embeddings `[height * width, dim]`, rows in the first half of the channels, on `like`'s device."""
    half = dim // 2
    channel = torch.arange(half, device=like.device, dtype=torch.float32)
    wavelength = 10000.0 ** (2 * (channel // 2) / half)
    along = [_sine_axis(size, wavelength, like) for size in (height, width)]
    rows = along[0][:, None].expand(-1, width, -1)
    columns = along[1][None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1).to(like.dtype)


def _sine_axis(size: int, wavelength: Tensor, like: Tensor) -> Tensor:
    place = torch.arange(1, size + 1, device=like.device, dtype=torch.float32) / size * 2 * math.pi
    angle = place[:, None] / wavelength
    return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)
