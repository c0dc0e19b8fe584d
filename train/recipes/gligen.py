"""Pre-train the layout-conditioned generator of the tiny preset on Shapes scenes: `python -m train gligen`.

What a stock GLIGEN is to the full-size preset. Autoencoder and text encoder are frozen: latents and token ids are
computed once, into a cache that every run with the same autoencoder shares (`Settings.cache`).
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from train.data import shapes_latents
from train.data.shapes_latents import PHRASES
from train.recipe import Build, Job, Objective, Recipe, start
from train.recipes.gligen_data import Batch, Batches, Layout
from train.recipes.gligen_scores import HeldOut
from train.recipes.specialists import refuse_stock
from train.settings import Settings
from vitron.config import GligenConfig
from vitron.diffusion.latents import LatentCodec
from vitron.diffusion.losses import denoising_loss
from vitron.presets import preset as configuration
from vitron.specialists.gligen import Gligen
from vitron.specialists.gligen_denoiser import GligenDenoiser
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.text_condition import TextCondition

SETTINGS = Settings(
    steps=8000,
    batch=48,
    micro_batch=24,
    lr=2e-3,
    muon_lr=0.006,
    weight_decay=0.0,
    warmup=100,
    ema=0.999,
    validate_steps=1000,
)
NUM_SCENES = 40_000
"""Scenes whose latents are kept; a shorter run keeps no more than it reads."""
NUM_HELD_OUT = 48


class Denoising(Objective):
    """Latents, noised, from their condition."""

    phrases_PD: Tensor

    def __init__(self, config: GligenConfig, denoiser: GligenDenoiser, codec: LatentCodec, text: TextCondition) -> None:
        """Refer to the parts.

        Args:
            config: of the scheduler.
            denoiser: is trained.
            codec: is frozen; latents were made by it, and validation decodes with it.
            text: its encoder is frozen and reads instructions, signals and names.
        """
        super().__init__({"gligen_unet": denoiser, "gligen_vae": codec, "clip_text": text.encoder})
        self.scheduler = DPMSolverMultistepScheduler(**config.scheduler)
        names = torch.stack([states.pooled for states in text.encode(PHRASES)])
        self.register_buffer("phrases_PD", names, persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the denoising loss."""
        tokens_BTD, mask_BT = self.condition(batch)
        parts = denoising_loss(
            self._denoiser.unet,
            self.scheduler,
            batch.latents,
            tokens_BTD,
            mask_BT=mask_BT,
            grounding=self.grounding(batch.layout) if batch.layout else None,
            extra_channels=batch.source,
        )
        return {"denoise": parts["loss"]}

    def condition(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return condition tokens, and where they are tokens (None: everywhere)."""
        text_BTD = self._states(batch.said)
        if not len(batch.meant):
            return text_BTD, None
        states_mTD = self._states(batch.meant)
        signal_BTD = torch.zeros_like(text_BTD)
        signal_BTD[batch.has_signal] = states_mTD + batch.noise * torch.randn_like(states_mTD)
        tokens_BTD = self._denoiser.join(text_BTD, signal_BTD)
        if len(batch.meant) == len(text_BTD):
            return tokens_BTD, None
        has_BT = batch.has_signal[:, None].expand(-1, text_BTD.shape[1])
        return tokens_BTD, torch.cat([torch.ones_like(has_BT), has_BT], dim=1)

    def grounding(self, layout: Layout) -> dict[str, Tensor]:
        """Return what the gated layers read, as `GligenDenoiser.pack_grounding` makes it."""
        used_BN = layout.names >= 0
        phrases_BND = self.phrases_PD[layout.names.clamp(min=0)] * used_BN[..., None]
        return {"boxes": layout.boxes, "positive_embeddings": phrases_BND, "masks": used_BN.float()}

    @property
    def _denoiser(self) -> GligenDenoiser:
        denoiser = self.parts["gligen_unet"]
        assert isinstance(denoiser, GligenDenoiser)
        return denoiser

    @torch.no_grad()
    def _states(self, ids: Tensor) -> Tensor:
        states: Tensor = self.parts["clip_text"](input_ids=ids).last_hidden_state
        return states.float()


def make(build: Build) -> Job:
    """Build the denoiser, from the weights if they have one, around the frozen parts, which they must have."""
    config, weights, settings = build.config.gligen, build.weights, build.settings
    new: set[str] = set()
    denoiser = GligenDenoiser.from_config(config)
    start(denoiser, "gligen_unet", weights, new)
    if "gligen_unet" in new:
        denoiser.open_gates()
    denoiser.unet.to(memory_format=torch.channels_last)  # 7 % faster on a CPU
    codec = LatentCodec.from_config(config.vae).eval().requires_grad_(False)
    weights.load("gligen_vae", codec)
    text = TextCondition.from_config(config.text, weights.tokenizer("clip_tokenizer"))
    weights.load("clip_text", text.encoder)
    projection = OutputProjection(build.config.signal.width, text.width, config.projection)
    served = Gligen(config, denoiser=denoiser, codec=codec, text=text, projection=projection).to(build.device)
    count = min(NUM_SCENES, settings.steps * settings.batch)
    cache = shapes_latents.build(Path(settings.cache), count, codec, text, settings.loader_workers)
    held_out = HeldOut(served, settings.measured(NUM_HELD_OUT))
    return Job(
        objective=Denoising(config, denoiser, codec, text).to(build.device),
        batches=Batches(
            cache, text.tokenize([""])[0], slots=config.max_objects, size=settings.micro_batch, seed=settings.seed
        ),
        validate=held_out.measure,
        score="match",
        draw=held_out.draw,
        adam_names=("conv_in", "unet.conv_out"),
        new=frozenset(new),
    )


def gligen(preset: str) -> Recipe:
    """Return the recipe that pre-trains the image generator."""
    refuse_stock("gligen", preset, configuration(preset).gligen.pretrained, "decoder")
    return Recipe(
        name="gligen",
        about="pre-training: image generation from words, boxes and a simulated signal",
        preset=preset,
        settings=SETTINGS,
        make=make,
        rates={"gligen_unet": 1.0, "gligen_vae": 0.0, "clip_text": 0.0},
    )
