"""Confidence intervals by the bootstrap: how far a score would move with other samples of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Sample = TypeVar("Sample")


class Interval(NamedTuple):
    """The score of all samples, and the bounds between which a share `level` of the resampled scores lies."""

    value: float
    low: float
    high: float


def bootstrap(
    samples: Sequence[Sample],
    statistic: Callable[[Sequence[Sample]], float],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a score (Efron & Tibshirani 1993, §13.3).

    Samples must be independent: resample scenes, not the questions about one scene. To compare two systems on the same
    samples, hand in pairs and let `statistic` return the difference; it is certain where the interval leaves 0 out.

    Args:
        samples: whatever `statistic` takes, such as numbers, overlaps or pairs.
        statistic: the score of a set, such as `statistics.fmean` or `segmentation.ciou`.
        level: share of the resampled scores inside of the interval, in (0, 1).
        resamples: how often as many samples are drawn, with replacement.
        seed: of the draws.
    """
    if not samples:
        raise ValueError("samples: got none, expected at least one")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level, resamples: got {level} and {resamples}, expected a level in (0, 1) and at least one")
    generator = np.random.default_rng(seed)
    scores = [
        statistic([samples[index] for index in generator.integers(len(samples), size=len(samples))])
        for _ in range(resamples)
    ]
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return Interval(statistic(samples), float(low), float(high))
