"""Distances between sets of pictures or clips by their features: Fréchet distance (FID, FVD) and Inception Score."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh, svdvals
from scipy.special import rel_entr

from vitron.evaluation.features import Clip, FeatureExtractor, Features, FeatureScore, checked, extract
from vitron.types import Image


class Gaussian(NamedTuple):
    """What the Fréchet distance keeps of a set: mean `[D]` and covariance `[D, D]` of its features."""

    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]


def gaussian(features: npt.NDArray[np.floating]) -> Gaussian:
    """Fit a Gaussian to features `[N, D]`; the covariance is the unbiased one, as in all common FID code."""
    values = checked(features)
    if len(values) < 2:
        raise ValueError(f"features: got {len(values)} rows, expected at least 2 for a covariance")
    return Gaussian(values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False)))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians (Dowson & Landau 1982; FID: Heusel et al. 2017).

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^1/2). The last trace is the sum of the singular values of F1 F2^T with
    C = F^T F. That needs no root of a matrix that is not symmetric, so it stays real and exact to rounding for
    singular covariances (fewer samples than dimensions), where `scipy.linalg.sqrtm` turns complex or fails.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"second: got {second.mean.size} dimensions, expected {first.mean.size}")
    difference = first.mean - second.mean
    shared = svdvals(_factor(first.covariance) @ _factor(second.covariance).T).sum()
    spread = np.trace(first.covariance) + np.trace(second.covariance) - 2 * shared
    return max(float(difference @ difference + spread), 0.0)


def _factor(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return F with F^T F = covariance; eigenvalues below 0 are rounding errors."""
    values, vectors = eigh(covariance)
    factor: npt.NDArray[np.float64] = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return factor


def image_frechet_distance(
    generated: Sequence[Image], real: Sequence[Image], extractor: FeatureExtractor[Image]
) -> FeatureScore:
    """Fréchet distance of two sets of pictures; it is the FID with the pool3 features of the FID Inception network."""
    return _score("frechet_distance", extract(extractor, generated), extract(extractor, real), extractor.name)


def video_frechet_distance(
    generated: Sequence[Clip], real: Sequence[Clip], extractor: FeatureExtractor[Clip]
) -> FeatureScore:
    """Fréchet distance of two sets of clips; it is the FVD with the logits of the I3D network of Kinetics-400.

    Raises:
        ValueError: also if the clips differ in their number of frames, which changes the distance.
    """
    lengths = sorted({len(clip) for clip in (*generated, *real)})
    if len(lengths) > 1:
        raise ValueError(f"generated, real: got clips of {lengths} frames, expected one length")
    return _score("frechet_video_distance", extract(extractor, generated), extract(extractor, real), extractor.name)


def _score(metric: str, generated: Features, real: Features, name: str) -> FeatureScore:
    value = frechet_distance(gaussian(generated), gaussian(real))
    return FeatureScore(metric=metric, value=value, n=len(generated), extractor=name)


class InceptionScore(NamedTuple):
    """Mean and standard deviation over the splits; at least 1, at most the number of classes."""

    mean: float
    spread: float


def inception_score(probabilities: npt.NDArray[np.floating], splits: int = 10) -> InceptionScore:
    """Exponential of the mean divergence of a picture's classes from those of its split (Salimans et al. 2016).

    Args:
        probabilities: `[N, classes]`, rows that sum to 1. Zeros are allowed, where the usual code gives NaN.
        splits: parts of the set, in its order, that are scored one by one.
    """
    values = checked(probabilities, "probabilities")
    if (values < 0).any() or not np.allclose(values.sum(axis=1), 1, atol=1e-4):
        raise ValueError("probabilities: got rows that are no distribution, expected them to sum to 1")
    if not 1 <= splits <= len(values):
        raise ValueError(f"splits: got {splits}, expected 1 to {len(values)}")
    bounds = [index * len(values) // splits for index in range(splits + 1)]
    parts = [values[start:end] for start, end in pairwise(bounds)]
    scores = [np.exp(rel_entr(part, part.mean(axis=0)).sum(axis=1).mean()) for part in parts]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def image_inception_score(
    generated: Sequence[Image], classifier: FeatureExtractor[Image], splits: int = 10
) -> FeatureScore:
    """Inception Score by any classifier that returns probabilities; comparable with the Inception of 2015 only."""
    return _inception(extract(classifier, generated), classifier.name, splits)


def video_inception_score(
    generated: Sequence[Clip], classifier: FeatureExtractor[Clip], splits: int = 10
) -> FeatureScore:
    """The same for clips; comparable with C3D that was tuned on UCF101 only (Saito et al. 2020)."""
    return _inception(extract(classifier, generated), classifier.name, splits)


def _inception(probabilities: Features, name: str, splits: int) -> FeatureScore:
    score = inception_score(probabilities, splits)
    return FeatureScore(
        metric="inception_score", value=score.mean, n=len(probabilities), extractor=name, spread=score.spread
    )
