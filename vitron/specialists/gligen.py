"""GLIGEN: the specialist for Image Generation, from words, boxes, a signal embedding, or any mixture.

It knows how a request becomes conditions of the denoiser and how latents become pictures; the rest is common to all
specialists that denoise (`vitron.specialists.denoising`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vitron.config import GligenConfig, VitronConfig
from vitron.diffusion.latents import LatentCodec, to_images
from vitron.diffusion.request import DenoiseRequest
from vitron.specialists.base import Option, SpecialistRequest, check_options
from vitron.specialists.denoising import DenoisingSpecialist, check_whole
from vitron.specialists.gligen_denoiser import GligenCondition, GligenDenoiser
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.text_condition import TextCondition
from vitron.types import Module, SpecialistOutput
from vitron.weights import Weights

OPTIONS: dict[str, tuple[float, float]] = {
    "steps": (1, 100),
    "guidance_scale": (0.0, 20.0),
    "num_images": (1, 4),
}
"""Inclusive ranges of a request's options."""


@dataclass(frozen=True, kw_only=True)
class GligenOptions:
    """The options of one request, defaults filled in."""

    steps: int
    guidance_scale: float
    num_images: int


class Gligen(DenoisingSpecialist[GligenCondition]):
    """Layout-conditioned latent diffusion as a `Specialist`.

    Attributes:
        denoiser, codec, text, projection: The parts; each is one file of weights.
    """

    module = Module.IMAGE_GENERATION

    def __init__(
        self,
        config: GligenConfig,
        *,
        denoiser: GligenDenoiser,
        codec: LatentCodec,
        text: TextCondition,
        projection: OutputProjection,
    ) -> None:
        super().__init__(config.scheduler, config.max_rows)
        self.config = config
        self.denoiser, self.codec = denoiser, codec
        self.text, self.projection = text, projection
        self.eval()

    @classmethod
    def from_config(cls, config: GligenConfig, *, signal_width: int, tokenizer: PreTrainedTokenizerBase) -> Gligen:
        """Build one with random weights."""
        return cls(
            config,
            denoiser=GligenDenoiser.from_config(config),
            codec=LatentCodec.from_config(config.vae),
            text=TextCondition.from_config(config.text, tokenizer),
            projection=_projection(config, signal_width),
        )

    @classmethod
    def from_pipeline(
        cls,
        folder: str,
        config: GligenConfig,
        *,
        signal_width: int,
        revision: str = "main",
        dtype: torch.dtype = torch.float32,
    ) -> Gligen:
        """Load the stock parts of a diffusers GLIGEN pipeline; the output projection stays random.

        Args:
            folder: A folder or repository in the layout of `StableDiffusionGLIGENPipeline`. Its own
                configuration of UNet, VAE and text encoder is used in place of `config`'s.
            config: Everything else.
            signal_width: d_v.
            revision: Of a repository.
            dtype: Of the stock weights.
        """
        source = {"pretrained_model_name_or_path": folder, "revision": revision}
        unet = UNet2DConditionModel.from_pretrained(**source, subfolder="unet", torch_dtype=dtype)
        vae = AutoencoderKL.from_pretrained(**source, subfolder="vae", torch_dtype=dtype)
        return cls(
            config,
            denoiser=GligenDenoiser(unet, max_objects=config.max_objects, fuser_fraction=config.fuser_fraction),
            codec=LatentCodec(vae),
            text=TextCondition.from_pipeline(folder, revision=revision, dtype=dtype),
            projection=_projection(config, signal_width),
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.denoiser.signal_segment.device

    def network(self) -> GligenDenoiser:
        """Return the denoiser."""
        return self.denoiser

    def plan(self, request: SpecialistRequest) -> list[DenoiseRequest[GligenCondition]]:
        """Return the latents that a request needs, one per picture.

        Raises:
            ValueError: The request is wrong; the message names the field.
        """
        options = self._options(request.options)
        condition, unconditional = self._conditions(request)
        side = self.config.image_size // self.codec.downscale
        name = uuid.uuid4().hex
        return [
            DenoiseRequest(
                request_id=f"{name}-{index}",
                shape=(self.codec.channels, side, side),
                condition=condition,
                unconditional=unconditional,
                num_steps=options.steps,
                guidance_scale=options.guidance_scale,
                seed=(request.seed + index) % 2**63,
            )
            for index in range(options.num_images)
        ]

    @torch.no_grad()
    def decode(self, latents: Sequence[Tensor]) -> SpecialistOutput:
        """Return the pictures of finished latents."""
        dtype = self.denoiser.signal_segment.dtype
        pictures = [self.codec.decode(each[None].to(dtype))[0] for each in latents]
        return SpecialistOutput(images=tuple(to_images(torch.stack(pictures))))

    def _options(self, options: Mapping[str, Option]) -> GligenOptions:
        check_options(options, OPTIONS)
        check_whole(options, ("steps", "num_images"))
        return GligenOptions(
            steps=int(options.get("steps", self.config.num_steps)),
            guidance_scale=float(options.get("guidance_scale", self.config.guidance_scale)),
            num_images=int(options.get("num_images", 1)),
        )

    @torch.no_grad()
    def _conditions(self, request: SpecialistRequest) -> tuple[GligenCondition, GligenCondition]:
        """Return what the request's conditional and unconditional rows see."""
        self._check(request)
        # A box without a label shows what the text says.
        names = [region.label or request.instruction for region in request.regions]
        empty, said, *labels = self.text.encode(["", request.instruction, *names])
        signal = self._project(request)
        grounded = bool(labels)
        condition = GligenCondition(
            tokens=self.denoiser.join(said.tokens, None if signal is None else signal.to(said.tokens.dtype)),
            boxes=tuple(region.box for region in request.regions),
            phrases=torch.stack([label.pooled for label in labels]) if labels else None,
            grounded=grounded,
        )
        return condition, GligenCondition(tokens=empty.tokens, grounded=grounded)

    def _check(self, request: SpecialistRequest) -> None:
        super()._check(request)
        if len(request.regions) > self.config.max_objects:
            raise ValueError(f"regions: got {len(request.regions)}, expected at most {self.config.max_objects}")


def _projection(config: GligenConfig, signal_width: int) -> OutputProjection:
    return OutputProjection(signal_width, int(config.unet["cross_attention_dim"]), config.projection)


def load_gligen(config: VitronConfig, weights: Weights) -> Gligen:
    """Return the image generator, from a stock pipeline if the preset names one."""
    settings, width = config.gligen, config.signal.width
    if settings.pretrained:
        stock = settings.pretrained
        gligen = Gligen.from_pipeline(stock.repository, settings, signal_width=width, revision=stock.revision)
    else:
        tokenizer = weights.tokenizer("clip_tokenizer")
        gligen = Gligen.from_config(settings, signal_width=width, tokenizer=tokenizer)
        weights.load("clip_text", gligen.text.encoder)
        weights.load("gligen_vae", gligen.codec)
        weights.load("gligen_unet", gligen.denoiser)
    weights.load("gligen_projection", gligen.projection)
    gligen.text.clear_cache()
    return gligen
