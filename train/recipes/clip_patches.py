"""The dense loss on the features that the rest of the system reads: what each patch shows, and where its box is."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.data.shapes.scene import HELD_OUT
from train.recipes.clip_data import NAMES
from vitron.config import ClipConfig

WEIGHTS = {"shape": 3.0, "color": 1.0, "size": 1.0}
"""Shapes are by far the hardest to see in patches of 8 pixels: they need several patches put together."""
BOX_WEIGHT = 4.0
BACKGROUND_WEIGHT = 0.25


class PatchHeads(nn.Module):
    """The heads of the dense loss."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.dense = nn.ModuleDict({name: nn.Linear(config.width, len(words) + 1) for name, words in NAMES.items()})
        self.box = nn.Linear(config.width, 4)

    def named(self, name: str, features: Tensor) -> Tensor:
        """Return logits `[B, N, words + 1]` of what patches show; 0 is the background."""
        logits: Tensor = self.dense[name](features)
        return logits.float()

    def boxes(self, features: Tensor) -> Tensor:
        """Return the box `[B, N, 4]` of the object that covers each patch."""
        boxes: Tensor = self.box(features)
        return boxes.float()


def dense_losses(
    heads: PatchHeads, features: Tensor, labels: Tensor, places: Tensor, colorless: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the loss of each attribute and of boxes.

    A shape that no training picture has in a patch's colour does not compete there (logit adjustment by the prior,
    Menon et al. 2021): nothing is gained by taking the colour for evidence against it.

    Args:
        heads: say what patches show.
        features: `[B, N, D]`.
        labels, places: what they do show (see `clip_data.Batch`).
        colorless: bool `[B]`, pictures whose colours are not to be named.
    """
    found = labels[..., 0] > 0
    weight = torch.where(found, 1.0, BACKGROUND_WEIGHT)
    losses = {}
    for column, name in enumerate(NAMES):
        logits, wanted, counts = heads.named(name, features), labels[..., column], weight
        if name == "shape":
            never = never_seen().to(logits.device)[labels[..., list(NAMES).index("color")]]
            logits = logits.masked_fill(never, float("-inf"))
        elif name == "color" and colorless is not None:
            counts = weight * ~colorless[:, None]
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
        losses[name] = WEIGHTS[name] * (loss * counts.flatten()).sum() / counts.sum().clamp(min=1.0)
    return {**losses, "box": BOX_WEIGHT * F.l1_loss(heads.boxes(features)[found], places[found])}


@functools.cache
def never_seen() -> Tensor:
    """Return whether no training picture shows a colour (row) with a shape (column), as labels of patches."""
    never = torch.zeros(len(NAMES["color"]) + 1, len(NAMES["shape"]) + 1, dtype=torch.bool)
    for color, shape in HELD_OUT:
        never[NAMES["color"].index(color) + 1, NAMES["shape"].index(shape) + 1] = True
    return never


def named_right(heads: PatchHeads, features: Tensor, labels: Tensor) -> dict[str, float]:
    """Return how often each attribute of patches of objects is named right."""
    found = labels[..., 0] > 0
    right = {name: heads.named(name, features).argmax(-1) == labels[..., i] for i, name in enumerate(NAMES)}
    return {name: float(each[found].float().mean()) for name, each in right.items()}
