"""Losses of the LLM and of the message it sends (paper §B.1; specialists keep theirs beside them)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def language_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean next-token loss of logits `[K, V]` and token ids `[K]`."""
    return F.cross_entropy(logits.float(), targets)


def condition_distance(projected: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """Return the distance between projected signals and the frozen condition encoder's text states.

    NExT-GPT's form (the un-squared l2 norm over channels), averaged over the positions that hold text.

    Args:
        projected, states: `[B, Q, D]`.
        mask: `[B, Q]`, True where `states` holds text.
    """
    distance = torch.linalg.vector_norm(projected.float() - states.float(), dim=-1)
    return (distance * mask).sum() / mask.sum().clamp(min=1)
