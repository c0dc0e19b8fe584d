"""Pre-train the autoencoder of the tiny preset on Shapes pictures: `python -m train vae`.

What the autoencoder of a stock pipeline is to the full-size preset. Every validation also measures the scale of the
latents and stores it in the codec, so that what is served has latents of unit deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from train.data.shapes.render import render
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
    scenes = (scene_at("train", number * size + i, settings.seed) for i in range(size))
    progress = number / (settings.steps * settings.micro_batches)
    return Batch(to_pixels([render(scene) for scene in scenes]), sharpness(progress))


def sharpness(progress: float) -> float:
    """Colours first, edges from a tenth of the run on."""
    return min(max((progress - 0.1) / 0.4, 0.0), 1.0)


class HeldOut:
    """Measures a codec on held-out pictures."""

    def __init__(self, codec: LatentCodec, device: torch.device, count: int) -> None:
        self._codec, self._device, self._count = codec, device, count

    @cached_property
    def scenes(self) -> list[Scene]:
        """What the pictures show."""
        return [scene_at("val", i) for i in range(self._count)]

    @cached_property
    def pixels(self) -> Tensor:
        """The pictures, `[K, 3, H, W]`."""
        return to_pixels([render(scene) for scene in self.scenes]).to(self._device)

    def measure(self) -> dict[str, float]:
        """Set the scale of the latents; return the mean PSNR in dB and the share of pictures that still read right."""
        with torch.no_grad():
            self._codec.set_scale(float(self._codec.vae.encode(self.pixels).latent_dist.mean.std()))
        decoded = self.decoded()
        mse_K = (decoded - self.pixels).square().flatten(1).mean(1)
        right = [shows(image, scene) for image, scene in zip(to_images(decoded), self.scenes, strict=True)]
        return {"psnr": float((10.0 * torch.log10(4.0 / mse_K)).mean()), "read": sum(right) / len(right)}

    @torch.no_grad()
    def decoded(self) -> Tensor:
        """Return the pictures as they come back, in [-1, 1]."""
        return self._codec.decode(self._codec.encode(self.pixels)).clamp(-1.0, 1.0)

    def draw(self, folder: Path) -> None:
        """Write `reconstructions.png`: originals above what comes back."""
        originals, made = to_images(self.pixels), to_images(self.decoded())
        starts = range(0, min(len(made), 2 * GRID_COLUMNS), GRID_COLUMNS)
        rows = [part[at : at + GRID_COLUMNS] for at in starts for part in (originals, made)]
        save_grid(folder / "reconstructions.png", [row for row in rows if len(row) == len(rows[0])])


def make(build: Build) -> Job:
    """Build the codec, from the weights if they have one."""
    new: set[str] = set()
    codec = LatentCodec.from_config(build.config.gligen.vae)
    start(codec, "gligen_vae", build.weights, new)
    objective = Reconstruction({"gligen_vae": codec}).to(build.device)
    held_out = HeldOut(codec, build.device, NUM_HELD_OUT)
    batches: Callable[[int], Batch] = partial(pictures, build.settings)
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
