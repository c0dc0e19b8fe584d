"""Pre-train the autoencoder of the tiny preset on Shapes pictures: `python -m train vae`.

What the autoencoder of a stock pipeline is to the full-size preset. Every validation also measures the scale of the
latents and stores it in the codec, so that what is served has latents of unit deviation.

Some pictures show nothing, or the edge of something that comes in: what normalises by the deviation within a picture
makes patterns out of a plain one that it does not know. `python -m train train.recipes.vae:vae_decoder` teaches a
decoder such pictures whose latents are in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from train.data.shapes.motion import clip_at, frame_scene
from train.data.shapes.render import masks, render
from train.data.shapes.scene import Scene, scene_at
from train.recipe import Build, Job, Objective, Recipe, start
from train.recipes.specialists import refuse_stock, save_grid, shows
from train.settings import Settings
from vitron.diffusion.latents import LatentCodec, to_images, to_pixels
from vitron.diffusion.losses import KL_WEIGHT, vae_loss
from vitron.presets import preset as configuration

SETTINGS = Settings(
    steps=5600,
    batch=16,
    micro_batch=8,
    lr=3e-3,
    muon_lr=0.008,
    weight_decay=0.0,
    warmup=30,
    ema=0.999,
    validate_steps=400,
)
DECODER = replace(
    SETTINGS, steps=600, lr=1e-3, muon_lr=0.003, warmup=20, floor=0.0, ema=0.99, validate_steps=300, save_seconds=120.0
)
PERIOD = 4
"""Of so many pictures one shows nothing, and one is the emptiest frame of a clip."""
NUM_HELD_OUT = 64
GRID_COLUMNS = 8


class Batch(NamedTuple):
    """Pictures `[B, 3, H, W]` in [-1, 1], and how sharp they should come out at this point of the run."""

    pixels: Tensor
    sharpness: float


class Reconstruction(Objective):
    """Pictures through a drawn latent and back."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error of the pictures and the weighted KL term."""
        parts = vae_loss(self.parts["gligen_vae"].vae, batch.pixels, sharpness=batch.sharpness)
        kl = KL_WEIGHT * parts["kl"]
        return {"reconstruction": parts["loss"] - kl, "kl": kl}


def pictures(settings: Settings, number: int) -> Batch:
    """Return a micro-batch of pictures that no other one has."""
    size = settings.micro_batch
    scenes = (_scene(number * size + i, settings.seed) for i in range(size))
    progress = number / (settings.steps * settings.micro_batches)
    return Batch(to_pixels([render(scene) for scene in scenes]), sharpness(progress))


def _scene(index: int, seed: int) -> Scene:
    if index % PERIOD == 0:
        return replace(scene_at("train", index, seed), objects=())
    return emptiest("train", index, seed) if index % PERIOD == 1 else scene_at("train", index, seed)


def emptiest(split: str, index: int, seed: int = 0) -> Scene:
    """Return the frame of a clip in which the least is seen of its objects."""
    clip = clip_at(split, index, seed)
    return min((frame_scene(clip, t) for t in range(clip.frames)), key=lambda scene: masks(scene).sum())


def sharp_pictures(settings: Settings, number: int) -> Batch:
    """Return a micro-batch for a decoder that knows colours and edges already."""
    return pictures(settings, number)._replace(sharpness=1.0)


def sharpness(progress: float) -> float:
    """Colours first, edges from a tenth of the run on."""
    return min(max((progress - 0.1) / 0.4, 0.0), 1.0)


