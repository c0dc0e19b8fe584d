"""Losses of the LLM."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from vitron.losses import answer_weights, language_loss

IGNORE = -100


def test_every_answer_weighs_the_same_however_long_it_is() -> None:
    labels = torch.tensor(
        [
            [IGNORE, IGNORE, 5, IGNORE, 6, 7, 8, 9],
            [IGNORE, 1, 2, IGNORE, IGNORE, 3, IGNORE, IGNORE],
        ]
    )
    weights = answer_weights(labels, IGNORE)
    assert torch.allclose(weights, torch.tensor([1.0, *[0.25] * 4, 0.5, 0.5, 1.0]))


def test_answers_at_the_end_of_one_row_and_the_start_of_the_next_are_two() -> None:
    labels = torch.tensor([[IGNORE, 4, 4], [IGNORE, 4, IGNORE]])
    assert torch.allclose(answer_weights(labels, IGNORE), torch.tensor([0.5, 0.5, 1.0]))


def test_a_weighted_loss_is_the_mean_of_the_answers_means() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 7), torch.tensor([1, 2, 3, 4, 5])
    labels = torch.tensor([[IGNORE, 1, 2, 3, IGNORE, 4, 5]])
    weighted = language_loss(logits, targets, answer_weights(labels, IGNORE))
    expected = (F.cross_entropy(logits[:3], targets[:3]) + F.cross_entropy(logits[3:], targets[3:])) / 2
    assert torch.allclose(weighted, expected)
    assert torch.allclose(language_loss(logits, targets), F.cross_entropy(logits, targets))
