"""Losses of the LLM and of the message it sends (paper §B.1; specialists keep theirs beside them)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def language_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean next-token loss of logits `[K, V]` and token ids `[K]`.

    Args:
        weights: `[K]`, for a weighted mean.
    """
    if weights is None:
        return F.cross_entropy(logits.float(), targets)
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    return (losses * weights).sum() / weights.sum()


def answer_weights(labels: Tensor, ignore: int) -> Tensor:
    """Return a weight for each labelled token that makes all answers of a batch count the same, `[K]`.

    A mean over tokens lets long captions drown answers of one word: in a conversation of both, "yes" had a fiftieth of
    the weight of a grounded caption.

    Args:
        labels: `[B, T]`; an answer is a run of labels other than `ignore`. K leaves out the first column, which no
            token predicts.
    """
    wanted = labels[:, 1:] != ignore
    starts = wanted & ~F.pad(wanted, (1, 0))[:, :-1]
    answers = starts.flatten().long().cumsum(0)[wanted.flatten()] - 1
    return 1.0 / answers.bincount()[answers].float()


def condition_distance(projected: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """Return the distance between projected signals and the frozen condition encoder's text states.

    NExT-GPT's form (the un-squared l2 norm over channels), averaged over the positions that hold text.

    Args:
        projected, states: `[B, Q, D]`.
        mask: `[B, Q]`, True where `states` holds text.
    """
    distance = torch.linalg.vector_norm(projected.float() - states.float(), dim=-1)
    return (distance * mask).sum() / mask.sum().clamp(min=1)