class HeldOut:
    """Measures a codec on held-out pictures."""

    def __init__(self, codec: LatentCodec, device: torch.device, count: int, *, scales: bool = True) -> None:
        self._codec, self._device, self._count, self._scales = codec, device, count, scales

    @cached_property
    def scenes(self) -> list[Scene]:
        """What the pictures show."""
        return [scene_at("val", i) for i in range(self._count)]

    @cached_property
    def pixels(self) -> Tensor:
        """The pictures, `[K, 3, H, W]`."""
        return self._pixels(self.scenes)

    @cached_property
    def empty(self) -> Tensor:
        """Pictures that show little or nothing."""
        return self._pixels(emptiest("val", i) for i in range(self._count))

    def _pixels(self, scenes: Iterable[Scene]) -> Tensor:
        return to_pixels([render(scene) for scene in scenes]).to(self._device)

    def measure(self) -> dict[str, float]:
        """Return the mean PSNR in dB, that of the emptiest pictures, and the share of pictures that still read right.

        If latents are not in use yet, their scale is set first.
        """
        if self._scales:
            with torch.no_grad():
                self._codec.set_scale(float(self._codec.vae.encode(self.pixels).latent_dist.mean.std()))
        made = self.decoded(self.pixels)
        right = [shows(image, scene) for image, scene in zip(to_images(made), self.scenes, strict=True)]
        return {
            "psnr": _psnr(made, self.pixels),
            "empty": _psnr(self.decoded(self.empty), self.empty),
            "read": sum(right) / len(right),
        }

    @torch.no_grad()
    def decoded(self, pixels: Tensor) -> Tensor:
        """Return pictures as they come back, in [-1, 1]."""
        return self._codec.decode(self._codec.encode(pixels)).clamp(-1.0, 1.0)

    def draw(self, folder: Path) -> None:
        """Write `reconstructions.png`: originals above what comes back."""
        shown = torch.cat([self.pixels[:GRID_COLUMNS], self.empty[:GRID_COLUMNS]])
        originals, made = to_images(shown), to_images(self.decoded(shown))
        starts = range(0, min(len(made), 2 * GRID_COLUMNS), GRID_COLUMNS)
        rows = [part[at : at + GRID_COLUMNS] for at in starts for part in (originals, made)]
        save_grid(folder / "reconstructions.png", [row for row in rows if len(row) == len(rows[0])])


def _psnr(made: Tensor, pixels: Tensor) -> float:
    mse_K = (made - pixels).square().flatten(1).mean(1)
    return float((10.0 * torch.log10(4.0 / mse_K)).mean())


def make(build: Build, *, decoder: bool = False) -> Job:
    """Build the codec, from the weights if they have one; with `decoder` that learns alone."""
    new: set[str] = set()
    codec = LatentCodec.from_config(build.config.gligen.vae)
    start(codec, "gligen_vae", build.weights, new)
    objective = Reconstruction({"gligen_vae": codec}).to(build.device)
    if decoder:
        codec.vae.encoder.requires_grad_(False)
        codec.vae.quant_conv.requires_grad_(False)
    held_out = HeldOut(codec, build.device, build.settings.measured(NUM_HELD_OUT), scales=not decoder)
    batches: Callable[[int], Batch] = partial(sharp_pictures if decoder else pictures, build.settings)
    return Job(
        objective=objective,
        batches=batches,
        validate=held_out.measure,
        score="psnr",
        draw=held_out.draw,
        adam_names=("conv_in", "decoder.conv_out"),
        new=frozenset(new),
    )


def vae(preset: str) -> Recipe:
    """Return the recipe that pre-trains the generator's autoencoder."""
    refuse_stock("vae", preset, configuration(preset).gligen.pretrained, "decoder")
    return Recipe(
        name="vae",
        about="pre-training: the generator's autoencoder",
        preset=preset,
        settings=SETTINGS,
        make=make,
        rates={"gligen_vae": 1.0},
    )


def vae_decoder(preset: str) -> Recipe:
    """Return the recipe that trains a decoder on; latents, and all that was trained on them, stay as they are."""
    return replace(
        vae(preset),
        name="vae_decoder",
        about="pre-training: the autoencoder's decoder goes on, latents stay as they are",
        settings=DECODER,
        make=partial(make, decoder=True),
    )
