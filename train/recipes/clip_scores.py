"""Scores of a CLIP pair on held-out Shapes, and what its patches see, to look at."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.data.shapes.render import render
from train.data.shapes.scene import BACKGROUND_COLORS
from train.recipes.clip_data import NAMES, Batch, Captioned
from train.recipes.clip_patches import named_right
from train.recipes.specialists import save_grid
from vitron.types import Image

if TYPE_CHECKING:
    from train.recipes.clip import ClipPair

NUM_DRAWN = 8
PALETTE = np.array(
    [
        BACKGROUND_COLORS["gray"],
        (220, 20, 20),
        (247, 130, 12),
        (245, 225, 25),
        (25, 178, 25),
        (43, 217, 217),
        (33, 75, 230),
        (125, 40, 184),
        (247, 104, 188),
    ],
    np.uint8,
)
"""How a patch is painted that shows the background, or an object of a colour of `NAMES`."""


class HeldOut:
    """Measures a pair on one fixed micro-batch of held-out pictures, the more the harder."""

    def __init__(self, pair: ClipPair, data: Captioned, device: torch.device) -> None:
        self._pair, self._data, self._device = pair, data, device

    @cached_property
    def batch(self) -> Batch:
        """The held-out pictures."""
        return Batch(*(tensor.to(self._device) for tensor in self._data(0)))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return how often a picture finds its caption among all, and how right the dense heads are on objects."""
        features, pictures, texts = self._pair.embed(self.batch.pixels, self.batch.ids)
        found = self.batch.labels[..., 0] > 0
        result = {"retrieval": float((best(pictures, texts) == torch.arange(len(texts))).float().mean())}
        result |= named_right(self._pair.heads, features, self.batch.labels)
        result["box_l1"] = float(F.l1_loss(self._pair.heads.boxes(features)[found], self.batch.places[found]))
        return result

    @torch.no_grad()
    def draw(self, folder: Path) -> None:
        """Write `patches.png` (pictures, what patches show, what they are taken for) and `captions.txt`."""
        features, pictures, texts = self._pair.embed(self.batch.pixels, self.batch.ids)
        column = list(NAMES).index("color")
        seen = self._pair.heads.named("color", features[:NUM_DRAWN]).argmax(-1)
        scenes = self._data.scenes(0)
        shown = [render(scene) for scene in scenes[:NUM_DRAWN]]
        side = shown[0].shape[0] // self._data.grid
        truth = self.batch.labels[:NUM_DRAWN, :, column]
        rows = [[_paint(each, self._data.grid, side) for each in labels.cpu()] for labels in (truth, seen)]
        save_grid(folder / "patches.png", [shown, *rows])
        written = self._data.texts(scenes, 0)
        chosen = [written[int(i)] for i in best(pictures, texts)[:NUM_DRAWN]]
        lines = [f"{chosen} | {own}" for chosen, own in zip(chosen, written, strict=False)]
        (folder / "captions.txt").write_text("chosen | its own\n" + "\n".join(lines) + "\n")


def best(pictures: Tensor, texts: Tensor) -> Tensor:
    """Return which text is nearest to each picture `[B]`, on the CPU."""
    return (pictures @ texts.T).argmax(1).cpu()


def _paint(labels_N: Tensor, grid: int, side: int) -> Image:
    patches = PALETTE[labels_N.numpy()].reshape(grid, grid, 3)
    return patches.repeat(side, axis=0).repeat(side, axis=1)
