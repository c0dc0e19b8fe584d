"""Pre-train the video generators of the tiny preset on Shapes clips: `python -m train zeroscope`, `... i2vgen`.

What stock checkpoints of ZeroScope and I2VGen-XL are to the full-size preset. The UNets' spatial layers start as the
image generator's, their temporal layers as the identity; autoencoder and text encoder are frozen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from train.data import clips_latents
from train.recipe import Build, Job, Objective, Recipe
from train.recipes.specialists import refuse_stock
from train.recipes.video_data import Batch, Batches
from train.recipes.video_scores import HeldOut
from train.settings import Settings
from vitron.config import VideoDiffusionConfig
from vitron.diffusion.latents import LatentCodec
from vitron.diffusion.losses import prediction_loss
from vitron.diffusion.temporal import take_over
from vitron.diffusion.warp import Motion
from vitron.presets import preset as configuration
from vitron.specialists.gligen_denoiser import GligenDenoiser
from vitron.specialists.i2vgen import I2VGen
from vitron.specialists.text_condition import TextCondition
from vitron.specialists.video_denoiser import I2VGenDenoiser, ZeroscopeDenoiser
from vitron.specialists.video_diffusion import condition_projection
from vitron.specialists.video_plan import VideoPlan
from vitron.specialists.zeroscope import Zeroscope
from vitron.weights import Weights

SETTINGS = Settings(
    steps=1000,
    batch=16,
    micro_batch=8,
    lr=1.5e-3,
    muon_lr=0.004,
    weight_decay=0.0,
    warmup=40,
    ema=0.99,
    validate_steps=200,
)
NUM_CLIPS = {"generated": 10_000, "animated": 8_000}
"""Clips whose latents are kept; a shorter run keeps no more than it reads."""
NUM_HELD_OUT = 16
TOWARD_NOISE = 1.5
"""How time steps are drawn (`prediction_loss`)."""
MOVING = 5.0
"""Weight that the denoising error of what moves has beside the 1 of everything."""
SHIFT_WEIGHT = 0.3
"""Of the error of motion, in latent positions, beside the denoising error."""
MOVING_WEIGHT = 0.2
"""Of the cross-entropy of what moves, in areas of it."""
OBJECTS = 3.0
"""The same of objects in a clip made from words."""
DIFFERENT = 0.8
CHANGED = 0.5
"""Latents have a deviation of 1; one that is further than this from the first frame's shows something else."""


