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
from vitron.diffusion.warp import SHIFT_SCALE, Motion, along, as_one, moved, with_copies
from vitron.specialists.video_plan import VideoPlan, cover, mover_boxes, shift_of


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoCondition:
    """What one row is conditioned on.

    Attributes:
        tokens: [T, D].
        fps: Frames per second; ZeroScope knows none.
        first: [C, h, w], latents of the picture that the clip begins with; None: there is none.
        looks: [D], a picture embedding of it.
        plan: What is to be where; None: nobody says it.
    """

    tokens: Tensor
    fps: float = 8.0
    first: Tensor | None = None
    looks: Tensor | None = None
    plan: VideoPlan | None = None


class VideoDenoiser(nn.Module):
    """A `Denoiser` of clips, and the module that generation training trains.

    Attributes:
        unet: The network.
        signal_segment: [D], added to signal tokens, so that they can be told from text. Zero for a stock checkpoint,
            which knows of no signal.
        position_bands: Frequencies of the place in picture and clip that the first layer sees; 0: none.
        follows_plan: Whether a plan says what is to be where. Stock checkpoints know no plans.
    """

    def __init__(self, unet: Any, *, position_bands: int = 0, follows_plan: bool = False) -> None:
        """Wrap a UNet whose first layer takes what the two say."""
        super().__init__()
        self.unet, self.position_bands, self.follows_plan = unet, position_bands, follows_plan
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
    """Text to video: `UNet3DConditionModel`.

    Attributes:
        phrase: From the phrase of a planned object to the channels that its boxes are filled with; None: the network
            knows no plans.
    """

    def __init__(self, unet: Any, *, position_bands: int = 0, plan_channels: int = 0) -> None:
        """Wrap a UNet whose first layer takes what `position_bands` and `plan_channels` say."""
        super().__init__(unet, position_bands=position_bands, follows_plan=bool(plan_channels))
        self.phrase: nn.Linear | None = None
        if plan_channels:
            # The last channel says where anything is planned at all.
            self.phrase = nn.Linear(int(unet.config["cross_attention_dim"]), plan_channels - 1, bias=False)

    @classmethod
    def from_config(cls, config: ZeroscopeConfig) -> ZeroscopeDenoiser:
        """Build one with random weights."""
        unet = UNet3DConditionModel(**config.unet)
        expected = int(config.unet["out_channels"]) + 6 * config.position_bands + config.plan_channels
        if (got := int(config.unet["in_channels"])) != expected:
            raise ValueError(f"unet.in_channels: got {got}, expected {expected}: latents, position and plan channels")
        _narrow(unet, config)
        return cls(unet, position_bands=config.position_bands, plan_channels=config.plan_channels)

    def image_columns(self, image_in: int) -> list[int | None]:
        """Return which input channels of an image UNet with `image_in` channels this one's are (`take_over`)."""
        channels, places = self.latent_channels, 4 * self.position_bands
        planned = 0 if self.phrase is None else self.phrase.out_features + 1
        new = [None] * (2 * self.position_bands + planned)
        return [*range(channels), *range(image_in - places, image_in), *new]

    def denoise(
        self,
        samples_B: Tensor,
        timesteps_B: Tensor,
        conditions: Sequence[VideoCondition],
        phase: Hashable,
    ) -> Tensor:
        """Return the prediction for each row."""
        filled = None
        if self.phrase is not None:
            _, _, frames, height, width = samples_B.shape
            nothing = samples_B.new_zeros(self.phrase.out_features + 1, frames, height, width)
            plans = [condition.plan for condition in conditions]
            rows = [nothing if plan is None else self.filled(plan, height, width).to(nothing) for plan in plans]
            filled = torch.stack(rows)
        return self(samples_B, timesteps_B, torch.stack([condition.tokens for condition in conditions]), filled)

    def filled(self, plan: VideoPlan, height: int, width: int) -> Tensor:
        """Return a plan's channels [..., k, F, h, w], its boxes filled with their phrases; it may have leading rows."""
        assert self.phrase is not None
        covers = cover(plan.boxes, height, width) * plan.there[..., None, None]
        said = self.phrase(plan.phrases.to(self.phrase.weight))
        boxes = torch.einsum("...mfhw,...mk->...kfhw", covers.to(said), said)
        return torch.cat([boxes, covers.amax(dim=-4, keepdim=True).to(boxes)], dim=-4)

    def forward(
        self, samples_BCFhw: Tensor, timesteps_B: Tensor, tokens_BTD: Tensor, filled_BkFhw: Tensor | None = None
    ) -> Tensor:
        """Predict from tensors; `filled_BkFhw` are the channels of plans, zeros in rows without one."""
        weights = self.signal_segment
        samples = self.with_positions(samples_BCFhw.to(weights.dtype))
        if self.phrase is not None:
            if filled_BkFhw is None:
                filled_BkFhw = samples.new_zeros(len(samples), self.phrase.out_features + 1, *samples.shape[2:])
            samples = torch.cat([samples, filled_BkFhw.to(samples)], dim=1)
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
        follows_plan: bool = False,
        alphas: Tensor | None = None,
    ) -> None:
        """Wrap a UNet.

        Args:
            unet: The network; one that repeats the picture takes its latents and a mask of the first frame as well,
                one that follows plans two channels more, and one that copies gives channels for a `Motion`.
            position_bands: See `VideoDenoiser`.
            repeats: Whether every frame sees the picture.
            follows_plan: Whether a plan says what moves where to.
            alphas: The scheduler's noise levels, for a network that copies; None: it doesn't.
        """
        super().__init__(unet, position_bands=position_bands, follows_plan=follows_plan)
        self.repeats = repeats
        self.register_buffer("alphas", alphas, persistent=False)

    @classmethod
    def from_config(cls, config: I2VGenConfig) -> I2VGenDenoiser:
        """Build one with random weights."""
        unet = I2VGenXLUNet(**config.unet)
        channels = int(config.unet["out_channels"])
        if config.follows_plan and not config.copies:
            raise ValueError("follows_plan: got True without copies, expected a network that copies what moves")
        extra = 6 * config.position_bands + (channels + 1 if config.repeat_image else 0) + 2 * config.follows_plan
        if extra:
            unet.conv_in = WiderConv2d(unet.conv_in, extra)
        alphas = None
        if config.copies:
            if (kind := config.scheduler["prediction_type"]) != "v_prediction":
                raise ValueError(f"scheduler.prediction_type: got {kind!r}, expected 'v_prediction' with copies")
            unet.conv_out = nn.Conv2d(unet.conv_out.in_channels, channels + 2 + config.detail**2, 3, padding=1)
            alphas = DPMSolverMultistepScheduler(**config.scheduler).alphas_cumprod
        _narrow(unet, config)
        return cls(
            unet,
            position_bands=config.position_bands,
            repeats=config.repeat_image,
            follows_plan=config.follows_plan,
            alphas=alphas,
        )

    def image_columns(self, image_in: int) -> list[int | None]:
        """Return which input channels of an image UNet with `image_in` channels this one's are (`take_over`).

        Its inpainting channels know a kept picture and where it is kept.
        """
        places, channels = 4 * self.position_bands, self.latent_channels
        kept = range(channels, 2 * channels + 1) if self.repeats else range(0)
        new = [None] * (2 * self.position_bands + 2 * self.follows_plan)
        return [*range(channels), *[None] * channels, *kept, *range(image_in - places, image_in), *new]

    def denoise(
        self,
        samples_B: Tensor,
        timesteps_B: Tensor,
        conditions: Sequence[VideoCondition],
        phase: Hashable,
    ) -> Tensor:
        """Return the prediction for each row."""
        return self.observe(samples_B, timesteps_B, conditions)[0]

    def observe(
        self, samples_B: Tensor, timesteps_B: Tensor, conditions: Sequence[VideoCondition]
    ) -> tuple[Tensor, Motion | None]:
        """Return `predict` of rows of conditions."""
        firsts = [condition.first for condition in conditions if condition.first is not None]
        looks = [condition.looks for condition in conditions if condition.looks is not None]
        assert len(firsts) == len(conditions) == len(looks), "a clip begins with a picture"
        return self.predict(
            samples_B,
            timesteps_B,
            torch.stack([condition.tokens for condition in conditions]),
            torch.stack(firsts).to(samples_B.device),
            torch.stack(looks).to(samples_B.device),
            samples_B.new_tensor([condition.fps for condition in conditions]),
            _boxes([condition.plan for condition in conditions], samples_B) if self.follows_plan else None,
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
        boxes_BF4: Tensor | None = None,
    ) -> tuple[Tensor, Motion | None]:
        """Return the prediction, and what moves where (None: from a network that copies nothing).

        `boxes_BF4` is where what moves is planned to be, zeros in rows without a plan.
        """
        dtype, frames = self.signal_segment.dtype, samples_BCFhw.shape[2]
        first_BChw = first_BChw.to(dtype)
        image_BCFhw = first_BChw[:, :, None].expand(-1, -1, frames, -1, -1)
        known = image_BCFhw[:, :0]
        height, width = first_BChw.shape[2:]
        if self.repeats:
            mask_B1Fhw = torch.zeros_like(image_BCFhw[:, :1])
            mask_B1Fhw[:, :, 0] = 1.0
            known = torch.cat([image_BCFhw, mask_B1Fhw], dim=1)
        else:
            image_BCFhw = first_then_places(first_BChw, frames)
        known = self.with_positions(known)
        if self.follows_plan:
            if boxes_BF4 is None:
                boxes_BF4 = samples_BCFhw.new_zeros(len(first_BChw), frames, 4)
            there_BFhw = cover(boxes_BF4, height, width)
            planned = torch.stack([there_BFhw[:, :1].expand_as(there_BFhw), there_BFhw], dim=1)
            known = torch.cat([known, planned.to(known)], dim=1)
        with clips_of(frames), beside(known.transpose(1, 2).flatten(0, 1)):
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
        own, shift, moving = predicted.float().tensor_split([self.latent_channels, self.latent_channels + 2], dim=1)
        motion = as_one(Motion(shift * SHIFT_SCALE, moving))
        if boxes_BF4 is not None:
            motion = along(motion, shift_of(boxes_BF4, height, width), boxes_BF4.flatten(1).any(dim=1))
        alpha_B = self.alphas[timesteps_B.long()]
        copied = with_copies(samples_BCFhw.float(), own, moved(first_BChw, motion), alpha_B)
        return copied.to(dtype), motion


def _boxes(plans: Sequence[VideoPlan | None], samples_B: Tensor) -> Tensor:
    """Return the boxes [B, F, 4] of what moves in each row, zeros without a plan."""
    nothing = samples_B.new_zeros(samples_B.shape[2], 4)
    return torch.stack([nothing if plan is None else mover_boxes(plan).to(nothing) for plan in plans])


def first_then_places(first_BChw: Tensor, frames: int) -> Tensor:
    """Return the picture's latents, then for every later frame its place as a constant: I2VGen-XL's form."""
    places = [torch.full_like(first_BChw, frame / (frames - 1)) for frame in range(1, frames)]
    return torch.stack([first_BChw, *places], dim=2)


def _narrow(unet: nn.Module, config: VideoDiffusionConfig) -> None:
    if config.temporal_heads:
        narrow_temporal(unet, config.temporal_heads, config.temporal_head_dim, int(config.unet["norm_num_groups"]))
