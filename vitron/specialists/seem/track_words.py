"""Which track words mean: where an object is, where it goes, when it comes and leaves.

SEEM's words speak of pictures; what tells objects of a clip apart is often only motion ("the circle that moves left").
The reader compares words, which may be instruction or signal tokens, with a few measures of a whole track.

Shapes: K tracks, S words, D their width, M measures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from vitron.types import BoolMask

MEASURES = (
    *("first_x", "first_y", "last_x", "last_y", "moved_x", "moved_y", "toward_x", "toward_y", "distance", "speed"),
    *("comes", "begins", "leaves", "ends", "hidden", "edge_at_first", "edge_at_last", "moves"),
)
NUM_LOOKS = 4
"""Questions that are asked of the words."""
STILL = 0.03
"""A centre that moves less than this part of the picture stays."""


def measure(masks: Sequence[BoolMask | None]) -> npt.NDArray[np.float32]:
    """Measure a track, given its mask `[h, w]` in each of at least one frames, None where it is not seen: `[M]`."""
    seen = [(t, mask) for t, mask in enumerate(masks) if mask is not None and mask.any()]
    out = np.zeros(len(MEASURES), np.float32)
    if not seen:
        return out
    frames = np.array([t for t, _ in seen])
    places = np.array([_center(mask) for _, mask in seen])
    last = max(len(masks) - 1, 1)
    moved = places[-1] - places[0]
    distance = float(np.hypot(*moved))
    steps = np.hypot(*np.diff(places, axis=0).T) / np.diff(frames) if len(seen) > 1 else np.zeros(1)
    gaps = frames[-1] - frames[0] + 1 - len(frames)
    out[:] = (
        *places[0],
        *places[-1],
        *moved,
        *(moved / (distance + STILL)),
        distance,
        10 * float(np.quantile(steps, 0.75)),
        float(frames[0] > 0),
        frames[0] / last,
        float(frames[-1] < last),
        frames[-1] / last,
        min(gaps / 3, 1.0),
        _edge(seen[0][1]),
        _edge(seen[-1][1]),
        float(distance > STILL),
    )
    return out


def _center(mask: BoolMask) -> tuple[float, float]:
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    return float((xs.mean() + 0.5) / width), float((ys.mean() + 0.5) / height)


def _edge(mask: BoolMask) -> float:
    """How much of a mask lies along the picture's edge, in units of a side of the mask."""
    along = max(mask[0].sum(), mask[-1].sum(), mask[:, 0].sum(), mask[:, -1].sum())
    return float(min(along / max(np.sqrt(mask.sum()), 1.0), 2.0))


class Listener(nn.Module):
    """Words to one vector: a few questions are asked of them, and the answers are put together."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.asks = nn.Linear(dim, NUM_LOOKS)
        self.joins = nn.Sequential(nn.Linear(NUM_LOOKS * dim, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, words: Tensor, valid: Tensor) -> Tensor:
        """Map words `[B, S, D]`, those that are `valid [B, S]`, to `[B, width]`; each row has one at least."""
        normed = functional.layer_norm(words.float(), words.shape[-1:])
        weights = self.asks(normed).masked_fill(~valid[..., None], -torch.inf).softmax(dim=1)
        out: Tensor = self.joins((weights.transpose(1, 2) @ normed).flatten(1))
        return out


class TrackWords(nn.Module):
    """Logits of tracks given words; only differences between the tracks of a clip mean anything.

    Instructions are heard as plain token embeddings: the segmenter's encoder never learned the words of motion, and
    what it makes of them is lost behind positions. Signals are heard as they reach the decoder.

    Args:
        text: width of token embeddings.
        hidden: width of signal tokens.
        width: of the space in which words and tracks meet.
    """

    def __init__(self, text: int, hidden: int, width: int) -> None:
        super().__init__()
        self.text, self.signal = Listener(text, width), Listener(hidden, width)
        self.track = nn.Sequential(nn.Linear(len(MEASURES), width), nn.GELU(), nn.Linear(width, width))

    def forward(self, heard: Tensor, tracks: Tensor) -> Tensor:
        """Compare what `text` or `signal` heard `[B, width]` with each row's tracks `[B, K, M]`: `[B, K]`."""
        known = self.track(tracks)
        out: Tensor = (heard[:, None] * known).sum(-1) / known.shape[-1] ** 0.5
        return out
