"""The linear projection from patch features to LLM embeddings (paper §3.1)."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Module):
    """`[B, N, D] -> [B, N / merge**2, width]`: squares of `merge` x `merge` patches become one token."""

    def __init__(self, *, feature_width: int, grid: int, merge: int, width: int) -> None:
        super().__init__()
        if grid % merge:
            raise ValueError(f"merge: got {merge}, expected a divisor of the patch grid {grid}")
        self.grid, self.merge = grid, merge
        self.linear = nn.Linear(feature_width * merge * merge, width)

    def forward(self, features: Tensor) -> Tensor:
        """Project features, row-major over the patch grid."""
        batch, _, channels = features.shape
        side, merge = self.grid // self.merge, self.merge
        squares = features.view(batch, side, merge, side, merge, channels).transpose(2, 3)
        projected: Tensor = self.linear(squares.reshape(batch, side * side, merge * merge * channels))
        return projected
