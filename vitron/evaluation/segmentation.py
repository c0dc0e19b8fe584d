"""Scores of referring segmentation: cumulative and mean IoU over a split (paper Table 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from vitron.types import BoolMask


class Overlap(NamedTuple):
    """Pixels that prediction and target share, and pixels in either."""

    intersection: int
    union: int

    @property
    def iou(self) -> float:
        """Intersection over union; 1 if both masks are empty (an absent target was not found)."""
        return self.intersection / self.union if self.union else 1.0


def overlap(predicted: BoolMask | None, target: BoolMask) -> Overlap:
    """Compare two masks of one size; None (no mask at all) scores like an empty one."""
    if predicted is None:
        return Overlap(0, int(np.count_nonzero(target)))
    if predicted.shape != target.shape:
        raise ValueError(f"predicted: got shape {predicted.shape}, expected {target.shape}")
    shared = int(np.count_nonzero(predicted & target))
    return Overlap(shared, int(np.count_nonzero(predicted | target)))


def union_of(masks: Iterable[BoolMask]) -> BoolMask | None:
    """Join the masks of one reply (every object it names) into one; None if there are none."""
    joined: BoolMask | None = None
    for mask in masks:
        joined = mask.copy() if joined is None else joined | mask
    return joined


def ciou(overlaps: Sequence[Overlap]) -> float:
    """Cumulative IoU: all intersections over all unions, so that large objects weigh more."""
    _check_some(overlaps)
    union = sum(o.union for o in overlaps)
    return sum(o.intersection for o in overlaps) / union if union else 1.0


def giou(overlaps: Sequence[Overlap]) -> float:
    """Mean IoU of the samples (the field's gIoU; not the box loss of that name)."""
    _check_some(overlaps)
    return sum(o.iou for o in overlaps) / len(overlaps)


def _check_some(overlaps: Sequence[Overlap]) -> None:
    if not overlaps:
        raise ValueError("overlaps: got none, expected at least one sample")
