"""Shapes pictures with captions, and what each of their patches shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from train.data.shapes import captions
from train.data.shapes.render import boxes, masks, render
from train.data.shapes.scene import COLORS, SHAPES, SIZES, Scene, scene_at
from vitron.config import ClipConfig
from vitron.encoders.image import ImageEncoder

NAMES: dict[str, list[str]] = {"shape": list(SHAPES), "color": list(COLORS), "size": list(SIZES)}
"""What the dense loss asks of a patch; label 0 is the background."""
MIN_COVER = 0.1
"""Share of a patch that an object has to cover to be named."""
CANONICAL = 0.3
"""Share of captions in the wording that conditions the generators: a part of the diet keeps its words well known."""


class Batch(NamedTuple):
    """The tensors of one micro-batch.

    Attributes:
        pixels: normalised pictures `[B, 3, S, S]`.
        ids: token ids of their captions `[B, T]`.
        labels: `int [B, N, 3]`, what each patch shows, by column of `NAMES`; 0: the background.
        places: `[B, N, 4]`, box of the object that covers it.
    """

    pixels: Tensor
    ids: Tensor
    labels: Tensor
    places: Tensor


class Captioned:
    """Captioned pictures by number of the micro-batch."""

    def __init__(
        self,
        config: ClipConfig,
        tokenizer: PreTrainedTokenizerBase,
        *,
        size: int,
        split: str = "train",
        seed: int = 0,
    ) -> None:
        self.tokenizer, self.grid = tokenizer, config.grid
        self.split, self.size, self.seed = split, size, seed
        with torch.device("meta"):
            self._encoder = ImageEncoder(config)  # without weights: it only prepares pictures

    def scenes(self, number: int) -> list[Scene]:
        """Return what the pictures of a micro-batch show."""
        return [scene_at(self.split, number * self.size + i, self.seed) for i in range(self.size)]

    def texts(self, scenes: Sequence[Scene], number: int) -> list[str]:
        """Return the captions of a micro-batch."""
        rng = np.random.default_rng([7, self.seed, number])
        return [_caption(scene, rng) for scene in scenes]

    def __call__(self, number: int) -> Batch:
        """Return a micro-batch."""
        scenes = self.scenes(number)
        encoded = self.tokenizer(self.texts(scenes, number), padding=True, truncation=True, return_tensors="pt")
        targets = [patch_targets(scene, self.grid) for scene in scenes]
        labels, places = (torch.from_numpy(np.stack(each)) for each in zip(*targets, strict=True))
        return Batch(self._encoder.preprocess([render(scene) for scene in scenes]), encoded.input_ids, labels, places)


def patch_targets(scene: Scene, grid: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return labels `int [grid*grid, 3]` (0: background) and boxes `[grid*grid, 4]` of the covering objects."""
    labels, places = np.zeros((grid * grid, len(NAMES)), np.int64), np.zeros((grid * grid, 4), np.float32)
    visible = masks(scene).astype(np.float32)
    side = visible.shape[1] // grid
    cover = visible.reshape(len(visible), grid, side, grid, side).mean((2, 4)).reshape(len(visible), -1)
    owner, inside = cover.argmax(0), cover.max(0) > MIN_COVER
    table = np.array([[words.index(getattr(o, name)) + 1 for name, words in NAMES.items()] for o in scene.objects])
    labels[inside] = table[owner[inside]]
    places[inside] = boxes(scene)[owner[inside]]
    return labels, places


def _caption(scene: Scene, rng: np.random.Generator) -> str:
    return captions.canonical_caption(scene) if rng.random() < CANONICAL else captions.caption(scene, rng)
