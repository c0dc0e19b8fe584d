"""The networks of the two video generators behind the denoise engine, their conditions, and how rows become a batch.

Diffusers' video UNets take no mask over condition tokens: rows share a forward if they have equally many.

Shapes: B rows, T condition tokens, D condition width, C latent channels, F frames, h and w latent size.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, I2VGenXLUNet, UNet3DConditionModel
from torch import Tensor, nn

from vitron.config import I2VGenConfig, VideoDiffusionConfig, ZeroscopeConfig
from vitron.diffusion.temporal import WiderConv2d, beside, clip_positions, clips_of, narrow_temporal
from vitron.diffusion.warp import SHIFT_SCALE, Motion, as_one, moved, with_copies


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoCondition:
    """What one row is conditioned on.

    Attributes:
        tokens: [T, D].
        fps: Frames per second; ZeroScope knows none.
        first: [C, h, w], latents of the picture that the clip begins with; None: there is none.
        looks: [D], a picture embedding of it.
    """

    tokens: Tensor
    fps: float = 8.0
    first: Tensor | None = None
    looks: Tensor | None = None


class VideoDenoiser(nn.Module):
    """A `Denoiser` of clips, and the module that generation training trains.

    Attributes:
        unet: The network.
        signal_segment: [D], added to signal tokens, so that they can be told from text. Zero for a stock checkpoint,
            which knows of no signal.
        position_bands: Frequencies of the place in picture and clip that the first layer sees; 0: none.
    """

    def __init__(self, unet: Any, *, position_bands: int = 0) -> None:
        """Wrap a UNet whose first layer takes what `position_bands` says."""
        super().__init__()
        self.unet, self.position_bands = unet, position_bands
        self.signal_segment = nn.Parameter(torch.zeros(int(unet.config["cross_attention_dim"])))

    @property
    def latent_channels(self) -> int:
        """C: channels of a latent."""
        return int(self.unet.config["out_channels"])

    def join(self, text_TD: Tensor, signal_QD: Tensor | None) -> Tensor:
        """Return condition tokens: text states, then signal tokens if there are any."""
        if signal_QD is None:
            return text_TD
        return torch.cat([text_TD, signal_QD + self.signal_segment], dim=-2)

    def phase(self, condition: VideoCondition, step: int, num_steps: int) -> Hashable:
        """Return the number of condition tokens, which the rows of a forward share."""
        return len(condition.tokens)

    def with_positions(self, samples_BCFhw: Tensor) -> Tensor:
        """Return samples with the position channels appended."""
        if not self.position_bands:
            return samples_BCFhw
        frames, height, width = samples_BCFhw.shape[2:]
        maps = clip_positions(frames, height, width, self.position_bands, samples_BCFhw.device)
        return torch.cat([samples_BCFhw, maps.to(samples_BCFhw).expand(len(samples_BCFhw), -1, -1, -1, -1)], dim=1)


class ZeroscopeDenoiser(VideoDenoiser):
    """Text to video: `UNet3DConditionModel`."""

    @classmethod
    def from_config(cls, config: ZeroscopeConfig) -> ZeroscopeDenoiser:
        """Build one with random weights."""
        unet = UNet3DConditionModel(**config.unet)
        expected = int(config.unet["out_channels"]) + 6 * config.position_bands
        if (got := int(config.unet["in_channels"])) != expected:
            raise ValueError(f"unet.in_channels: got {got}, expected {expected}: latents and position channels")
        _narrow(unet, config)
        return cls(unet, position_bands=config.position_bands)

    def image_columns(self, image_in: int) -> list[int | None]:
        """Return which input channels of an image UNet with `image_in` channels this one's are (`take_over`)."""
        channels, places = self.latent_channels, 4 * self.position_bands
        times = 2 * self.position_bands
        return [*range(channels), *range(image_in - places, image_in), *[None] * times]

    def denoise(
        self,
        samples_B: Tensor,
        timesteps_B: Tensor,
        conditions: Sequence[VideoCondition],
        phase: Hashable,
    ) -> Tensor:
        """Return the prediction for each row."""
        return self(samples_B, timesteps_B, torch.stack([condition.tokens for condition in conditions]))

    def forward(self, samples_BCFhw: Tensor, timesteps_B: Tensor, tokens_BTD: Tensor) -> Tensor:
        """Predict from tensors."""
        weights = self.signal_segment
        samples = self.with_positions(samples_BCFhw.to(weights.dtype))
        with clips_of(samples.shape[2]):
            predicted: Tensor = self.unet(samples, timesteps_B, tokens_BTD.to(weights.dtype)).sample
        return predicted


