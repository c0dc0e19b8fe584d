"""Feature extractors for scores of generated media, and results that say which extractor they rest on.

A Fréchet distance is "FID" or "FVD", and a CLIP cosine comparable, only with the network that the field agreed on.
Here the extractor is an argument, and its name a part of every result, so that a number from a small network of our own
is never taken for one. No network is loaded here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from vitron.evaluation.table import Row
from vitron.types import Image

Features = npt.NDArray[np.float64]
"""`[N, D]`, one row a picture, clip or text."""
Clip = npt.NDArray[np.uint8]
"""A clip, RGB `[frames, height, width, 3]`."""
Media = TypeVar("Media", contravariant=True)


class FeatureExtractor(Protocol[Media]):
    """Turns pictures or clips into one row of features each."""

    @property
    def name(self) -> str:
        """Network, weights and layer, such as "inception-v3-fid/pool3" or "vitron-tiny-clip/pooled"."""

    def __call__(self, media: Sequence[Media], /) -> npt.NDArray[np.floating]:
        """Return `[N, D]`; the media may be of any number and are resized by the extractor if at all."""


class JointExtractor(Protocol):
    """A pair of encoders into one space, such as CLIP; features need not be normalised."""

    @property
    def name(self) -> str:
        """Network and weights, such as "openai/clip-vit-base-patch32"."""

    def images(self, images: Sequence[Image], /) -> npt.NDArray[np.floating]:
        """Return `[N, D]`."""

    def texts(self, texts: Sequence[str], /) -> npt.NDArray[np.floating]:
        """Return `[N, D]`."""


@dataclass(frozen=True, kw_only=True)
class FeatureScore:
    """A score that means something only together with what read the features.

    Attributes:
        metric: name of the formula, such as "frechet_distance".
        value: the score.
        n: samples it is computed from.
        extractor: name of the extractor.
        spread: standard deviation over splits, where the metric has splits.
    """

    metric: str
    value: float
    n: int
    extractor: str
    spread: float | None = None

    def row(self, *, task: str, split: str, message: str, seed: int, weights: str) -> Row:
        """Write the score as a row of the table; the metric there is "frechet_distance[extractor]"."""
        return Row(
            task=task,
            split=split,
            message=message,
            metric=f"{self.metric}[{self.extractor}]",
            value=self.value,
            n=self.n,
            seed=seed,
            weights=weights,
        )


@dataclass(frozen=True)
class TorchExtractor:
    """Features by a torch network, such as a TorchScript Inception or I3D that was loaded from a file.

    Attributes:
        name: network, weights and layer.
        network: `float32 [N, 3, height, width]` of pictures or `[N, 3, frames, height, width]` of clips, in [0, 1], to
            features `[N, ...]`, which are flattened. Resizing is its own business, as FID depends on how it is done.
        device: where the network is.
    """

    name: str
    network: Callable[[torch.Tensor], torch.Tensor]
    device: str = "cpu"

    def __call__(self, media: Sequence[npt.NDArray[np.uint8]], /) -> npt.NDArray[np.floating]:
        """Return `float32 [N, D]` of pictures or clips of one size."""
        stacked = torch.from_numpy(np.stack(media)).to(self.device)
        with torch.inference_mode():
            features = self.network(stacked.movedim(-1, 1).float() / 255)
        return features.flatten(1).float().cpu().numpy()


def extract(extractor: FeatureExtractor[Media], media: Sequence[Media], *, batch: int = 64) -> Features:
    """Read features in batches.

    Raises:
        ValueError: for no media, or features that are not finite or not one row each.
    """
    return in_batches(extractor, media, name=extractor.name, batch=batch)


def in_batches(
    encode: Callable[[Sequence[Media]], npt.NDArray[np.floating]],
    media: Sequence[Media],
    *,
    name: str,
    batch: int = 64,
) -> Features:
    """Call `encode` on `batch` items at a time; `name` is the extractor's, for errors."""
    if not len(media):
        raise ValueError("media: got none, expected at least one")
    parts = [encode(media[start : start + batch]) for start in range(0, len(media), batch)]
    features = checked(np.concatenate([np.asarray(part) for part in parts]), name)
    if len(features) != len(media):
        raise ValueError(f"{name}: got {len(features)} rows of features for {len(media)} media")
    return features


def checked(features: npt.NDArray[np.floating], name: str = "features") -> Features:
    """Return features in double precision, or raise ValueError unless they are finite and `[N, D]`."""
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"{name}: got features of shape {features.shape}, expected finite [N, D]")
    return features.astype(np.float64)
