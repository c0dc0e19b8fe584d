"""Train the image encoder on alone.

Its features may be in use already. It learns from the dense loss of `clip` to see shapes better, and its
features are held near those that it had, so that what was trained on them goes on from there. A part of the pictures
is without colour: a shape is then learned for all colours, those among them that no training picture shows it in.

Parts: `clip_vision`, and `patch_heads`, which only training needs.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.data.shapes.render import render
from train.data.shapes.scene import scene_at
from train.recipe import Build, Job, Objective, Recipe, start
from train.recipes.clip import SETTINGS as PAIR
from train.recipes.clip_data import patch_targets
from train.recipes.clip_patches import PatchHeads, dense_losses, named_right
from train.recipes.specialists import refuse_stock
from vitron.encoders.image import ImageEncoder, load_image_encoder
from vitron.presets import preset as configuration
from vitron.types import Image

SETTINGS = replace(PAIR, steps=1000, batch=96, micro_batch=48, lr=6e-4, muon_lr=0.006, floor=0.0, ema=0.99)
KEPT_WEIGHT = 1.0
"""Of the mean squared distance of normed features to those from before."""
GRAY = 0.3
"""Share of pictures without colour."""
STREAM = 901
NUM_HELD_OUT = 256


class Batch(NamedTuple):
    """Pictures, what their patches show (both as in `clip_data.Batch`), and which are without colour: bool `[B]`."""

    pixels: Tensor
    labels: Tensor
    places: Tensor
    gray: Tensor


class Pictures:
    """Makes the micro-batch of any number; it depends on number and seed alone."""

    def __init__(
        self, image: ImageEncoder, *, size: int, split: str = "train", seed: int = 0, gray: float = 0.0
    ) -> None:
        """Refer to the encoder, which says how large patches are; `size` pictures make a micro-batch."""
        with torch.device("meta"):  # only what it does to pictures is needed, here and in loader processes
            self._image = ImageEncoder(image.config)
        self._size, self._split, self._seed, self._gray = size, split, STREAM + seed, gray

    def __call__(self, number: int) -> Batch:
        """Return a micro-batch."""
        rng = np.random.default_rng([11, self._seed, number])
        scenes = [scene_at(self._split, number * self._size + i, self._seed) for i in range(self._size)]
        gray = rng.random(self._size) < self._gray
        shown = [render(each) for each in scenes]
        shown = [colorless(each, rng) if drained else each for each, drained in zip(shown, gray, strict=True)]
        targets = [patch_targets(each, self._image.config.grid) for each in scenes]
        labels, places = (torch.from_numpy(np.stack(each)) for each in zip(*targets, strict=True))
        return Batch(self._image.preprocess(shown), labels, places, torch.from_numpy(gray))


def colorless(image: Image, rng: np.random.Generator) -> Image:
    """Return a picture `[H, W, 3]` in grays: a random mixture of its channels, or the negative of one."""
    mixed = image @ rng.dirichlet(np.ones(3))
    mixed = 255 - mixed if rng.random() < 0.5 else mixed
    return np.repeat(np.rint(mixed)[..., None], 3, axis=2).astype(np.uint8)


class Seeing(Objective):
    """The image encoder, which learns, beside what it was."""

    def __init__(self, image: ImageEncoder, heads: PatchHeads) -> None:
        super().__init__({"clip_vision": image, "patch_heads": heads})
        self._before = copy.deepcopy(image).requires_grad_(False).eval()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the dense loss, and how far features went."""
        features, before = self.features(batch.pixels)
        kept = (_apart(features, before) * ~batch.gray).mean()
        dense = dense_losses(self.heads, features, batch.labels, batch.places, batch.gray)
        return {**dense, "kept": KEPT_WEIGHT * kept}

    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return patch features `[B, N, D]`, and those from before."""
        with torch.no_grad():
            before = self._before(pixels)
        return self.parts["clip_vision"](pixels), before

    @property
    def heads(self) -> PatchHeads:
        """What names patches."""
        heads = self.parts["patch_heads"]
        assert isinstance(heads, PatchHeads)
        return heads


def _apart(features_BND: Tensor, before_BND: Tensor) -> Tensor:
    """Return mean squared distances `[B]` of normed features."""
    normed = [F.layer_norm(each.float(), each.shape[-1:]) for each in (features_BND, before_BND)]
    return (normed[0] - normed[1]).square().mean((1, 2))


class HeldOut:
    """Measures on one fixed micro-batch of held-out pictures."""

    def __init__(self, seeing: Seeing, data: Pictures, device: torch.device) -> None:
        self._seeing, self._data, self._device = seeing, data, device

    @cached_property
    def batch(self) -> Batch:
        """The held-out pictures."""
        return Batch(*(tensor.to(self._device) for tensor in self._data(0)))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return how often patches of objects are named right, and how far features went."""
        features, before = self._seeing.features(self.batch.pixels)
        named = named_right(self._seeing.heads, features, self.batch.labels)
        return {**named, "apart": float(_apart(features, before).mean())}


def make(build: Build) -> Job:
    """Build the encoder from the weights, and heads."""
    new: set[str] = set()
    image, heads = load_image_encoder(build.config, build.weights), PatchHeads(build.config.clip)
    start(heads, "patch_heads", build.weights, new)
    _freeze_unread(image)
    seeing = Seeing(image, heads).to(build.device)
    settings = build.settings
    held_out = Pictures(image, size=settings.measured(NUM_HELD_OUT), split="val")
    return Job(
        objective=seeing,
        batches=Pictures(image, size=settings.micro_batch, seed=settings.seed, gray=GRAY),
        validate=HeldOut(seeing, held_out, build.device).measure,
        score="shape",
        adam_names=("patch_heads", "embeddings"),
        new=frozenset(new),
    )


def _freeze_unread(image: ImageEncoder) -> None:
    """Freeze what stands behind the hidden state that is read: it gets no gradient, which DDP takes for an error."""
    tower = image.vision_tower
    layers = list(tower.encoder.layers)
    # Hidden state 0 is the embedding; feature_layer counts from the end.
    for unread in (*layers[len(layers) + 1 + image.config.feature_layer :], tower.post_layernorm):
        unread.requires_grad_(False)


def clip_vision(preset: str) -> Recipe:
    """Return the recipe."""
    refuse_stock("clip_vision", preset, configuration(preset).clip.pretrained, "alignment")
    return Recipe(
        name="clip_vision",
        about="pre-training: the image encoder goes on to see shapes better, near the features that it had",
        preset=preset,
        settings=SETTINGS,
        make=make,
        rates={"clip_vision": 1.0, "patch_heads": 5.0},
    )
