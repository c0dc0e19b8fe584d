"""Pictures to latents and back: a diffusers VAE together with the scale its latents are used at.

Knows neither noise nor text. The scale is a buffer, so that it travels with the weights.

Shapes: B batch, C latent channels, H and W picture size, h and w latent size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from vitron.types import Image


class LatentCodec(nn.Module):
    """A variational autoencoder whose latents come out with a standard deviation of about one.

    Attributes:
        vae: An `AutoencoderKL`, typed loosely because its decorators hide it from type checkers.
        scaling_factor: What its raw latents are multiplied by, a scalar buffer.
    """

    scaling_factor: Tensor

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        factor = float(self.vae.config["scaling_factor"])
        self.register_buffer("scaling_factor", torch.tensor(factor))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LatentCodec:
        """Build one with random weights from keyword arguments of `AutoencoderKL`."""
        return cls(AutoencoderKL(**config))

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return int(self.vae.config["latent_channels"])

    @property
    def downscale(self) -> int:
        """Pixels along one side that become one latent position."""
        return int(2 ** (len(self.vae.config["block_out_channels"]) - 1))

    def encode(self, pixels_B3HW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return scaled latents [B, C, h, w] of pictures in [-1, 1].

        Args:
            pixels_B3HW: Pictures whose sides are multiples of `downscale`.
            generator: Draws from the posterior; None takes its mean.
        """
        posterior = self.vae.encode(pixels_B3HW).latent_dist
        latents = posterior.mean if generator is None else posterior.sample(generator)
        scaled: Tensor = latents * self.scaling_factor
        return scaled

    def decode(self, latents_BChw: Tensor) -> Tensor:
        """Return pictures [B, 3, H, W], about in [-1, 1]: the caller clips."""
        pixels: Tensor = self.vae.decode(latents_BChw / self.scaling_factor).sample
        return pixels

    def set_scale(self, latent_std: float) -> None:
        """Set the scale from the standard deviation that raw latents were measured to have."""
        if not latent_std > 0.0:
            raise ValueError(f"latent_std: got {latent_std}, expected a number above 0")
        self.scaling_factor.fill_(1.0 / latent_std)


def to_pixels(images: Sequence[Image] | Image) -> Tensor:
    """Return pictures of one size, uint8 [H, W, 3] each, as float [B, 3, H, W] in [-1, 1]."""
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(list(images))))
    return stacked.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def to_images(pixels_B3HW: Tensor) -> list[Image]:
    """Return float pictures in [-1, 1] as uint8 [H, W, 3], clipped and rounded."""
    scaled = pixels_B3HW.detach().float().add(1.0).mul(127.5).round().clamp(0, 255)
    return list(scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
