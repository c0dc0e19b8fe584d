"""Next tokens that no sample ever asks for do not compete (logit adjustment by the prior, Menon et al. 2021).

The Shapes world holds some pairs of colour and shape back. In what it writes a shape stands behind its colour, so an
LLM learns first of all that after "yellow" no cross ever comes, and says "star" in front of one. Where a shape is to be
named behind a colour, those that this colour is never seen with are left out of the loss: only what is seen decides
among the others, and nothing is gained by ruling these out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from train.data.shapes.scene import COLORS, HELD_OUT


class UnseenPairs(nn.Module):
    """Takes the shapes out of logits that the token before, a colour, is never seen with."""

    rows: Tensor
    never: Tensor

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Look the words up; one that is several tokens of the LLM is left to compete."""
        super().__init__()
        size = len(tokenizer)
        rows, never = torch.zeros(size, dtype=torch.long), torch.zeros(len(COLORS) + 1, size, dtype=torch.bool)
        for row, color in enumerate(COLORS, 1):
            for token in _tokens(tokenizer, color):
                rows[token] = row
            for shape in (shape for tint, shape in HELD_OUT if tint == color):
                never[row, list(_tokens(tokenizer, shape, f"{shape}s", f"{shape}es"))] = True
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("never", never, persistent=False)

    def forward(self, logits: Tensor, before: Tensor, targets: Tensor) -> Tensor:
        """Return logits with minus infinity where nothing competes.

        Args:
            logits: `[K, V]`, of the token behind `before`.
            before: token ids `[K]`.
            targets: token ids `[K]`, which stay as they are.
        """
        never = self.never[self.rows[before]]
        never.scatter_(1, targets[:, None], False)
        return logits.masked_fill(never, float("-inf"))


def _tokens(tokenizer: PreTrainedTokenizerBase, *words: str) -> set[int]:
    """Return the ids of words in the middle of a sentence that are one token each."""
    found = (tokenizer.encode(f" {word}", add_special_tokens=False) for word in words)
    return {ids[0] for ids in found if len(ids) == 1}
