"""Where things go: a vector for every patch of every frame, from where its like is a moment earlier and later.

Objects move less between two frames than a patch is wide, and the difference of two frames' features says that
something changed, not where to. So each patch looks for itself in the frames `REACH` before and after, by attention
over that frame's patches (compare the correlation volumes of optical flow, Teed & Deng 2020), and what counts is the
way from the one place to the other: a token's own property then, as its colour is.

Shapes: T frames of a clip, N patches of a square grid, D feature channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

REACH = 2
"""Frames before and after."""
WIDTH = 32
"""Channels in which patches are compared."""
UNIT = 0.2
"""A vector of length 1, as a share of the picture."""


class MotionField(nn.Module):
    """Compares patches.

    Args:
        feature_width: channels of a patch feature.
    """

    def __init__(self, feature_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_width, elementwise_affine=False)
        self.query = nn.Linear(feature_width, WIDTH)
        self.key = nn.Linear(feature_width, WIDTH)
        # What is far away is less likely the same: in squares of the picture's side.
        self.nearness = nn.Parameter(torch.tensor(10.0))

    def forward(self, clip: Tensor) -> Tensor:
        """Return the vectors `[T, N, 2]` (x to the right, y down) of frames `[T, N, D]`."""
        grid = _places(clip.shape[1], clip)
        normed = self.norm(clip)
        queries, keys = self.query(normed), self.key(normed)
        far = torch.cdist(grid.float(), grid.float()).square().to(queries)
        last = len(clip) - 1
        moments = torch.arange(len(clip), device=clip.device)
        earlier, later = (moments - REACH).clamp(min=0), (moments + REACH).clamp(max=last)
        alike = (queries @ keys[at].transpose(1, 2) * (WIDTH**-0.5) for at in (earlier, later))
        before, after = ((each - self.nearness.abs() * far).softmax(dim=-1) @ grid for each in alike)
        return (after - before) / UNIT


def _places(count: int, like: Tensor) -> Tensor:
    """Return the middles `[N, 2]` of patches, row-major, in [0, 1]."""
    side = math.isqrt(count)
    line = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) / side
    down, across = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([across, down], dim=-1).flatten(0, 1)
