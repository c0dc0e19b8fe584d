"""What the two video generators share: their options, the condition from words and signal, and frames from latents.

Shapes: C latent channels, F frames, h and w latent size, T condition tokens, D condition width.
"""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from vitron.clip_plan import planned_tracks, set_in_motion
from vitron.config import VideoDiffusionConfig
from vitron.diffusion.latents import LatentCodec, to_images
from vitron.diffusion.request import DenoiseRequest, Kept
from vitron.specialists.base import Option, SpecialistRequest, check_options
from vitron.specialists.denoising import DenoisingSpecialist, check_whole
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.text_condition import TextCondition
from vitron.specialists.video_denoiser import I2VGenDenoiser, VideoCondition, ZeroscopeDenoiser
from vitron.specialists.video_plan import VideoPlan, plan_of
from vitron.types import Clip, Module, SpecialistOutput

FPS = (1.0, 60.0)
STEPS = (1, 100)
GUIDANCE = (0.0, 20.0)
"""Inclusive ranges of a request's options; `num_frames` goes from 2 to the configuration's `max_frames`."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """The options of one request, defaults filled in."""

    steps: int
    guidance_scale: float
    num_frames: int
    fps: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Opening:
    """What a clip begins with.

    Attributes:
        first: [C, h, w], latents of its first frame.
        looks: [D], a picture embedding.
    """

    first: Tensor
    looks: Tensor


class VideoDiffusion(DenoisingSpecialist[VideoCondition]):
    """A video generator as a `Specialist`.

    Attributes:
        denoiser, codec, text, projection: The parts; each is one file of weights.
        knows_fps: Whether the denoiser makes a request's frame rate; else it is that of playing alone.
    """

    module = Module.VIDEO_GENERATION
    knows_fps = False

    def __init__(
        self,
        config: VideoDiffusionConfig,
        *,
        denoiser: ZeroscopeDenoiser | I2VGenDenoiser,
        codec: LatentCodec,
        text: TextCondition,
        projection: OutputProjection,
    ) -> None:
        super().__init__(config.scheduler, config.max_rows)
        self.config = config
        self.denoiser, self.codec = denoiser, codec
        self.text, self.projection = text, projection
        self.eval()

    def network(self) -> ZeroscopeDenoiser | I2VGenDenoiser:
        """Return the denoiser."""
        return self.denoiser

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.denoiser.signal_segment.device

    @abstractmethod
    def opening(self, request: SpecialistRequest) -> Opening | None:
        """Return what the clip begins with; None: nothing is given.

        Raises:
            ValueError: What is needed for it is missing.
        """

    def plan(self, request: SpecialistRequest) -> list[DenoiseRequest[VideoCondition]]:
        """Return the latent that a request needs.

        Raises:
            ValueError: The request is wrong; the message names the field.
        """
        self._check(request)
        options, opening = self.options(request.options), self.opening(request)
        condition, unconditional = self._conditions(request, opening, options)
        height, width = (side // self.codec.downscale for side in (self.config.height, self.config.width))
        shape = (self.codec.channels, options.num_frames, height, width)
        return [
            DenoiseRequest(
                request_id=uuid.uuid4().hex,
                shape=shape,
                condition=condition,
                unconditional=unconditional,
                num_steps=options.steps,
                guidance_scale=options.guidance_scale,
                seed=request.seed,
                kept=None if opening is None else _kept(opening.first, options.num_frames),
                shared_noise=self.config.shared_noise,
            )
        ]

    @torch.no_grad()
    def decode(self, latents: Sequence[Tensor]) -> SpecialistOutput:
        """Return the clips of finished latents [C, F, h, w], decoded frame by frame."""
        dtype = self.denoiser.signal_segment.dtype
        clips = []
        for each in latents:
            frames = [self.codec.decode(frame[None].to(dtype))[0] for frame in each.unbind(1)]
            clips.append(Clip(frames=np.stack(to_images(torch.stack(frames))), fps=self.config.fps))
        return SpecialistOutput(clips=tuple(clips))

    def output_of(self, request: SpecialistRequest, latents: Sequence[Tensor]) -> SpecialistOutput:
        """Return a request's clip at the frame rate that it asks for."""
        fps = self.options(request.options).fps
        return SpecialistOutput(clips=tuple(replace(clip, fps=fps) for clip in self.decode(latents).clips))

    def options(self, given: Mapping[str, Option]) -> VideoOptions:
        """Return a request's options with defaults filled in.

        Raises:
            ValueError: One is unknown or out of range.
        """
        frames = (2, self.config.max_frames)
        check_options(given, {"steps": STEPS, "guidance_scale": GUIDANCE, "num_frames": frames, "fps": FPS})
        check_whole(given, ("steps", "num_frames"))
        return VideoOptions(
            steps=int(given.get("steps", self.config.num_steps)),
            guidance_scale=float(given.get("guidance_scale", self.config.guidance_scale)),
            num_frames=int(given.get("num_frames", self.config.num_frames)),
            fps=float(given.get("fps", self.config.fps)),
        )

    def video_plan(self, request: SpecialistRequest, frames: int) -> VideoPlan | None:
        """Return what a request's regions plan; None: nothing, or the network knows no plans.

        An object without a label is what the text says.
        """
        given = request.image is not None
        regions = set_in_motion(request.regions, request.instruction) if given else request.regions
        tracks = planned_tracks(regions, frames, fixed_start=given)
        if not (self.denoiser.follows_plan and tracks):
            return None
        states = self.text.encode([track.label or request.instruction for track in tracks])
        return plan_of(tracks, torch.stack([each.pooled for each in states]))

    @torch.no_grad()
    def _conditions(
        self, request: SpecialistRequest, opening: Opening | None, options: VideoOptions
    ) -> tuple[VideoCondition, VideoCondition]:
        """Return what the request's conditional and unconditional rows see: equally many tokens.

        Where a signal says what is meant, nothing meant is the states of the empty text. The unconditional row knows
        the first frame, but not its embedding (I2VGen-XL), and what moves in it, but nothing else of a plan.
        """
        empty, said = (states.tokens for states in self.text.encode(["", request.instruction]))
        meant, nothing = self._project(request), None
        if meant is not None:
            nothing, meant = empty[: len(meant)], meant.to(said.dtype)
            assert len(nothing) == len(meant), "a projection has at most as many queries as a text has tokens"
        plan = self.video_plan(request, options.num_frames)
        condition = VideoCondition(
            tokens=self.denoiser.join(said, meant),
            fps=options.fps if self.knows_fps else self.config.fps,
            first=None if opening is None else opening.first,
            looks=None if opening is None else opening.looks,
            plan=plan,
        )
        looks = None if opening is None else torch.zeros_like(opening.looks)
        kept = None if opening is None else plan
        return condition, replace(condition, tokens=self.denoiser.join(empty, nothing), looks=looks, plan=kept)