class I2VGenDenoiser(VideoDenoiser):
    """Picture to video: `I2VGenXLUNet`.

    Attributes:
        repeats: Whether every frame sees the picture. Stock checkpoints show it to the first frame alone, and the
            others a constant that tells their place.
    """

    alphas: Tensor | None

    def __init__(
        self,
        unet: I2VGenXLUNet,
        *,
        position_bands: int = 0,
        repeats: bool = False,
        alphas: Tensor | None = None,
    ) -> None:
        """Wrap a UNet.

        Args:
            unet: The network; one that repeats the picture takes its latents and a mask of the first frame as well,
                one that copies gives three channels more.
            position_bands: See `VideoDenoiser`.
            repeats: Whether every frame sees the picture.
            alphas: The scheduler's noise levels, for a network that copies; None: it doesn't.
        """
        super().__init__(unet, position_bands=position_bands)
        self.repeats = repeats
        self.register_buffer("alphas", alphas, persistent=False)

    @classmethod
    def from_config(cls, config: I2VGenConfig) -> I2VGenDenoiser:
        """Build one with random weights."""
        unet = I2VGenXLUNet(**config.unet)
        channels = int(config.unet["out_channels"])
        extra = 6 * config.position_bands + (channels + 1 if config.repeat_image else 0)
        if extra:
            unet.conv_in = WiderConv2d(unet.conv_in, extra)
        alphas = None
        if config.copies:
            if (kind := config.scheduler["prediction_type"]) != "v_prediction":
                raise ValueError(f"scheduler.prediction_type: got {kind!r}, expected 'v_prediction' with copies")
            unet.conv_out = nn.Conv2d(unet.conv_out.in_channels, channels + 3, 3, padding=1)
            alphas = DPMSolverMultistepScheduler(**config.scheduler).alphas_cumprod
        _narrow(unet, config)
        return cls(unet, position_bands=config.position_bands, repeats=config.repeat_image, alphas=alphas)

    def image_columns(self, image_in: int) -> list[int | None]:
        """Return which input channels of an image UNet with `image_in` channels this one's are (`take_over`).

        Its inpainting channels know a kept picture and where it is kept.
        """
        places, channels = 4 * self.position_bands, self.latent_channels
        kept = range(channels, 2 * channels + 1) if self.repeats else range(0)
        times = [None] * 2 * self.position_bands
        return [*range(channels), *[None] * channels, *kept, *range(image_in - places, image_in), *times]

    def denoise(
        self,
        samples_B: Tensor,
        timesteps_B: Tensor,
        conditions: Sequence[VideoCondition],
        phase: Hashable,
    ) -> Tensor:
        """Return the prediction for each row."""
        firsts = [condition.first for condition in conditions if condition.first is not None]
        looks = [condition.looks for condition in conditions if condition.looks is not None]
        assert len(firsts) == len(conditions) == len(looks), "a clip begins with a picture"
        return self(
            samples_B,
            timesteps_B,
            torch.stack([condition.tokens for condition in conditions]),
            torch.stack(firsts).to(samples_B.device),
            torch.stack(looks).to(samples_B.device),
            samples_B.new_tensor([condition.fps for condition in conditions]),
        )

    def forward(
        self,
        samples_BCFhw: Tensor,
        timesteps_B: Tensor,
        tokens_BTD: Tensor,
        first_BChw: Tensor,
        looks_BD: Tensor,
        fps_B: Tensor,
    ) -> Tensor:
        """Predict from tensors."""
        return self.predict(samples_BCFhw, timesteps_B, tokens_BTD, first_BChw, looks_BD, fps_B)[0]

    def predict(
        self,
        samples_BCFhw: Tensor,
        timesteps_B: Tensor,
        tokens_BTD: Tensor,
        first_BChw: Tensor,
        looks_BD: Tensor,
        fps_B: Tensor,
    ) -> tuple[Tensor, Motion | None]:
        """Return the prediction, and what moves where (None: from a network that copies nothing)."""
        dtype, frames = self.signal_segment.dtype, samples_BCFhw.shape[2]
        first_BChw = first_BChw.to(dtype)
        image_BCFhw = first_BChw[:, :, None].expand(-1, -1, frames, -1, -1)
        known = image_BCFhw[:, :0]
        if self.repeats:
            mask_B1Fhw = torch.zeros_like(image_BCFhw[:, :1])
            mask_B1Fhw[:, :, 0] = 1.0
            known = torch.cat([image_BCFhw, mask_B1Fhw], dim=1)
        else:
            image_BCFhw = first_then_places(first_BChw, frames)
        with clips_of(frames), beside(self.with_positions(known).transpose(1, 2).flatten(0, 1)):
            predicted: Tensor = self.unet(
                samples_BCFhw.to(dtype),
                timesteps_B,
                fps=fps_B,
                image_latents=image_BCFhw,
                image_embeddings=looks_BD.to(dtype),
                encoder_hidden_states=tokens_BTD.to(dtype),
            ).sample
        if self.alphas is None:
            return predicted, None
        own, shift, moving = predicted.float().split([self.latent_channels, 2, 1], dim=1)
        motion = as_one(Motion(shift * SHIFT_SCALE, moving))
        alpha_B = self.alphas[timesteps_B.long()]
        copied = with_copies(samples_BCFhw.float(), own, moved(first_BChw, motion), alpha_B)
        return copied.to(dtype), motion


def first_then_places(first_BChw: Tensor, frames: int) -> Tensor:
    """Return the picture's latents, then for every later frame its place as a constant: I2VGen-XL's form."""
    places = [torch.full_like(first_BChw, frame / (frames - 1)) for frame in range(1, frames)]
    return torch.stack([first_BChw, *places], dim=2)


def _narrow(unet: nn.Module, config: VideoDiffusionConfig) -> None:
    if config.temporal_heads:
        narrow_temporal(unet, config.temporal_heads, config.temporal_head_dim, int(config.unet["norm_num_groups"]))
