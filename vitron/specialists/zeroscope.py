"""ZeroScope: the specialist for Video Generation from words, a signal embedding, or both."""

from __future__ import annotations

import torch
from diffusers import UNet3DConditionModel
from transformers import PreTrainedTokenizerBase

from vitron.config import VitronConfig, ZeroscopeConfig
from vitron.diffusion.latents import LatentCodec
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.text_condition import TextCondition
from vitron.specialists.video_denoiser import ZeroscopeDenoiser
from vitron.specialists.video_diffusion import VideoDiffusion, condition_projection, load_stock
from vitron.weights import Weights


class Zeroscope(VideoDiffusion):
    """Text-to-video diffusion as a `Specialist`."""

    @classmethod
    def from_config(
        cls, config: ZeroscopeConfig, *, signal_width: int, tokenizer: PreTrainedTokenizerBase
    ) -> Zeroscope:
        """Build one with random weights."""
        return cls(
            config,
            denoiser=ZeroscopeDenoiser.from_config(config),
            codec=LatentCodec.from_config(config.vae),
            text=TextCondition.from_config(config.text, tokenizer),
            projection=condition_projection(config, signal_width),
        )

    @classmethod
    def from_pipeline(
        cls,
        folder: str,
        config: ZeroscopeConfig,
        *,
        signal_width: int,
        revision: str = "main",
        dtype: torch.dtype = torch.float32,
    ) -> Zeroscope:
        """Load the stock parts of a diffusers text-to-video pipeline; the output projection stays random.

        Args:
            folder: A folder or repository in the layout of `TextToVideoSDPipeline`. Its own configuration of UNet,
                VAE and text encoder is used in place of `config`'s.
            config: Everything else.
            signal_width: d_v.
            revision: Of a repository.
            dtype: Of the stock weights.
        """
        unet, codec, text = load_stock(folder, UNet3DConditionModel, revision=revision, dtype=dtype)
        projection = condition_projection(config, signal_width)
        return cls(config, denoiser=ZeroscopeDenoiser(unet), codec=codec, text=text, projection=projection)

    def opening(self, request: SpecialistRequest) -> None:
        """Return None: words and a plan say what a clip shows."""


def load_zeroscope(config: VitronConfig, weights: Weights) -> Zeroscope:
    """Return the text-to-video generator, from a stock pipeline if the preset names one."""
    settings, width = config.zeroscope, config.signal.width
    if settings.pretrained:
        stock = settings.pretrained
        made = Zeroscope.from_pipeline(stock.repository, settings, signal_width=width, revision=stock.revision)
    else:
        made = Zeroscope.from_config(settings, signal_width=width, tokenizer=weights.tokenizer("clip_tokenizer"))
        weights.load("clip_text", made.text.encoder)
        weights.load("gligen_vae", made.codec)
        weights.load("zeroscope_unet", made.denoiser)
    weights.load("zeroscope_projection", made.projection)
    made.text.clear_cache()
    return made
