"""Micro-batches for the generator: latents with what is said of them, what is meant, and where things are.

There is no LLM yet, so the signal segment of the condition is simulated: it holds the text states of what is meant,
while the text segment holds those of an instruction, which may say too little. Alignment later trains an output
projection to put the same states there. Boxes are given in half of the micro-batches; in some rows part of the picture
is kept, so that editing starts warm.

Shapes: B rows, m rows with a signal, T text tokens, N grounding slots, C latent channels, h and w latent size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from train.data.shapes_latents import NUM_FULL, LatentCache

MIX = {"full": 0.36, "meant": 0.20, "both": 0.14, "under": 0.22, "none": 0.08}
"""Share of rows whose condition is: the instruction, the signal, both, an instruction that says too little
with the signal, or nothing."""
SAID, MEANT = ("full", "both", "under"), ("meant", "both", "under")
SIGNAL_NOISE = 0.3
"""Largest deviation of the noise on simulated signal tokens: a projection will not hit the states exactly."""
GROUNDED = 0.55
"""Share of micro-batches with boxes: the gated layers are on for all rows or for none."""
INPAINTED = 0.25
"""Share of rows of which a part is kept."""
STREAM = 13

Numbers = npt.NDArray[Any]


class Layout(NamedTuple):
    """Boxes `[B, N, 4]` and what they show `[B, N]`, rows of `PHRASES`; -1: an empty slot."""

    boxes: Tensor
    names: Tensor


class Batch(NamedTuple):
    """The tensors of a micro-batch.

    Attributes:
        latents: clean, scaled `[B, C, h, w]`.
        said: token ids of the instructions `[B, T]`, those of the empty text where nothing is said.
        meant: token ids of what the signals stand for `[m, T]`.
        has_signal: bool `[B]`, which rows have one; m of them do.
        noise: deviation of the noise on each signal `[m, 1, 1]`.
        layout: None: the gated layers are off.
        source: inpainting channels `[B, C + 1, h, w]`, the kept latents and where they are kept.
    """

    latents: Tensor
    said: Tensor
    meant: Tensor
    has_signal: Tensor
    noise: Tensor
    layout: Layout | None
    source: Tensor


class Batches:
    """Makes the micro-batch of any number; it depends on number and seed alone."""

    def __init__(self, cache: LatentCache, empty_T: Tensor, *, slots: int, size: int, seed: int) -> None:
        """Refer to the cache.

        Args:
            cache: the scenes.
            empty_T: token ids of the empty text.
            slots: N.
            size: B.
            seed: of the order and of all that is drawn.
        """
        self._cache, self._empty = cache, empty_T
        self._slots, self._size, self._seed = slots, size, seed

    def __call__(self, number: int) -> Batch:
        """Return a micro-batch."""
        rng = np.random.default_rng([STREAM, self._seed, number])
        rows = np.sort(rng.integers(len(self._cache), size=self._size))
        kinds = rng.choice(list(MIX), size=self._size, p=list(MIX.values()))
        latents = torch.from_numpy(self._cache.latents[rows].astype(np.float32))
        said, meant, has_signal = self._texts(rows, kinds, rng)
        noise = torch.from_numpy(rng.uniform(0, SIGNAL_NOISE, (len(meant), 1, 1)).astype(np.float32))
        layout = self._layout(rows, kinds, rng) if rng.random() < GROUNDED else None
        return Batch(latents, said, meant, has_signal, noise, layout, self._source(latents, rows, rng))

    def _texts(self, rows: Numbers, kinds: Numbers, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        pairs = np.where(kinds == "under", NUM_FULL, rng.integers(NUM_FULL, size=len(rows)))
        ids = torch.from_numpy(self._cache.texts[rows, pairs].astype(np.int64))
        says, means = (torch.from_numpy(np.isin(kinds, names)) for names in (SAID, MEANT))
        return torch.where(says[:, None], ids[:, 0], self._empty), ids[means, 1], means

    def _layout(self, rows: Numbers, kinds: Numbers, rng: np.random.Generator) -> Layout:
        boxes = np.zeros((len(rows), self._slots, 4), np.float32)
        names = np.full((len(rows), self._slots), -1, np.int64)
        for i, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
            found = np.flatnonzero(self._cache.phrases[row, :, 0] >= 0)
            draw = rng.random()
            if kind == "none" or draw < 0.1:
                found = found[:0]
            elif draw < 0.35:
                found = rng.permutation(found)[: rng.integers(1, len(found) + 1)]
            wording = rng.integers(2, size=len(found))
            boxes[i, : len(found)] = self._cache.boxes[row, found]
            names[i, : len(found)] = self._cache.phrases[row, found, wording]
        return Layout(torch.from_numpy(boxes), torch.from_numpy(names))

    def _source(self, latents: Tensor, rows: Numbers, rng: np.random.Generator) -> Tensor:
        keep = torch.zeros(len(rows), 1, *latents.shape[2:])
        for i in np.flatnonzero(rng.random(len(rows)) < INPAINTED):
            keep[i] = 1.0
            left, top, right, bottom = _hole(self._cache.boxes[rows[i]], latents.shape[-1], rng)
            keep[i, :, top:bottom, left:right] = 0.0
        return torch.cat([latents * keep, keep], dim=1)


def _hole(places: Numbers, side: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return a rectangle to paint anew, in latent positions: an object's surroundings, or anywhere."""
    found = places[places.any(axis=1)]
    if len(found) and rng.random() < 0.6:
        margin = int(rng.integers(3))
        x1, y1, x2, y2 = found[rng.integers(len(found))] * side
        low = max(int(x1) - margin, 0), max(int(y1) - margin, 0)
        return *low, min(int(np.ceil(x2)) + margin, side), min(int(np.ceil(y2)) + margin, side)
    width, height = (int(value) for value in rng.integers(side // 4, side - 2, size=2))
    left, top = int(rng.integers(side - width + 1)), int(rng.integers(side - height + 1))
    return left, top, left + width, top + height
