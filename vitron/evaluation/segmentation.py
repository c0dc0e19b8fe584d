"""Scores of segmentation (paper Table 2): cumulative and mean IoU, P@X, absent targets, and mean IoU of classes.

A mask is a bool array of any shape; over `[frames, height, width]` the overlap is that of the space-time volumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitron.types import BoolMask

NO_TARGET_PIXELS = 50
"""Below this, a mask of a model without an answer of its own for "nothing there" counts as that answer (gRefCOCO)."""


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


def precision_at(overlaps: Sequence[Overlap], threshold: float) -> float:
    """P@X: share of samples whose IoU is at least `threshold` (for boxes the field asks for more than it)."""
    _check_some(overlaps)
    return sum(o.iou >= threshold for o in overlaps) / len(overlaps)


class Generalised(NamedTuple):
    """Scores of a split in which some expressions name nothing in the picture (GRES, Liu et al. 2023).

    Attributes:
        giou: mean IoU, where finding nothing scores 1 if there is nothing and 0 otherwise.
        ciou: cumulative IoU; whatever is found where nothing is adds to the union.
        n_acc: share of the samples without target in which nothing was found; None if there are none.
        t_acc: share of the samples with a target in which something was found; None if there are none.
    """

    giou: float
    ciou: float
    n_acc: float | None
    t_acc: float | None


def generalised(
    pairs: Sequence[tuple[BoolMask | None, BoolMask]], *, least_pixels: int = NO_TARGET_PIXELS
) -> Generalised:
    """Score predictions against targets that may be empty, by the rules of gRefCOCO.

    Args:
        pairs: prediction (None for "nothing there") and target, masks of one size.
        least_pixels: a prediction with fewer set pixels counts as "nothing there".
    """
    found = [None if mask is None or np.count_nonzero(mask) < least_pixels else mask for mask, _ in pairs]
    overlaps = [overlap(mask, target) for mask, (_, target) in zip(found, pairs, strict=True)]
    absent = [mask is None for mask, (_, target) in zip(found, pairs, strict=True) if not target.any()]
    present = [mask is not None for mask, (_, target) in zip(found, pairs, strict=True) if target.any()]
    return Generalised(giou(overlaps), ciou(overlaps), _share(absent), _share(present))


def class_miou(
    predicted: Sequence[npt.NDArray[np.integer]],
    targets: Sequence[npt.NDArray[np.integer]],
    num_classes: int,
    *,
    ignore: int | None = None,
) -> float:
    """Mean IoU of semantic classes: each class's IoU over the whole split, averaged over the classes that occur.

    Args:
        predicted: maps of class numbers in [0, num_classes).
        targets: the same, with pixels of class `ignore` left out; none is left out if that is None.
        num_classes: number of classes; one that is neither predicted nor there is left out of the mean.
        ignore: label of the pixels that are not scored.
    """
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    for index, (labels, target) in enumerate(zip(predicted, targets, strict=True)):
        if labels.shape != target.shape:
            raise ValueError(f"predicted[{index}]: got shape {labels.shape}, expected {target.shape}")
        scored = np.ones(target.shape, dtype=np.bool_) if ignore is None else target != ignore
        row, column = target[scored].astype(np.int64), labels[scored].astype(np.int64)
        for name, values in (("targets", row), ("predicted", column)):
            if values.size and (values.min() < 0 or values.max() >= num_classes):
                raise ValueError(f"{name}[{index}]: got a class outside [0, {num_classes})")
        counts += np.bincount(row * num_classes + column, minlength=num_classes**2).reshape(num_classes, num_classes)
    unions = counts.sum(axis=0) + counts.sum(axis=1) - counts.diagonal()
    if not unions.any():
        raise ValueError("targets: got no scored pixel, expected at least one")
    return float((counts.diagonal()[unions > 0] / unions[unions > 0]).mean())


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _check_some(overlaps: Sequence[Overlap]) -> None:
    if not overlaps:
        raise ValueError("overlaps: got none, expected at least one sample")
