"""Signal embeddings: the continuous half of the hybrid message (paper §3.2, §4.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitron.config import SignalConfig


class Signal(NamedTuple):
    """Task-specific v^p `[..., n, specific]` and task-invariant v^s `[..., n, shared]`."""

    specific: Tensor
    shared: Tensor

    @property
    def joined(self) -> Tensor:
        """The embedding [v^p ; v^s], `[..., n, specific + shared]`, that a specialist receives."""
        return torch.cat([self.specific, self.shared], -1)


class SignalHead(nn.Module):
    """Splits `h = last hidden state + input embedding` at the signal tokens into v^p and v^s."""

    def __init__(self, config: SignalConfig, width: int) -> None:
        super().__init__()
        self.specific = nn.Linear(width, config.specific)
        self.shared = nn.Linear(width, config.shared)

    def forward(self, states: Tensor, embeddings: Tensor) -> Signal:
        """Map hidden states and input embeddings, both `[..., n, width]`."""
        h = states + embeddings
        return Signal(self.specific(h), self.shared(h))

    def shared_alone(self, states: Tensor, embeddings: Tensor) -> Tensor:
        """Return v^s `[..., n, shared]` cut off from what it was made of: its gradient ends at this head."""
        shared: Tensor = self.shared((states + embeddings).detach())
        return shared