class Denoising(Objective):
    """Latents of clips, noised, from their condition."""

    def __init__(
        self,
        part: str,
        config: VideoDiffusionConfig,
        denoiser: ZeroscopeDenoiser | I2VGenDenoiser,
        codec: LatentCodec,
        text: TextCondition,
    ) -> None:
        """Refer to the parts.

        Args:
            part: name of the trained one.
            config: of scheduler and noise.
            denoiser: is trained.
            codec: is frozen; latents were made by it, and validation decodes with it.
            text: its encoder is frozen and reads instructions and signals.
        """
        super().__init__({part: denoiser, "gligen_vae": codec, "clip_text": text.encoder})
        self.config, self._part = config, part
        self.scheduler = DPMSolverMultistepScheduler(**config.scheduler)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the denoising loss."""
        denoiser, tokens_BTD = self.parts[self._part], self.condition(batch)
        motions: list[Motion] = []

        def predict(noisy: Tensor, steps_B: Tensor) -> Tensor:
            if isinstance(denoiser, ZeroscopeDenoiser):
                predicted: Tensor = denoiser(noisy, steps_B, tokens_BTD, self._filled(denoiser, batch))
                return predicted
            assert isinstance(denoiser, I2VGenDenoiser)
            looks = torch.zeros_like(tokens_BTD[:, 0])
            fps_B = torch.full((len(noisy),), self.config.fps, device=noisy.device)
            boxes_BF4 = batch.boxes[:, 0] * batch.planned[:, None, None]
            first_BChw = batch.latents[:, :, 0]
            predicted, motion = denoiser.predict(noisy, steps_B, tokens_BTD, first_BChw, looks, fps_B, boxes_BF4)
            if motion is not None:
                motions.append(motion)
            return predicted

        parts = prediction_loss(
            predict,
            self.scheduler,
            batch.latents,
            weights=(moving_weights if isinstance(denoiser, I2VGenDenoiser) else object_weights)(batch.latents),
            shared_noise=self.config.shared_noise,
            toward_noise=TOWARD_NOISE,
        )
        losses = {"denoise": parts["loss"]}
        for motion in motions:
            losses |= motion_losses(motion, batch.moves, batch.source)
        return losses

    def condition(self, batch: Batch) -> Tensor:
        """Return condition tokens [B, T, D], or [B, 2T, D] with a signal."""
        said_BTD = self._states(batch.said)
        if batch.meant is None:
            return said_BTD
        meant_BTD = self._states(batch.meant)
        assert batch.noise is not None
        signal_BTD = meant_BTD + batch.noise * torch.randn_like(meant_BTD)
        denoiser = self.parts[self._part]
        assert isinstance(denoiser, ZeroscopeDenoiser | I2VGenDenoiser)
        return denoiser.join(said_BTD, signal_BTD)

    def _filled(self, denoiser: ZeroscopeDenoiser, batch: Batch) -> Tensor | None:
        if denoiser.phrase is None:
            return None
        with torch.no_grad():
            pooled = self.parts["clip_text"](input_ids=batch.phrases.flatten(0, 1)).pooler_output
        plan = VideoPlan(boxes=batch.boxes, there=batch.there, phrases=pooled.view(*batch.phrases.shape[:2], -1))
        filled = denoiser.filled(plan, *batch.latents.shape[3:])
        return filled * batch.planned.view(-1, 1, 1, 1, 1).to(filled)

    @torch.no_grad()
    def _states(self, ids: Tensor) -> Tensor:
        states: Tensor = self.parts["clip_text"](input_ids=ids).last_hidden_state
        return states.float()


def motion_losses(motion: Motion, moves_B3Fhw: Tensor, source_BHW: Tensor) -> dict[str, Tensor]:
    """Return the errors of what moves and where to, weighed.

    "shift" is the mean distance of what moves from where it should be; "moving" the cross-entropy of which parts of the
    first frame move, as a sum over them in areas of what does.
    """
    covered_BFhw = moves_B3Fhw[:, 2]
    source_Bhw, count_BF = covered_BFhw[:, 0], covered_BFhw.sum(dim=(2, 3))
    back_B2F = (moves_B3Fhw[:, :2] * covered_BFhw[:, None]).sum(dim=(3, 4)) / count_BF.clamp(min=1.0)[:, None]
    error_BFhw = (motion.shift + back_B2F[..., None, None]).abs().sum(dim=1)
    there_BFhw = source_Bhw[:, None] * (count_BF > 0)[..., None, None]
    shift = (error_BFhw * there_BFhw).sum() / there_BFhw.sum().clamp(min=1.0)
    logits_BFHW = F.pixel_shuffle(motion.moving.transpose(1, 2), math.isqrt(motion.moving.shape[1]))[:, :, 0]
    height, width = logits_BFHW.shape[2:]
    target_BFHW = F.adaptive_avg_pool2d(source_BHW, (height, width))[:, None].expand_as(logits_BFHW)
    entropy_BFHW = F.binary_cross_entropy_with_logits(logits_BFHW, target_BFHW, reduction="none")
    areas_B = target_BFHW.sum(dim=(1, 2, 3)).clamp(min=1.0)
    moving = (entropy_BFHW.sum(dim=(1, 2, 3)) / areas_B).mean()
    return {"shift": SHIFT_WEIGHT * shift, "moving": MOVING_WEIGHT * moving}


def moving_weights(latents_BCFhw: Tensor) -> Tensor:
    """Return weights [B, 1, F, h, w] of mean 1: none on the first frame, which is given, most on what then moves.

    Nine tenths of a clip are as in its first frame, and soon copied; what was asked for is in the rest.
    """
    change_B1Fhw = (latents_BCFhw - latents_BCFhw[:, :, :1]).abs().amax(dim=1, keepdim=True)
    weights = 1.0 + MOVING * (change_B1Fhw > CHANGED)
    weights[:, :, 0] = 0.0
    return weights / weights.mean(dim=(1, 2, 3, 4), keepdim=True)


def object_weights(latents_BCFhw: Tensor) -> Tensor:
    """Return weights [B, 1, F, h, w] of mean 1: most on what differs from the background, the usual value."""
    usual_BC111 = latents_BCFhw.flatten(2).median(dim=2).values[:, :, None, None, None]
    weights = 1.0 + OBJECTS * ((latents_BCFhw - usual_BC111).abs().amax(dim=1, keepdim=True) > DIFFERENT)
    return weights / weights.mean(dim=(1, 2, 3, 4), keepdim=True)


def start_from_image(build: Build, denoiser: ZeroscopeDenoiser | I2VGenDenoiser) -> int:
    """Take over the image generator's weights; return how many numbers."""
    image = GligenDenoiser.from_config(build.config.gligen)
    build.weights.load("gligen_unet", image)
    with torch.no_grad():
        denoiser.signal_segment.copy_(image.signal_segment)
    image_in = image.unet.conv_in.in_channels
    return take_over(denoiser.unet, image.unet, denoiser.image_columns(image_in))