class StockParts(NamedTuple):
    """What the pipelines of both generators have in common."""

    unet: Any
    codec: LatentCodec
    text: TextCondition


def load_stock(folder: str, unet: type[Any], *, revision: str, dtype: torch.dtype, text_layer: int = -1) -> StockParts:
    """Load UNet, autoencoder and text encoder of a diffusers pipeline, in their own configurations.

    Args:
        folder: A folder or repository in the pipeline's layout.
        unet: Its class.
        revision: Of a repository.
        dtype: Of the weights.
        text_layer: Whose states are the condition.
    """
    source = {"pretrained_model_name_or_path": folder, "revision": revision}
    return StockParts(
        unet=unet.from_pretrained(**source, subfolder="unet", torch_dtype=dtype),
        codec=LatentCodec(AutoencoderKL.from_pretrained(**source, subfolder="vae", torch_dtype=dtype)),
        text=TextCondition.from_pipeline(folder, revision=revision, dtype=dtype, layer=text_layer),
    )


def condition_projection(config: VideoDiffusionConfig, signal_width: int) -> OutputProjection:
    """Return an untrained projection from the signal into the condition space."""
    return OutputProjection(signal_width, int(config.unet["cross_attention_dim"]), config.projection)


def _kept(first_Chw: Tensor, frames: int) -> Kept:
    """Return the first frame as what is kept of the clip."""
    latents = first_Chw[:, None].expand(-1, frames, -1, -1)
    mask = torch.zeros(1, frames, 1, 1, device=first_Chw.device)
    mask[:, 0] = 1.0
    return Kept(latents=latents, mask=mask)
