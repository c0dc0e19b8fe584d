"""Earlier turns of a conversation: a request, and a reply that is history."""

from __future__ import annotations

import numpy as np

from train.data.sample import Turn
from train.data.shapes import wording

Rng = np.random.Generator


def history(text: str) -> Turn:
    """An earlier reply: without its invocation, and not learned from."""
    return Turn(role="assistant", text=text, learned=False)


def carried_out(request: Turn | str, replies: tuple[str, ...], rng: Rng) -> list[Turn]:
    """A request and one of the replies to it."""
    user = Turn(role="user", text=request) if isinstance(request, str) else request
    return [user, history(wording.pick(replies, rng))]
