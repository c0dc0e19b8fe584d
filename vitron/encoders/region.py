"""The region encoder: two embeddings for each drawn region (paper §3.1, after Osprey's mask extractor).

One pools the picture's patch features under the region, one encodes the region's binary mask (where it is, how
large, what outline). Any number of regions; the mask has the picture's own aspect ratio and is stretched exactly as
the picture was.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitron.config import RegionConfig, VitronConfig
from vitron.types import BoolMask
from vitron.weights import Weights


class RegionEncoder(nn.Module):
    """Patch features and masks -> `[R, 2, width]`.

    Args:
        config: sizes.
        feature_width: channels of a patch feature.
        grid: patches along a side.
        width: channels of the LLM.
    """

    def __init__(self, config: RegionConfig, *, feature_width: int, grid: int, width: int) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        self.feature = nn.Sequential(nn.Linear(feature_width, width), nn.GELU(), nn.Linear(width, width))
        self.geometry = nn.Sequential(
            nn.Linear(config.geometry_size**2, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, width),
        )

    def forward(self, features: Tensor, weights: Tensor, geometry: Tensor) -> Tensor:
        """Encode regions.

        Args:
            features: `[R, N, D]`, the features of each region's picture.
            weights: `[R, N]`, how much of each patch the region covers; rows sum to 1.
            geometry: `[R, G, G]`, the mask in [0, 1].

        Returns:
            `[R, 2, width]`: pooled features, then geometry.
        """
        pooled = torch.einsum("rn,rnd->rd", weights, features)
        return torch.stack([self.feature(pooled), self.geometry(geometry.flatten(1))], 1)

    def prepare(self, masks: Sequence[BoolMask]) -> tuple[Tensor, Tensor]:
        """Return `(weights [R, N], geometry [R, G, G])` of bool masks of any size.

        Raises:
            ValueError: a mask is empty: it would silently give a region without content.
        """
        weights, geometry = [], []
        for index, mask in enumerate(masks):
            if not mask.any():
                raise ValueError(f"masks[{index}]: is empty, expected at least one pixel inside")
            area = torch.from_numpy(mask).float()[None, None]
            # Area averaging keeps a region smaller than a patch: it gets the patch it lies in.
            cover = F.adaptive_avg_pool2d(area, self.grid).flatten()
            weights.append(cover / cover.sum())
            geometry.append(F.adaptive_avg_pool2d(area, self.config.geometry_size)[0, 0])
        return torch.stack(weights), torch.stack(geometry)

    @torch.inference_mode()
    def encode(self, features: Tensor, masks: Sequence[BoolMask]) -> Tensor:
        """Return `[R, 2, width]` for the regions of one picture with features `[N, D]`."""
        parameter = next(self.parameters())
        weights, geometry = (x.to(parameter) for x in self.prepare(masks))
        return self(features.to(parameter).expand(len(masks), -1, -1), weights, geometry).float()


def make_region_encoder(config: VitronConfig) -> RegionEncoder:
    """Return an untrained region encoder of the sizes that the other parts need."""
    return RegionEncoder(
        config.region, feature_width=config.clip.width, grid=config.clip.grid, width=config.language.width
    )


def load_region_encoder(config: VitronConfig, weights: Weights) -> RegionEncoder:
    """Return the region encoder."""
    encoder = make_region_encoder(config)
    weights.load("region_encoder", encoder)
    return encoder.eval()
