"""Choosing the next token from logits.

Knows one request at a time and nothing of batching: every request owns its random generator, so
that a seed gives the same text whoever its neighbours in the batch are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How one request picks its tokens and when it stops.

    Attributes:
        max_tokens: Upper bound on generated tokens; the engine lowers it to what its context holds.
        temperature: 0 means greedy (exact argmax); above 0 divides the logits.
        top_p: Smallest probability mass the sampler keeps, in (0, 1]; unused when greedy.
        seed: Seed of the request's own generator; None draws a fresh one.
        stop_token_ids: Tokens that end the reply, besides the end-of-sequence token.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}, allowed: 1 or more")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature is {self.temperature}, allowed: finite, 0 or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}, allowed: above 0, at most 1")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}, allowed: 0 to 2**63 - 1, or None")
        if any(token < 0 for token in self.stop_token_ids):
            raise ValueError(f"stop_token_ids is {self.stop_token_ids}, allowed: ids of 0 or more")


class Sampler:
    """Draws the tokens of one request whose temperature is above 0."""

    def __init__(self, params: SamplingParams) -> None:
        """Seed the request's generator."""
        self._temperature = params.temperature
        self._top_p = params.top_p
        # On the CPU whatever the model's device: a seed then means the same text on both.
        self._generator = torch.Generator()
        if params.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(params.seed)

    def sample(self, logits_V: Tensor) -> int:
        """Draw one token id; advances the generator by exactly one number."""
        probs_V = torch.softmax(_scaled(logits_V, self._temperature), dim=-1)
        if self._top_p < 1:
            probs_V = keep_top_p(probs_V, self._top_p)
        # Inverse CDF in vocabulary order: one uniform number per token, and a rounding difference
        # between batch sizes moves a boundary by 1e-7 instead of reordering the candidates.
        cdf_V = probs_V.cumsum(-1)
        draw = torch.rand(1, generator=self._generator, dtype=torch.float64) * cdf_V[-1]
        index = int(torch.searchsorted(cdf_V, draw, right=True))
        return min(index, _last_positive(probs_V))


def keep_top_p(probs_V: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of most likely tokens whose mass reaches `top_p`.

    The result is not renormalised. At least one token is kept.
    """
    sorted_V, order_V = probs_V.sort(descending=True, stable=True)
    mass_before_V = sorted_V.cumsum(-1) - sorted_V
    dropped_V = mass_before_V >= top_p
    dropped_V[0] = False
    return probs_V.scatter(0, order_V[dropped_V], 0.0)


def _scaled(logits_V: Tensor, temperature: float) -> Tensor:
    """Return float64 CPU logits over the temperature, with the largest at 0 to avoid overflow."""
    logits = logits_V.detach().to("cpu", torch.float64)
    return (logits - logits.max()) / temperature


def _last_positive(probs_V: Tensor) -> int:
    """Return the last token that may be drawn; rounding must not choose one behind it."""
    return int(probs_V.nonzero()[-1])
