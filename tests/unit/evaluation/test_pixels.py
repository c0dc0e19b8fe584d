"""L1 by regions, flicker, and bootstrap intervals."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap as scipy_bootstrap

from vitron.evaluation import pixels
from vitron.evaluation.bootstrap import bootstrap
from vitron.evaluation.segmentation import Overlap, ciou

pictures = arrays(np.uint8, (3, 4, 3))


def grey(value: int, *shape: int) -> np.ndarray:
    return np.full((*shape, 3), value, dtype=np.uint8)


def region(*shape: int, left: int = 2) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[..., :left] = True
    return mask


@given(pictures, pictures)
def test_l1_is_a_distance_in_the_unit_range(first, second):
    distance = pixels.l1(first, second)
    assert 0 <= distance <= 1 and distance == pixels.l1(second, first)
    assert pixels.l1(first, first) == 0.0


def test_black_against_white_is_one_without_wrapping_around():
    assert pixels.l1(grey(0, 2, 2), grey(255, 2, 2)) == pixels.l1(grey(255, 2, 2), grey(0, 2, 2)) == 1.0


def test_l1_is_split_by_the_region():
    source, edited = grey(0, 4, 8), grey(0, 4, 8)
    edited[:, :2] = 255
    edited[:, 2:] = 51
    found = pixels.region_l1(source, edited, region(4, 8))
    assert found == pytest.approx((0.25 * 1 + 0.75 * 0.2, 1.0, 0.2))
    assert pixels.l1(source, edited, region(4, 8)) == 1.0
    assert pixels.region_l1(source, edited, region(4, 8, left=0)).inside is None
    with pytest.raises(ValueError, match="empty region"):
        pixels.l1(source, edited, region(4, 8, left=0))
    with pytest.raises(ValueError, match=r"region: got shape \(3, 8\)"):
        pixels.l1(source, edited, region(3, 8))
    with pytest.raises(ValueError, match="uint8 alike"):
        pixels.l1(source, edited[:2])


def test_a_region_may_move_with_the_clip():
    source, edited = grey(0, 2, 4, 4), grey(0, 2, 4, 4)
    edited[1, :, 3] = 255
    moving = np.stack([region(4, 4, left=0), region(4, 4, left=4)])
    assert pixels.l1(source, edited, moving) == pytest.approx(1 / 4)
    assert pixels.l1(source, edited, region(4, 4)) == 0.0


def test_flicker_is_the_change_from_frame_to_frame():
    still, blinking = grey(80, 4, 3, 3), grey(0, 4, 3, 3)
    blinking[1::2] = 255
    assert pixels.flicker(still) == 0.0 and pixels.flicker(blinking) == 1.0
    with pytest.raises(ValueError, match="at least 2 frames"):
        pixels.flicker(still[:1])


def test_flicker_against_the_source_forgives_its_motion():
    source = grey(0, 4, 3, 6)
    for frame in range(4):
        source[frame, :, frame] = 100
    brighter = source + np.uint8(50)
    assert pixels.flicker(brighter) > 0 and pixels.flicker_against(brighter, source) == 0.0
    blinking = brighter.copy()
    blinking[1::2, :, 4:] += 51
    assert pixels.flicker_against(blinking, source) == pytest.approx(0.2 * 2 / 6)
    assert pixels.flicker_against(blinking, source, region(3, 6, left=4)) == 0.0
    assert pixels.flicker_against(blinking, source, ~region(3, 6, left=4)) == pytest.approx(0.2)
    never_twice = np.stack([region(3, 6), ~region(3, 6)] * 2)
    with pytest.raises(ValueError, match="two frames in a row"):
        pixels.flicker_against(blinking, source, never_twice)


def test_intervals_agree_with_scipy():
    values = np.random.default_rng(0).normal(3, 2, size=80).tolist()
    found = bootstrap(values, fmean, resamples=2000)
    expected = scipy_bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=1).confidence_interval
    assert found.value == fmean(values)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.05)


def test_intervals_repeat_with_their_seed_and_widen_with_their_level():
    values = [0.0, 1.0] * 20
    assert bootstrap(values, fmean, seed=4) == bootstrap(values, fmean, seed=4)
    narrow, wide = bootstrap(values, fmean, level=0.5), bootstrap(values, fmean, level=0.99)
    assert wide.low < narrow.low < 0.5 < narrow.high < wide.high
    assert bootstrap([0.3] * 5, fmean) == pytest.approx((0.3, 0.3, 0.3))


def test_intervals_of_scores_that_are_no_means():
    overlaps = [Overlap(9, 10), Overlap(1, 2), Overlap(50, 100)]
    found = bootstrap(overlaps, ciou, resamples=200)
    assert found.value == pytest.approx(60 / 112)
    assert 0.5 <= found.low <= found.value <= found.high <= 0.9
    # Pairs of two systems on the same samples: the second is better on all of them.
    pairs = [(value, value + 0.1) for value in np.linspace(0, 1, 30)]
    gain = bootstrap(pairs, lambda drawn: fmean(b - a for a, b in drawn), resamples=200)
    assert gain.low == pytest.approx(0.1) == gain.high


def test_intervals_of_nothing_are_refused():
    with pytest.raises(ValueError, match="samples: got none"):
        bootstrap([], fmean)
    with pytest.raises(ValueError, match="level"):
        bootstrap([1.0], fmean, level=1.0)
