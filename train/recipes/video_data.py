"""Micro-batches for the video generators: latents of clips with what is said of them and what is meant.

As for pictures (`gligen_data`), the signal is simulated by noised text states of what is meant. Diffusers' video UNets
take no mask over condition tokens, so that all rows of a micro-batch have a signal, or none has.

Shapes: B rows, T text tokens, C latent channels, F frames, h and w latent size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from train.data.clips_latents import NUM_FULL, ClipCache
from train.recipes.gligen_data import SIGNAL_NOISE

WITH_SIGNAL = {"meant": 0.36, "both": 0.24, "under": 0.32, "none": 0.08}
WITHOUT_SIGNAL = {"full": 0.9, "none": 0.1}
"""Share of rows whose condition is: the signal, instruction and signal, an instruction that says too little with the
signal, the instruction; or nothing said and nothing meant."""
PLANNED = 0.8
"""Share of rows with a plan, of those with a condition."""
SIGNALLED = 0.55
"""Share of micro-batches with a signal."""
SAID, MEANT = ("full", "both", "under"), ("meant", "both", "under")
STREAM = 14


class Batch(NamedTuple):
    """The tensors of a micro-batch.

    Attributes:
        latents: clean, scaled `[B, C, F, h, w]`.
        said: token ids of the instructions `[B, T]`, those of the empty text where nothing is said.
        meant: token ids of what the signals stand for `[B, T]`, those of the empty text where nothing is meant; None:
            there is no signal.
        noise: deviation of the noise on each signal `[B, 1, 1]`; None: there is no signal.
        planned: 1 in rows with a plan `[B]`, else 0.
        boxes, there, phrases: the plans; see `ClipCache`. Token ids are `[B, M, T]`.
        source: see `ClipCache`.
        moves: where positions come from and what moves `[B, 3, F, h, w]`; see `ClipCache`.
    """

    latents: Tensor
    said: Tensor
    meant: Tensor | None
    noise: Tensor | None
    planned: Tensor
    boxes: Tensor
    there: Tensor
    phrases: Tensor
    source: Tensor
    moves: Tensor


class Batches:
    """Makes the micro-batch of any number; it depends on number and seed alone."""

    def __init__(self, cache: ClipCache, empty_T: Tensor, *, size: int, seed: int) -> None:
        """Refer to the cache.

        Args:
            cache: the clips.
            empty_T: token ids of the empty text.
            size: B.
            seed: of the order and of all that is drawn.
        """
        self._cache, self._empty = cache, empty_T
        self._size, self._seed = size, seed

    def __call__(self, number: int) -> Batch:
        """Return a micro-batch."""
        rng = np.random.default_rng([STREAM, self._seed, number])
        rows = np.sort(rng.integers(len(self._cache), size=self._size))
        latents = torch.from_numpy(self._cache.latents[rows].astype(np.float32))
        signalled = rng.random() < SIGNALLED
        mix = WITH_SIGNAL if signalled else WITHOUT_SIGNAL
        kinds = rng.choice(list(mix), size=self._size, p=list(mix.values()))
        pairs = np.where(kinds == "under", NUM_FULL, rng.integers(NUM_FULL, size=self._size))
        ids = torch.from_numpy(self._cache.texts[rows, pairs].astype(np.int64))
        says, means = (torch.from_numpy(np.isin(kinds, names))[:, None] for names in (SAID, MEANT))
        said = torch.where(says, ids[:, 0], self._empty)
        meant = noise = None
        if signalled:
            drawn = torch.from_numpy(rng.uniform(0, SIGNAL_NOISE, (self._size, 1, 1)).astype(np.float32))
            meant, noise = torch.where(means, ids[:, 1], self._empty), drawn * means[:, :, None]
        return Batch(
            latents=latents,
            said=said,
            meant=meant,
            noise=noise,
            planned=torch.from_numpy((kinds != "none") & (rng.random(self._size) < PLANNED)).float(),
            boxes=self._floats("boxes", rows),
            there=self._floats("there", rows),
            phrases=torch.from_numpy(self._cache.phrases[rows].astype(np.int64)),
            source=self._floats("source", rows),
            moves=self._floats("moves", rows),
        )

    def _floats(self, name: str, rows: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(getattr(self._cache, name)[rows].astype(np.float32))
