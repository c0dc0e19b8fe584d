"""From the signal embedding into a specialist's condition space (NExT-GPT's form).

Shapes: B batch, n signal tokens, Q queries, D the specialist's condition width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vitron.config import ProjectionConfig

QUERY_STD = 0.02
"""Small but not zero: equal queries would only be told apart by their targets."""


class OutputProjection(nn.Module):
    """Linear, a small encoder-decoder Transformer with learned queries, linear."""

    def __init__(self, d_v: int, d_out: int, config: ProjectionConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.input = nn.Linear(d_v, hidden)
        layer: dict[str, Any] = {
            "d_model": hidden,
            "nhead": config.num_heads,
            "dim_feedforward": config.feedforward,
            "dropout": 0.0,
            "batch_first": True,
            "norm_first": True,
        }
        # An own encoder, only because nn.Transformer's warns of a fast path that pre-norm rules out.
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**layer),
            config.num_layers,
            nn.LayerNorm(hidden),
            enable_nested_tensor=False,
        )
        self.transformer = nn.Transformer(**layer, custom_encoder=encoder, num_decoder_layers=config.num_layers)
        for parameter in encoder.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)  # as nn.Transformer does with all of its own
        self.queries = nn.Parameter(torch.randn(config.num_queries, hidden) * QUERY_STD)
        self.output = nn.Linear(hidden, d_out)

    def forward(self, signal_Bnv: Tensor) -> Tensor:
        """Map signal embeddings [B, n, d_v] to condition tokens [B, Q, D]."""
        queries = self.queries.expand(len(signal_Bnv), -1, -1)
        hidden = self.transformer(self.input(signal_Bnv), queries)
        tokens: Tensor = self.output(hidden)
        return tokens
