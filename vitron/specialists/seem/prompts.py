"""Prompts as the decoder reads them, and how drawn regions become sampled positions.

A batch holds `rows` prompts, the same number for each picture and picture by picture: row r belongs to picture
r // (rows / pictures). A row may hold any combination of text, signal, marks on its picture (spatial) and marks on
another picture (visual).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vitron.specialists.seem.language import TextStates
from vitron.types import BoolMask


class Marks(NamedTuple):
    """Positions of drawn prompts, for the `n` rows that have one.

    Attributes:
        rows: `[n]`, which row.
        pictures: `[n]`, which picture of the batch of features it is drawn on.
        points: `[n, K, 2]`, (x, y) in [0, 1].
        signs: `[n, K]`, +1 on the object, -1 on what is not meant, 0 padding; at least one +1 a row.
    """

    rows: Tensor
    pictures: Tensor
    points: Tensor
    signs: Tensor


class Memory(NamedTuple):
    """What is kept of earlier frames of a clip, for every row.

    Attributes:
        tokens: at each scale, coarsest first, `[rows, K, hidden]` as `Decoder.remember` gives them.
        valid: `[rows, K]` bool; the others are padding.
    """

    tokens: tuple[Tensor, ...]
    valid: Tensor


class Prompts(NamedTuple):
    """All prompts of a batch; see the module docstring for the order of rows.

    Attributes:
        rows: how many.
        text: states of the instructions, one row each; a row without text has no valid token.
        signal: `[rows, S, hidden]`.
        signal_given: `[rows]` bool.
        spatial: marks on the row's own picture.
        visual: marks on another picture.
        memory: tokens of earlier frames, where the pictures are frames of a clip.
    """

    rows: int
    text: TextStates | None = None
    signal: Tensor | None = None
    signal_given: Tensor | None = None
    spatial: Marks | None = None
    visual: Marks | None = None
    memory: Memory | None = None


def marks_of(masks: Sequence[BoolMask], rows: Sequence[int], pictures: Sequence[int], limit: int) -> Marks:
    """Turn binary maps into at most `limit` positions each, evenly spread over the marked pixels."""
    found = [_positions(mask, limit) for mask in masks]
    longest = max(len(points) for points in found)
    points = np.zeros((len(found), longest, 2), np.float32)
    signs = np.zeros((len(found), longest), np.float32)
    for i, place in enumerate(found):
        points[i, : len(place)] = place
        signs[i, : len(place)] = 1.0
    return Marks(
        torch.tensor(list(rows)),
        torch.tensor(list(pictures)),
        torch.from_numpy(points),
        torch.from_numpy(signs),
    )


def sample(feature_map: Tensor, marks: Marks) -> Tensor:
    """Read a map `[B, C, H, W]` at the marks: `[n, K, C]`.

    Positions are those of pixel centres (`align_corners=False`); the released code samples with corners aligned, which
    displaces marks by up to half a cell on coarse maps.
    """
    grid = (marks.points * 2 - 1)[:, :, None].to(feature_map.dtype)
    picked = functional.grid_sample(feature_map[marks.pictures], grid, padding_mode="border", align_corners=False)
    return picked[..., 0].transpose(1, 2)


def mean_positive(sampled: Tensor, marks: Marks) -> Tensor:
    """Average the positions marked +1: `[n, K, C]` to `[n, C]`."""
    weight = (marks.signs > 0).to(sampled.dtype)[..., None]
    return (sampled * weight).sum(1) / weight.sum(1).clamp(min=1)


def to_device(marks: Marks | None, device: torch.device) -> Marks | None:
    """Move marks to a device."""
    return None if marks is None else Marks(*(tensor.to(device) for tensor in marks))


def _positions(mask: BoolMask, limit: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Pixel centres of a mask, (x, y) in [0, 1], thinned to `limit` at equal steps."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        raise ValueError("drawn: got a region that covers no pixel, expected at least one")
    keep = np.unique(np.linspace(0, len(ys) - 1, min(limit, len(ys))).round().astype(np.int64))
    height, width = mask.shape
    return np.stack([(xs[keep] + 0.5) / width, (ys[keep] + 0.5) / height], axis=1).astype(np.float32)
