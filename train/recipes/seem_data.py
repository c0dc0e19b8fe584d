"""Micro-batches for SEEM: pictures, two groups of prompts, and what each prompt should give.

Worded and drawn prompts are decoded apart: drawn ones alone bring no tokens that take part in self-attention, so that
their rows are far cheaper. Texts stay words here: the network has the tokenizer.

Shapes: P pictures, R prompts of a group (the same number a picture, picture by picture), N objects a picture at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from train.data.shapes import captions
from train.data.shapes.scene import COLORS, MAX_OBJECTS, SHAPES, scene_rng
from train.recipes.seem_prompts import STREAM, Picture, Prompt, picture_at, with_references
from train.settings import Settings
from vitron.specialists.seem.losses import Targets
from vitron.specialists.seem.prompts import Marks, marks_of
from vitron.types import BoolMask

NUM_WORDED, NUM_DRAWN = 3, 2
"""Prompts of a picture."""


class Group(NamedTuple):
    """Prompts that are decoded together.

    Attributes:
        texts: R of them, "" where there is none.
        has_text: bool `[R]`.
        signals: R descriptions that signals stand for, "" where there is none.
        has_signal: bool `[R]`.
        spatial: drawings on the row's own picture.
        visual: drawings on another picture of the micro-batch.
        targets: what each row should give.
    """

    texts: tuple[str, ...]
    has_text: Tensor
    signals: tuple[str, ...]
    has_signal: Tensor
    spatial: Marks | None
    visual: Marks | None
    targets: Targets


class Called(NamedTuple):
    """Names, and which of them each object of the worded group has: `labels [R, N]`."""

    texts: tuple[str, ...]
    labels: Tensor


class Batch(NamedTuple):
    """A micro-batch: pictures uint8 `[P, 3, H, W]`, their prompts, and what their objects are called."""

    pixels: Tensor
    worded: Group
    drawn: Group
    names: tuple[Called, ...]


def batch_at(settings: Settings, limit: int, number: int) -> Batch:
    """Return the micro-batch of a number; it depends on number and seed alone.

    Args:
        settings: size of a micro-batch, and the seed.
        limit: positions of a drawing, `SeemConfig.max_spatial`.
        number: of the micro-batch.
    """
    size, seed = settings.micro_batch, settings.seed
    pictures = [picture_at("train", number * size + i, NUM_WORDED, NUM_DRAWN, seed) for i in range(size)]
    rng = scene_rng("train", number, seed, stream=STREAM + 1)
    return collate(with_references(pictures, rng), limit)


def collate(pictures: Sequence[Picture], limit: int) -> Batch:
    """Return the tensors of pictures and their prompts."""
    pixels = torch.from_numpy(np.stack([picture.image for picture in pictures])).permute(0, 3, 1, 2).contiguous()
    return Batch(
        pixels,
        group_of(pictures, [picture.worded for picture in pictures], limit),
        group_of(pictures, [picture.drawn for picture in pictures], limit),
        names_of(pictures),
    )


def group_of(pictures: Sequence[Picture], prompts: Sequence[Sequence[Prompt]], limit: int) -> Group:
    """Return the tensors of one group of prompts, those of each picture."""
    flat = [prompt for part in prompts for prompt in part]
    rows = len(flat)
    own = [(r, p.drawn, r * len(pictures) // rows) for r, p in enumerate(flat) if p.reference is None]
    other = [(r, p.drawn, p.reference) for r, p in enumerate(flat) if p.reference is not None]
    texts, signals = (tuple(getattr(prompt, kind) for prompt in flat) for kind in ("text", "signal"))
    return Group(
        texts,
        torch.tensor([bool(text) for text in texts]),
        signals,
        torch.tensor([bool(signal) for signal in signals]),
        _marks(own, limit),
        _marks(other, limit),
        targets_of(pictures, prompts),
    )


def targets_of(pictures: Sequence[Picture], prompts: Sequence[Sequence[Prompt]]) -> Targets:
    """Return what every row of a group of prompts should give."""
    rows = sum(len(part) for part in prompts)
    masks = torch.zeros(rows, MAX_OBJECTS, *pictures[0].masks.shape[-2:])
    present, meant = torch.zeros(2, rows, MAX_OBJECTS, dtype=torch.bool)
    every = torch.zeros(rows, dtype=torch.bool)
    row = 0
    for picture, part in zip(pictures, prompts, strict=True):
        every[row] = True
        for prompt in part:
            count = len(picture.masks)
            masks[row, :count] = torch.from_numpy(picture.masks).float()
            present[row, :count] = True
            meant[row, sorted(prompt.meant)] = True
            row += 1
    return Targets(masks, present, meant, every)


def names_of(pictures: Sequence[Picture]) -> tuple[Called, ...]:
    """Return what each object is called: colour and shape among all of them, and in full among the batch's objects."""
    every = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
    short = [[captions.name(obj) for obj in picture.scene.objects] for picture in pictures]
    full = [[captions.full_description(p.scene, i) for i in range(len(p.masks))] for p in pictures]
    among = tuple(sorted({text for row in full for text in row}))
    return Called(every, _labels(pictures, short, every)), Called(among, _labels(pictures, full, among))


def _labels(pictures: Sequence[Picture], called: Sequence[Sequence[str]], among: Sequence[str]) -> Tensor:
    index = {text: i for i, text in enumerate(among)}
    labels = torch.zeros(sum(len(picture.worded) for picture in pictures), MAX_OBJECTS, dtype=torch.long)
    row = 0
    for picture, names in zip(pictures, called, strict=True):
        labels[row, : len(names)] = torch.tensor([index[name] for name in names])
        row += len(picture.worded)
    return labels


def _marks(drawn: Sequence[tuple[int, BoolMask | None, int | None]], limit: int) -> Marks | None:
    """Return the marks of the (row, drawing, picture) that have a drawing."""
    found = [(row, mask, picture) for row, mask, picture in drawn if mask is not None and picture is not None]
    if not found:
        return None
    rows, masks, pictures = zip(*found, strict=True)
    return marks_of(masks, rows, pictures, limit)
