"""Scores of referring expression comprehension: does the box meet the target (paper Table 16)."""

from __future__ import annotations

from collections.abc import Sequence

from vitron.invocation import parse_boxes
from vitron.types import Box


def first_box(text: str) -> Box | None:
    """Read the first well-formed box of a reply such as "(0.12, 0.30, 0.40, 0.61)".

    None if there is none: an unreadable answer is a wrong one, and is not asked for again.
    """
    return next(iter(parse_boxes(text)), None)


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two `xyxy` boxes; 0 if both have no area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    joined = _area(first) + _area(second) - shared
    return shared / joined if joined > 0 else 0.0


def acc_at_iou(predicted: Sequence[Box | None], targets: Sequence[Box], threshold: float = 0.5) -> float:
    """Share of samples whose box overlaps the target by more than `threshold`; None is a miss."""
    if not targets:
        raise ValueError("targets: got none, expected at least one sample")
    hits = sum(
        box is not None and box_iou(box, target) > threshold for box, target in zip(predicted, targets, strict=True)
    )
    return hits / len(targets)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
