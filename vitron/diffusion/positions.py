"""A convolution that knows where it is in the picture (CoordConv: Liu et al. 2018).

Diffusers' UNets have no positional embedding: on large pictures the borders' padding tells positions apart, on small
ones trained for hours instead of weeks it does not, and boxes in GLIGEN's grounding tokens find nothing to attend
from. Only presets trained from scratch use this; stock checkpoints know no such channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def position_maps(height: int, width: int, bands: int, device: torch.device | str = "cpu") -> Tensor:
    """Return sine and cosine of 2^k * pi * position for k < bands and both axes, [4 * bands, height, width].

    Positions are the centres of cells in [0, 1], as boxes are given.
    """
    maps = []
    for size, shape in ((width, (1, width)), (height, (height, 1))):
        centres = (torch.arange(size, device=device) + 0.5) / size
        for band in range(bands):
            angle = (2.0**band * torch.pi * centres).view(shape).expand(height, width)
            maps += [angle.sin(), angle.cos()]
    return torch.stack(maps)


class PositionedConv2d(nn.Conv2d):
    """A convolution over its input and `position_maps`; made from one without them, whose weights it keeps."""

    def __init__(self, conv: nn.Conv2d, bands: int) -> None:
        """Widen `conv` by 4 * bands input channels with random weights."""
        assert conv.groups == 1 and conv.padding_mode == "zeros"
        super().__init__(
            conv.in_channels + 4 * bands,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            bias=conv.bias is not None,
        )
        self.bands = bands
        with torch.no_grad():
            self.weight[:, : conv.in_channels] = conv.weight
            if self.bias is not None and conv.bias is not None:
                self.bias.copy_(conv.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve `input` [B, C, H, W] with the maps appended."""
        height, width = input.shape[-2:]
        maps = position_maps(height, width, self.bands, input.device).to(input.dtype)
        joined = torch.cat([input, maps.expand(len(input), -1, -1, -1)], dim=1)
        return F.conv2d(joined, self.weight, self.bias, self.stride, self.padding, self.dilation)