def _make(
    build: Build,
    name: str,
    kind: str,
    config: Any,
    network: Callable[[Any], ZeroscopeDenoiser | I2VGenDenoiser],
    served: Callable[..., Zeroscope | I2VGen],
) -> Job:
    """Build the denoiser, from the weights if they have one, around the frozen parts, which they must have."""
    weights, settings, part = build.weights, build.settings, f"{name}_unet"
    denoiser, new = network(config), set[str]()
    if weights.has(part):
        weights.load(part, denoiser)
    else:
        new.add(part)
        taken, every = start_from_image(build, denoiser), sum(p.numel() for p in denoiser.parameters())
        print(f"{part}: {taken:,} of {every:,} parameters taken over from gligen_unet", flush=True)
    codec, text = frozen_parts(config, weights)
    projection = condition_projection(config, build.config.signal.width)
    specialist = served(config, denoiser=denoiser, codec=codec, text=text, projection=projection).to(build.device)
    count = min(NUM_CLIPS[kind], settings.steps * settings.batch)
    cache = clips_latents.build(
        Path(settings.cache), kind, count, config.num_frames, codec, text, settings.loader_workers
    )
    held_out = HeldOut(specialist, kind, settings.measured(NUM_HELD_OUT))
    return Job(
        objective=Denoising(part, config, denoiser, codec, text).to(build.device),
        batches=Batches(cache, text.tokenize([""])[0], size=settings.micro_batch, seed=settings.seed),
        validate=held_out.measure,
        score="match",
        draw=held_out.draw,
        adam_names=("conv_in", "unet.conv_out"),
        new=frozenset(new),
    )


def frozen_parts(config: VideoDiffusionConfig, weights: Weights) -> tuple[LatentCodec, TextCondition]:
    """Return autoencoder and text encoder with their weights."""
    codec = LatentCodec.from_config(config.vae).eval().requires_grad_(False)
    weights.load("gligen_vae", codec)
    text = TextCondition.from_config(config.text, weights.tokenizer("clip_tokenizer"))
    weights.load("clip_text", text.encoder)
    return codec, text


def zeroscope(preset: str) -> Recipe:
    """Return the recipe that pre-trains the text-to-video generator."""
    refuse_stock("zeroscope", preset, configuration(preset).zeroscope.pretrained, "decoder")
    return Recipe(
        name="zeroscope",
        about="pre-training: video generation from words and a simulated signal",
        preset=preset,
        settings=SETTINGS,
        make=lambda build: _make(
            build, "zeroscope", "generated", build.config.zeroscope, ZeroscopeDenoiser.from_config, Zeroscope
        ),
        rates={"zeroscope_unet": 1.0, "gligen_vae": 0.0, "clip_text": 0.0},
    )


def i2vgen(preset: str) -> Recipe:
    """Return the recipe that pre-trains the image-to-video generator."""
    refuse_stock("i2vgen", preset, configuration(preset).i2vgen.pretrained, "decoder")
    return Recipe(
        name="i2vgen",
        about="pre-training: a picture set in motion by words and a simulated signal",
        preset=preset,
        settings=SETTINGS,
        make=lambda build: _make(build, "i2vgen", "animated", build.config.i2vgen, I2VGenDenoiser.from_config, I2VGen),
        rates={"i2vgen_unet": 1.0, "gligen_vae": 0.0, "clip_text": 0.0},
    )
