"""Scores of what is said of clips."""

from __future__ import annotations

from collections.abc import Sequence

from train.evaluation.cases import Case, Score, Scores, share
from vitron.evaluation.grounding import box_iou
from vitron.evaluation.tubes import spans_within, tube_of, tube_viou
from vitron.invocation import parse_groundings
from vitron.types import Grounding


def video_grounding(found: Sequence[Case]) -> Scores:
    """Score tracks as they are spelled: a box where each run of frames begins, and its first and last frame.

    "box_iou" compares the boxes run by run, a missing one counting 0; "span_within_1" asks for as many runs with both
    ends at most a frame off; "viou" compares tubes, in which a spelled box stands still.
    """
    ious, spans, tubes = [], [], []
    for case in found:
        target, said = case.sample.target, _said(case.record.text)
        runs = list(zip(target["boxes"], target["spans"], strict=True))
        padded = [*said, *[None] * len(runs)]
        ious.append(sum(box_iou(a.box, box) if a else 0.0 for a, (box, _) in zip(padded, runs, strict=False)))
        ious[-1] /= max(len(runs), len(said))
        spans.append(
            len(said) == len(runs)
            and all(a.span is not None and spans_within(a.span, s) for a, (_, s) in zip(said, runs, strict=True))
        )
        shown = {
            frame: tuple(target["track"][frame]) for start, end in target["spans"] for frame in range(start, end + 1)
        }
        tubes.append(tube_viou(tube_of(said, len(target["track"])), shown))
    count = len(found)
    return {
        "box_iou": Score(float(sum(ious)) / count, count),
        "span_within_1": share(spans),
        "viou": Score(float(sum(tubes)) / count, count),
    }


def _said(text: str) -> list[Grounding]:
    """Return the tracks that a reply names; a malformed one makes all of it wrong."""
    try:
        return parse_groundings(text)
    except ValueError:
        return []
