"""J and F of DAVIS: cases worked out by hand, and a plain reference that walks over the pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vitron.evaluation import vos

SIDE = 100


def square(top: int, left: int, side: int, size: int = SIDE) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


EMPTY, FULL = square(0, 0, 0), square(0, 0, SIDE)


@pytest.mark.parametrize("shift", [0, 1, 5, 10, 20])
def test_j_of_a_shifted_square(shift):
    shared, either = 20 * (20 - shift), 20 * (20 + shift)
    assert vos.region_similarity(square(10, 10, 20), square(10, 10 + shift, 20)) == pytest.approx(shared / either)


def test_frames_without_the_object_are_right_if_nothing_is_found():
    assert vos.region_similarity(EMPTY, EMPTY) == vos.boundary_similarity(EMPTY, EMPTY) == 1.0
    assert vos.region_similarity(EMPTY, square(5, 5, 9)) == vos.boundary_similarity(EMPTY, square(5, 5, 9)) == 0.0
    assert vos.boundary_similarity(square(5, 5, 9), EMPTY) == 0.0


def test_the_boundary_is_the_pixel_before_each_change():
    marked = vos.boundary(square(2, 2, 2, size=6))
    rows, columns = np.nonzero(marked)
    # The square covers rows and columns 2 and 3: its boundary is a ring from 1 to 3 around pixel (2, 2).
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (y, x) for y in (1, 2, 3) for x in (1, 2, 3) if (y, x) != (2, 2)
    }
    assert not vos.boundary(FULL).any()


def test_boundaries_within_the_tolerance_match_and_beyond_it_do_not():
    # 0.008 of the diagonal of 100 x 100 is 1.13, so two pixels.
    target = square(30, 30, 40)
    assert vos.boundary_similarity(square(30, 32, 40), target) == 1.0
    # Three pixels off: the left and right sides miss, except near the corners that the other's top and bottom reach.
    assert vos.boundary_similarity(square(30, 33, 40), target) == pytest.approx(reference_f(square(30, 33, 40), target))
    assert vos.boundary_similarity(square(30, 33, 40), target) < 0.6
    assert vos.boundary_similarity(square(30, 33, 40), target, tolerance=3) == 1.0
    assert vos.boundary_similarity(square(0, 0, 10), square(80, 80, 10)) == 0.0


def reference_boundary(mask: np.ndarray) -> list[tuple[int, int]]:
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            # On the last row only the right neighbour counts, in the last column only the one below.
            inside = [(v, u) for v, u in neighbours if v < height and u < width]
            if any(mask[v, u] != mask[y, x] for v, u in inside):
                found.append((y, x))
    return found


def reference_f(predicted: np.ndarray, target: np.ndarray, tolerance: float = 0.008) -> float:
    """F as the definition says: pixel by pixel, every distance measured."""
    radius = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*predicted.shape))
    mine, theirs = reference_boundary(predicted), reference_boundary(target)
    if not mine or not theirs:
        return float(not mine and not theirs)

    def matched(these, those):
        return sum(any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in those) for y, x in these) / len(these)

    precision, recall = matched(mine, theirs), matched(theirs, mine)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


masks = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))
pairs = masks.flatmap(lambda mask: st.tuples(st.just(mask), arrays(np.bool_, mask.shape)))


@settings(max_examples=80, deadline=None)
@given(pairs, st.sampled_from([0.008, 0.2, 1, 2]))
def test_f_equals_a_plain_reference(pair, tolerance):
    predicted, target = pair
    found = vos.boundary_similarity(predicted, target, tolerance=tolerance)
    assert found == pytest.approx(reference_f(predicted, target, tolerance))
    assert found == pytest.approx(vos.boundary_similarity(target, predicted, tolerance=tolerance))
    assert 0 <= found <= 1
    assert vos.boundary_similarity(target, target) == vos.region_similarity(target, target) == 1.0


def clip(*frames: np.ndarray) -> np.ndarray:
    return np.stack(frames)


def test_the_first_and_the_last_frame_do_not_count():
    target = clip(*[square(10, 10, 20)] * 4)
    wrong_ends = clip(EMPTY, target[0], target[0], EMPTY)
    assert vos.score_sequence("a", {1: wrong_ends}, {1: target}) == [("a", 1, 1.0, 1.0)]
    assert vos.score_sequence("a", {1: wrong_ends}, {1: target}, frames="all") == [("a", 1, 0.5, 0.5)]
    with pytest.raises(ValueError, match="got 2 frames"):
        vos.score_sequence("a", {}, {1: target[:2]})


def test_an_object_that_was_never_found_scores_as_empty_masks():
    target = clip(*[square(10, 10, 20)] * 3, EMPTY, EMPTY)
    assert vos.score_sequence("a", {}, {7: target}) == [("a", 7, pytest.approx(1 / 3), pytest.approx(1 / 3))]
    with pytest.raises(ValueError, match=r"got objects \[8\] in 'a', expected some of \[7\]"):
        vos.score_sequence("a", {8: target}, {7: target})
    with pytest.raises(ValueError, match="expected bool alike"):
        vos.score_sequence("a", {7: target.astype(np.uint8)}, {7: target})


def test_official_numbers_weigh_objects_and_not_sequences():
    scores = [
        vos.ObjectScore("crowd", 1, 1.0, 0.8),
        vos.ObjectScore("crowd", 2, 0.4, 0.2),
        vos.ObjectScore("crowd", 3, 0.4, 0.2),
        vos.ObjectScore("dog", 1, 0.0, 0.0),
    ]
    assert vos.official(scores) == pytest.approx((1.8 / 4, 1.2 / 4, 3.0 / 8))
    assert vos.by_sequence(scores) == pytest.approx((0.3, 0.2, 0.25))
    assert vos.official(scores[::-1]) == pytest.approx(vos.official(scores))
    with pytest.raises(ValueError, match="got none"):
        vos.official([])
