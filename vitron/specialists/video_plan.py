"""Plans of clips as the networks of the video generators read them: tensors of what is to be where.

Shapes: B rows, M planned objects, F frames, h and w latent size, D condition width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitron.clip_plan import PlannedTrack


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoPlan:
    """One clip's plan.

    Attributes:
        boxes: [M, F, 4], `xyxy` in [0, 1].
        there: [M, F], 1 in frames where the object is there, else 0.
        phrases: [M, D], pooled text states of what it is.
    """

    boxes: Tensor
    there: Tensor
    phrases: Tensor


def plan_of(tracks: Sequence[PlannedTrack], phrases_MD: Tensor) -> VideoPlan:
    """Return tracks as tensors beside their phrases."""
    assert len(tracks) == len(phrases_MD) > 0
    boxes = torch.from_numpy(np.stack([track.boxes for track in tracks]))
    there = torch.from_numpy(np.stack([track.there for track in tracks])).float()
    return VideoPlan(boxes=boxes.to(phrases_MD.device), there=there.to(phrases_MD.device), phrases=phrases_MD)


def mover_boxes(plan: VideoPlan) -> Tensor:
    """Return the boxes [F, 4] of what goes furthest, which is what a picture's animation sets in motion."""
    travelled_M = (plan.boxes - plan.boxes[:, :1]).abs().amax(dim=(1, 2))
    return plan.boxes[travelled_M.argmax()]


def cover(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return how much of each latent position boxes [..., 4] cover: [..., h, w] in [0, 1]."""
    x1, y1, x2, y2 = boxes.float().unbind(-1)
    across, down = _overlap(x1, x2, width), _overlap(y1, y2, height)
    return down[..., :, None] * across[..., None, :]


def _overlap(start: Tensor, end: Tensor, count: int) -> Tensor:
    edges = torch.arange(count, device=start.device)
    least = torch.maximum(start[..., None] * count, edges)
    return (torch.minimum(end[..., None] * count, edges + 1) - least).clamp(min=0.0)


def shift_of(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return how far boxes [..., F, 4] have moved since the first frame: [..., 2, F], in latent positions (x, y)."""
    middle = (boxes[..., :2] + boxes[..., 2:]).float() / 2.0
    moved = (middle - middle[..., :1, :]) * torch.tensor([width, height], device=boxes.device)
    return moved.transpose(-1, -2)
