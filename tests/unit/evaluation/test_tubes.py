"""Spans and tubes of video grounding, worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitron.evaluation import tubes
from vitron.types import Grounding

WHOLE = (0.0, 0.0, 1.0, 1.0)
HALF = (0.0, 0.0, 0.5, 1.0)
spans = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda s: (min(s), max(s)))
some_boxes = st.sampled_from([WHOLE, HALF, (0.5, 0.0, 1.0, 1.0), (0.2, 0.2, 0.4, 0.9)])
some_tubes = st.dictionaries(st.integers(0, 8), some_boxes, min_size=1)


def tube(start: int, end: int, box=WHOLE):
    return dict.fromkeys(range(start, end + 1), box)


def test_spans_are_inclusive():
    assert tubes.span_iou((2, 7), (2, 7)) == 1.0
    assert tubes.span_iou((3, 3), (3, 3)) == 1.0
    assert tubes.span_iou((0, 4), (4, 8)) == pytest.approx(1 / 9)
    assert tubes.span_iou((0, 3), (4, 8)) == 0.0
    assert tubes.interval_iou((0.0, 2.0), (1.0, 4.0)) == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match=r"second: got \(9, 3\)"):
        tubes.interval_iou((0, 1), (9, 3))


@given(spans, spans)
def test_span_iou_counts_frames(first, second):
    mine, theirs = set(range(first[0], first[1] + 1)), set(range(second[0], second[1] + 1))
    assert tubes.span_iou(first, second) == pytest.approx(len(mine & theirs) / len(mine | theirs))
    assert tubes.span_iou(first, second) == tubes.span_iou(second, first)


def test_a_span_may_be_a_frame_off_at_either_end():
    assert tubes.spans_within((2, 7), (3, 6))
    assert not tubes.spans_within((2, 7), (4, 7))
    assert tubes.spans_within((2, 7), (4, 7), frames=2)


def test_viou_divides_by_the_frames_in_either_tube():
    # Four frames in both with IoU 1/2; eight frames in either.
    predicted, target = tube(4, 9, HALF), tube(2, 7)
    assert tubes.tube_viou(predicted, target) == pytest.approx(4 * 0.5 / 8)
    assert tubes.tube_tiou(predicted, target) == pytest.approx(4 / 8)
    assert tubes.tube_siou(predicted, target) == pytest.approx(4 * 0.5 / 6)
    assert tubes.tube_viou({}, target) == 0.0
    assert tubes.tube_viou({}, {}) == 1.0


@given(some_tubes, some_tubes)
def test_tube_scores_are_ordered(first, second):
    viou = tubes.tube_viou(first, second)
    assert viou == pytest.approx(tubes.tube_viou(second, first))
    assert 0 <= viou <= tubes.tube_tiou(first, second) <= 1
    assert viou <= tubes.tube_siou(first, second) + 1e-12
    assert tubes.tube_viou(first, first) == pytest.approx(1)


def test_written_tracks_become_tubes_within_the_clip():
    written = [Grounding(box=HALF, span=(1, 2)), Grounding(box=WHOLE, span=(2, 10**9))]
    assert tubes.tube_of(written, 5) == {1: HALF, 2: HALF, 3: WHOLE, 4: WHOLE}
    assert tubes.tube_of([Grounding(box=HALF)], 3) == tube(0, 2, HALF)
    assert tubes.tube_of([], 3) == {}


def test_a_split_is_scored_by_means_and_shares():
    pairs = [(tube(0, 3), tube(0, 3)), (tube(0, 3, HALF), tube(0, 3)), ({}, tube(0, 3))]
    found = tubes.video_grounding(pairs)
    assert found == pytest.approx((2 / 3, 0.5, 0.5, 2 / 3, 1 / 3))
    with pytest.raises(ValueError, match="pairs: got none"):
        tubes.video_grounding([])
    with pytest.raises(ValueError, match="without frames"):
        tubes.tube_siou(tube(0, 1), {})
