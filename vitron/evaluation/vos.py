"""Scores of video object segmentation: region J, boundary F and their mean, by the protocol of DAVIS 2017.

The numbers of a benchmark (`official`) are means over objects, whatever sequence they are in: a sequence with more
objects weighs more. `by_sequence` averages inside each sequence first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from vitron.types import BoolMask

TOLERANCE = 0.008
"""How far boundaries may lie apart and still match, as a part of the picture's diagonal (Perazzi et al. 2016)."""
Frames = Literal["inner", "all"]
"""DAVIS's semi-supervised task scores the "inner" frames: the first is given, and the last is left out as well. Tasks
that are prompted by text (Ref-DAVIS) or that give nothing score "all"."""


class ObjectScore(NamedTuple):
    """Means over the frames of one object of one sequence, in [0, 1]."""

    sequence: str
    object_id: int
    j: float
    f: float


class JAndF(NamedTuple):
    """J, F and their mean, in [0, 1]."""

    j: float
    f: float
    j_and_f: float


def region_similarity(predicted: BoolMask, target: BoolMask) -> float:
    """J of one frame: intersection over union; 1 if both masks are empty."""
    _check_shapes(predicted, target)
    union = np.count_nonzero(predicted | target)
    return np.count_nonzero(predicted & target) / union if union else 1.0


def boundary_similarity(predicted: BoolMask, target: BoolMask, *, tolerance: float = TOLERANCE) -> float:
    """F of one frame: F-score of the boundary pixels that lie near the other mask's boundary.

    Args:
        predicted: `[height, width]`.
        target: the same size.
        tolerance: a part of the diagonal, rounded up to whole pixels; 1 or more is a number of pixels.

    Returns:
        1 if neither mask has a boundary, 0 if one has none. A mask that fills the picture has none, as only changes
        between neighbouring pixels count.
    """
    _check_shapes(predicted, target)
    pixels = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*predicted.shape))
    mine, theirs = boundary(predicted), boundary(target)
    if not mine.any() or not theirs.any():
        return float(mine.any() == theirs.any())
    precision = np.count_nonzero(mine & _near(theirs, pixels)) / np.count_nonzero(mine)
    recall = np.count_nonzero(theirs & _near(mine, pixels)) / np.count_nonzero(theirs)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: BoolMask) -> BoolMask:
    """Mark each pixel that differs from its neighbour to the right, below, or right below."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    marked: BoolMask = (mask ^ padded[:-1, 1:]) | (mask ^ padded[1:, :-1]) | (mask ^ padded[1:, 1:])
    return marked


def _near(marked: BoolMask, pixels: float) -> BoolMask:
    # Dilation by a disk of whole radius is the set of pixels at most that far away.
    near: BoolMask = distance_transform_edt(~marked) <= pixels
    return near


def score_sequence(
    sequence: str,
    predicted: Mapping[int, BoolMask],
    targets: Mapping[int, BoolMask],
    *,
    frames: Frames = "inner",
    tolerance: float = TOLERANCE,
) -> list[ObjectScore]:
    """Score every object of a sequence.

    Args:
        sequence: its name.
        predicted: object id to masks `[frames, height, width]`; an object that is missing was never found.
        targets: the same, of every object that is scored, in all frames of the sequence.
        frames: which frames count.
        tolerance: of `boundary_similarity`.

    Raises:
        ValueError: for an id that no target has, for other sizes, or for too few frames.
    """
    unknown = sorted(predicted.keys() - targets.keys())
    if unknown or not targets:
        raise ValueError(f"predicted: got objects {unknown} in {sequence!r}, expected some of {sorted(targets)}")
    scores = []
    for object_id, target in sorted(targets.items()):
        masks = predicted.get(object_id, np.zeros_like(target))
        _check_shapes(masks, target)
        scored = range(1, len(target) - 1) if frames == "inner" else range(len(target))
        if not scored:
            raise ValueError(f"targets: got {len(target)} frames in {sequence!r}, expected at least one to score")
        j = [region_similarity(masks[t], target[t]) for t in scored]
        f = [boundary_similarity(masks[t], target[t], tolerance=tolerance) for t in scored]
        scores.append(ObjectScore(sequence, object_id, float(np.mean(j)), float(np.mean(f))))
    return scores


def official(scores: Sequence[ObjectScore]) -> JAndF:
    """Average over all objects, as DAVIS reports it."""
    if not scores:
        raise ValueError("scores: got none, expected at least one object")
    return _j_and_f([score.j for score in scores], [score.f for score in scores])


def by_sequence(scores: Sequence[ObjectScore]) -> JAndF:
    """Average over the objects of each sequence, and then over the sequences."""
    names = dict.fromkeys(score.sequence for score in scores)
    means = [official([score for score in scores if score.sequence == name]) for name in names]
    return official([ObjectScore("", index, mean.j, mean.f) for index, mean in enumerate(means)])


def _j_and_f(j: Sequence[float], f: Sequence[float]) -> JAndF:
    mean_j, mean_f = float(np.mean(j)), float(np.mean(f))
    return JAndF(mean_j, mean_f, (mean_j + mean_f) / 2)


def _check_shapes(predicted: npt.NDArray[np.bool_], target: npt.NDArray[np.bool_]) -> None:
    if predicted.shape != target.shape or predicted.dtype != np.bool_ or target.dtype != np.bool_:
        got = f"{predicted.dtype} {list(predicted.shape)}"
        raise ValueError(f"predicted: got {got} for a target {target.dtype} {list(target.shape)}, expected bool alike")
