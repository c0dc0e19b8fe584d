"""Scores of video grounding: where an object is in each frame, and from which frame to which.

A tube is a box for each frame in which the object is named. Frame spans are inclusive, as everywhere in `vitron`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vitron.evaluation.grounding import box_iou
from vitron.types import Box, Grounding

Tube = Mapping[int, Box]
"""Frame number to the object's box; frames without the object are left out."""
Span = tuple[int, int]


class VideoGrounding(NamedTuple):
    """Means over samples, in [0, 1].

    Attributes:
        m_tiou: IoU of the frames alone.
        m_viou: IoU of the tubes; the video mIoU where the frames have to be found.
        m_siou: IoU of the boxes over the target's frames; the video mIoU where clips are cut to the target's frames
            beforehand (PG-Video-LLaVA, and with it paper Table 3).
        viou_at_0_3: share of samples with a vIoU above 0.3.
        viou_at_0_5: the same for 0.5.
    """

    m_tiou: float
    m_viou: float
    m_siou: float
    viou_at_0_3: float
    viou_at_0_5: float


def interval_iou(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Intersection over union of two stretches of time, such as seconds; 0 if both are empty."""
    for name, (start, end) in (("first", first), ("second", second)):
        if start > end:
            raise ValueError(f"{name}: got {(start, end)}, expected start <= end")
    shared = max(min(first[1], second[1]) - max(first[0], second[0]), 0.0)
    joined = (first[1] - first[0]) + (second[1] - second[0]) - shared
    return shared / joined if joined > 0 else 0.0


def span_iou(first: Span, second: Span) -> float:
    """TIoU of two inclusive frame spans: frames in both over frames in either."""
    return interval_iou((first[0], first[1] + 1), (second[0], second[1] + 1))


def spans_within(first: Span, second: Span, frames: int = 1) -> bool:
    """Tell whether start and end are both at most `frames` off."""
    return abs(first[0] - second[0]) <= frames and abs(first[1] - second[1]) <= frames


def tube_of(groundings: Sequence[Grounding], num_frames: int) -> dict[int, Box]:
    """Spread boxes with frame spans, as the LLM writes them, over the frames of a clip.

    A box without a span stands for every frame. The first that speaks of a frame counts there; frames that the clip
    does not have are dropped.
    """
    tube: dict[int, Box] = {}
    for grounding in groundings:
        start, end = grounding.span or (0, num_frames - 1)
        for frame in range(start, min(end, num_frames - 1) + 1):
            tube.setdefault(frame, grounding.box)
    return tube


def tube_tiou(predicted: Tube, target: Tube) -> float:
    """Frames in both tubes over frames in either; 1 if both are empty."""
    either = predicted.keys() | target.keys()
    return len(predicted.keys() & target.keys()) / len(either) if either else 1.0


def tube_viou(predicted: Tube, target: Tube) -> float:
    """VIoU: sum of the boxes' IoU over the frames in both tubes, divided by the frames in either (Zhang et al. 2020).

    1 if both are empty. TubeDETR's evaluator ends the union at the *earlier* of the two last frames, so that its
    numbers are higher for predictions that run on after the target or stop before it.
    """
    either = predicted.keys() | target.keys()
    total = sum(box_iou(predicted[frame], target[frame]) for frame in predicted.keys() & target.keys())
    return total / len(either) if either else 1.0


def tube_siou(predicted: Tube, target: Tube) -> float:
    """Mean IoU of the boxes over the target's frames; a frame without a predicted box counts 0."""
    if not target:
        raise ValueError("target: got a tube without frames, expected at least one")
    return sum(box_iou(predicted[f], box) if f in predicted else 0.0 for f, box in target.items()) / len(target)


def video_grounding(pairs: Sequence[tuple[Tube, Tube]]) -> VideoGrounding:
    """Score predicted tubes against their targets, each with at least one frame."""
    if not pairs:
        raise ValueError("pairs: got none, expected at least one sample")
    vious = [tube_viou(predicted, target) for predicted, target in pairs]
    return VideoGrounding(
        m_tiou=sum(tube_tiou(predicted, target) for predicted, target in pairs) / len(pairs),
        m_viou=sum(vious) / len(pairs),
        m_siou=sum(tube_siou(predicted, target) for predicted, target in pairs) / len(pairs),
        viou_at_0_3=sum(viou > 0.3 for viou in vious) / len(pairs),
        viou_at_0_5=sum(viou > 0.5 for viou in vious) / len(pairs),
    )
