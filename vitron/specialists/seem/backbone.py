"""FocalNet, SEEM's image backbone, giving the maps of all four stages.

Written here because the FocalNet of transformers gives its maps after each stage's downsampling and without the
per-stage norms that SEEM's weights hold. Parameter names are those of the published checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitron.config import SeemConfig

LAYER_SCALE = 1e-4
MLP_RATIO = 4


class FocalModulation(nn.Module):
    """Modulates each position by context gathered at growing windows and over the whole map."""

    def __init__(self, dim: int, levels: int, window: int) -> None:
        super().__init__()
        self.dim, self.levels = dim, levels
        self.f = nn.Linear(dim, 2 * dim + levels + 1)
        self.h = nn.Conv2d(dim, dim, kernel_size=1)
        self.proj = nn.Linear(dim, dim)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(_depthwise(dim, window + 2 * level), nn.GELU()) for level in range(levels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, H, W, C]` to the same shape."""
        # .contiguous(): depthwise convolutions are far slower on the transposed strides.
        x = self.f(x).permute(0, 3, 1, 2).contiguous()
        query, context, gates = torch.split(x, [self.dim, self.dim, self.levels + 1], dim=1)
        gathered = torch.zeros_like(query)
        for level, layer in enumerate(self.focal_layers):
            context = layer(context)
            gathered = gathered + context * gates[:, level : level + 1]
        everywhere = nn.functional.gelu(context.mean(dim=(2, 3), keepdim=True))
        gathered = (gathered + everywhere * gates[:, self.levels :]) / (self.levels + 1)
        out: Tensor = self.proj((query * self.h(gathered)).permute(0, 2, 3, 1))
        return out


class Mlp(nn.Module):
    """Two linear layers with GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., C]` to the same shape."""
        out: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return out


class FocalBlock(nn.Module):
    """Focal modulation and MLP, each normalised after it and scaled per channel."""

    def __init__(self, dim: int, levels: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.modulation = FocalModulation(dim, levels, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.gamma_1 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.gamma_2 = nn.Parameter(torch.full((dim,), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, H, W, C]` to the same shape."""
        x = x + self.gamma_1 * self.norm1(self.modulation(x))
        out: Tensor = x + self.gamma_2 * self.norm2(self.mlp(x))
        return out


class PatchEmbed(nn.Module):
    """A strided convolution and a norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, h, w, D]`."""
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class FocalStage(nn.Module):
    """The blocks of one resolution, then the way down to the next."""

    def __init__(self, dim: int, depth: int, levels: int, window: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(FocalBlock(dim, levels, window) for _ in range(depth)))
        self.downsample = None if last else PatchEmbed(dim, 2 * dim, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return this stage's map `[B, H, W, C]` and the input of the next stage."""
        x = self.blocks(x)
        return x, x if self.downsample is None else self.downsample(x.permute(0, 3, 1, 2))


class FocalNet(nn.Module):
    """Four stages; `forward` gives `res2`..`res5`, finest first.

    At full size the strides are 4, 8, 16, 32 and the channels `embed_dim` times 1, 2, 4, 8.
    """

    def __init__(self, config: SeemConfig) -> None:
        super().__init__()
        self.channels = tuple(config.embed_dim * 2**i for i in range(len(config.depths)))
        self.patch_embed = PatchEmbed(3, config.embed_dim, config.stem_kernel, config.stem_stride, config.stem_padding)
        last = len(config.depths) - 1
        self.layers = nn.ModuleList(
            FocalStage(dim, depth, levels, window, last=i == last)
            for i, (dim, depth, levels, window) in enumerate(
                zip(
                    self.channels,
                    config.depths,
                    config.focal_levels,
                    config.focal_windows,
                    strict=True,
                )
            )
        )
        for i, dim in enumerate(self.channels):
            self.add_module(f"norm{i}", nn.LayerNorm(dim))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Map normalised pixels `[B, 3, H, W]` to one map `[B, C_i, H_i, W_i]` per stage."""
        x = self.patch_embed(pixels)
        maps = []
        for i, stage in enumerate(self.layers):
            current, x = stage(x)
            normed: Tensor = self.get_submodule(f"norm{i}")(current)
            maps.append(normed.permute(0, 3, 1, 2).contiguous())
        return maps


def _depthwise(dim: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
