"""Average precision of detected objects, boxes or masks, by COCO's rules for one class.

What overlaps with what is handed in as a matrix of IoUs, so that the same code scores boxes, masks and tubes. COCO's
crowds, size ranges and its limit of 100 detections a picture are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

COCO_THRESHOLDS = tuple(float(threshold) for threshold in np.linspace(0.5, 0.95, 10))
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Detected:
    """The detections of one picture.

    Attributes:
        scores: `[P]`, confidence of each detection.
        ious: `[P, T]`, IoU of each detection with each object that is there; `[P, 0]` if none is.
    """

    scores: npt.NDArray[np.float64]
    ious: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.ious.ndim != 2 or self.ious.shape[0] != self.scores.size:
            raise ValueError(f"ious: got shape {self.ious.shape}, expected [{self.scores.size}, objects]")


def average_precision(pictures: Sequence[Detected], thresholds: Sequence[float] = COCO_THRESHOLDS) -> float:
    """Mean over `thresholds` of the area under the precision-recall curve, in [0, 1] (COCO's AP by default).

    Detections are taken by falling score over all pictures; each claims the free object that it overlaps most, if by
    at least the threshold. Precision is read at 101 recalls and never rises with recall.

    Raises:
        ValueError: if no picture holds an object.
    """
    objects = sum(picture.ious.shape[1] for picture in pictures)
    if not objects:
        raise ValueError("pictures: got no object in any of them, expected at least one")
    scores = np.concatenate([np.sort(picture.scores)[::-1] for picture in pictures])
    order = np.argsort(-scores, kind="stable")
    values = []
    for threshold in thresholds:
        hits = np.concatenate([_hits(picture, threshold) for picture in pictures])[order]
        values.append(_area(hits, objects))
    return float(np.mean(values))


def _hits(picture: Detected, threshold: float) -> npt.NDArray[np.bool_]:
    """Tell for each detection, by falling score, whether it claims an object."""
    order = np.argsort(-picture.scores, kind="stable")
    free = np.ones(picture.ious.shape[1], dtype=np.bool_)
    hits = np.zeros(order.size, dtype=np.bool_)
    for place, index in enumerate(order):
        ious = np.where(free, picture.ious[index], -1.0)
        # Of equal overlaps COCO takes the last object's; rounding must not make a threshold of 1 unreachable.
        best = ious.size - 1 - int(np.argmax(ious[::-1])) if ious.size else -1
        if best >= 0 and ious[best] >= min(threshold, 1 - 1e-10):
            hits[place], free[best] = True, False
    return hits


def _area(hits: npt.NDArray[np.bool_], objects: int) -> float:
    true = np.cumsum(hits)
    recall = true / objects
    precision = true / np.arange(1, hits.size + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.concatenate((envelope, [0.0]))[np.minimum(places, hits.size)].mean())
