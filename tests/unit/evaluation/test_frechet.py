"""Fréchet distance and Inception Score: known Gaussians, scipy's matrix root, and results that name their extractor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import sqrtm

from vitron.evaluation import frechet
from vitron.evaluation.features import FeatureScore, TorchExtractor, extract
from vitron.evaluation.frechet import Gaussian, frechet_distance, gaussian, inception_score

values = st.floats(-10, 10, allow_subnormal=False)
features = st.tuples(st.integers(2, 8), st.just(4)).flatmap(lambda shape: arrays(np.float64, shape, elements=values))


def drawn(seed: int, count: int, width: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, width)) @ generator.normal(size=(width, width)) + generator.normal(size=width)


def test_distance_of_gaussians_with_a_known_answer():
    first = Gaussian(np.array([0.0, 0.0]), np.diag([4.0, 1.0]))
    second = Gaussian(np.array([3.0, 4.0]), np.diag([1.0, 9.0]))
    # |m|^2 = 25; for diagonal covariances the rest is the sum of (s1 - s2)^2 over the deviations.
    assert frechet_distance(first, second) == pytest.approx(25 + (2 - 1) ** 2 + (1 - 3) ** 2)
    one = Gaussian(np.array([1.0]), np.array([[4.0]]))
    assert frechet_distance(one, Gaussian(np.array([-1.0]), np.array([[0.0]]))) == pytest.approx(4 + 4)


def test_covariances_are_unbiased():
    fitted = gaussian(np.array([[0.0, 1.0], [2.0, 1.0]]))
    assert fitted.mean.tolist() == [1.0, 1.0] and fitted.covariance.tolist() == [[2.0, 0.0], [0.0, 0.0]]


def test_a_rotation_of_both_sets_changes_nothing():
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    first, second = drawn(2, 40, 5), drawn(3, 30, 5)
    plain = frechet_distance(gaussian(first), gaussian(second))
    assert frechet_distance(gaussian(first @ turn), gaussian(second @ turn)) == pytest.approx(plain)


def test_distance_equals_the_formula_with_scipys_matrix_root():
    first, second = gaussian(drawn(0, 60, 12)), gaussian(drawn(1, 50, 12))
    root = sqrtm(first.covariance @ second.covariance)
    expected = np.sum((first.mean - second.mean) ** 2)
    expected += np.trace(first.covariance + second.covariance - 2 * root.real)
    assert frechet_distance(first, second) == pytest.approx(expected)


def test_fewer_samples_than_dimensions_are_no_trouble():
    first, second = drawn(4, 6, 64), drawn(5, 7, 64)
    # The same distance in the 13 directions that either set spans, where the covariances are as singular.
    basis, _ = np.linalg.qr(np.concatenate([first, second]).T)
    assert frechet_distance(gaussian(first), gaussian(first)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(gaussian(first), gaussian(second)) == pytest.approx(
        frechet_distance(gaussian(first @ basis), gaussian(second @ basis))
    )


@settings(deadline=None)
@given(features, features)
def test_distance_is_symmetric_and_zero_for_identical_sets(first, second):
    there, back = (frechet_distance(gaussian(a), gaussian(b)) for a, b in ((first, second), (second, first)))
    assert there == pytest.approx(back, abs=1e-6)
    assert there >= 0
    assert frechet_distance(gaussian(first), gaussian(first[::-1])) == pytest.approx(0, abs=1e-6)


def test_moving_a_set_adds_the_square_of_the_way():
    first = drawn(6, 30, 4)
    assert frechet_distance(gaussian(first), gaussian(first + 2)) == pytest.approx(4 * 2**2)


def test_sets_that_have_no_covariance_are_refused():
    with pytest.raises(ValueError, match="got 1 rows"):
        gaussian(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="finite"):
        gaussian(np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match="got 2 dimensions, expected 3"):
        frechet_distance(gaussian(drawn(0, 9, 3)), gaussian(drawn(0, 9, 2)))


def test_inception_score_runs_from_one_to_the_number_of_classes():
    assert inception_score(np.eye(5), splits=1) == pytest.approx((5, 0))
    assert inception_score(np.full((20, 4), 0.25)) == pytest.approx((1, 0))
    # Half sure: entropy of the mean is log 2, of each picture h; the score is exp(log 2 - h).
    rows = np.array([[0.9, 0.1], [0.1, 0.9]])
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert inception_score(rows, splits=1).mean == pytest.approx(2 * np.exp(-entropy))


def test_inception_score_is_that_of_each_split():
    rows = np.concatenate([np.eye(2), np.full((2, 2), 0.5)])
    assert inception_score(rows, splits=2) == pytest.approx((1.5, 0.5))
    # Five in two splits: two and three pictures.
    assert inception_score(np.eye(5), splits=2) == pytest.approx((2.5, 0.5))
    with pytest.raises(ValueError, match="expected 1 to 4"):
        inception_score(rows, splits=5)
    with pytest.raises(ValueError, match="no distribution"):
        inception_score(rows * 2, splits=1)


def pictures(seed: int, count: int, *shape: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, size=(count, *shape, 3), dtype=np.uint8))


class MeanColour:
    name = "mean-colour"

    def __call__(self, media, /):
        return np.stack([each.reshape(-1, 3).mean(axis=0) / 255 for each in media])


def test_results_name_the_extractor_down_to_the_table():
    score = frechet.image_frechet_distance(pictures(0, 9, 4, 4), pictures(1, 12, 4, 4), MeanColour())
    assert (score.metric, score.extractor, score.n) == ("frechet_distance", "mean-colour", 9)
    row = score.row(task="image_generation", split="test", message="hybrid", seed=0, weights="abc")
    assert row.metric == "frechet_distance[mean-colour]" and row.value == score.value and row.n == 9
    clips = frechet.video_frechet_distance(pictures(0, 5, 3, 4, 4), pictures(1, 6, 3, 4, 4), MeanColour())
    assert (clips.metric, clips.n) == ("frechet_video_distance", 5)


def test_clips_of_two_lengths_are_not_compared():
    with pytest.raises(ValueError, match=r"clips of \[3, 4\] frames"):
        frechet.video_frechet_distance(pictures(0, 2, 3, 4, 4), pictures(1, 2, 4, 4, 4), MeanColour())


def test_identical_sets_are_at_no_distance_in_any_order():
    some = pictures(2, 8, 5, 5)
    assert frechet.image_frechet_distance(some, some[::-1], MeanColour()).value == pytest.approx(0, abs=1e-12)


def test_inception_score_of_pictures_keeps_its_spread():
    class Classifier:
        name = "red-or-not"

        def __call__(self, media, /):
            return np.stack([[1.0, 0.0] if each.any() else [0.0, 1.0] for each in media])

    red, black = np.full((2, 2, 3), 255, dtype=np.uint8), np.zeros((2, 2, 3), dtype=np.uint8)
    score = frechet.image_inception_score([red, black, red, red], Classifier(), splits=2)
    assert score == FeatureScore(metric="inception_score", value=1.5, n=4, extractor="red-or-not", spread=0.5)
    assert frechet.video_inception_score([red[None]] * 4, Classifier(), splits=2).value == 1.0


def test_a_torch_network_sees_channels_first_in_the_unit_range():
    seen = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(batch.shape), float(batch.min()), float(batch.max())))
        return batch.flatten(2).mean(-1)[..., None]

    white = [np.full((4, 6, 3), 255, dtype=np.uint8)] * 5
    found = extract(TorchExtractor("mean", network), white, batch=2)
    assert found.shape == (5, 3) and (found == 1).all()
    assert [shape for shape, _, _ in seen] == [(2, 3, 4, 6), (2, 3, 4, 6), (1, 3, 4, 6)]
    extract(TorchExtractor("mean", network), [np.zeros((7, 4, 6, 3), dtype=np.uint8)])
    assert seen[-1] == ((1, 3, 7, 4, 6), 0.0, 0.0)


def test_batches_do_not_change_features_and_wrong_ones_are_refused():
    some = pictures(3, 7, 4, 4)
    whole = extract(MeanColour(), some)
    assert np.array_equal(whole, extract(MeanColour(), some, batch=3))
    with pytest.raises(ValueError, match="media: got none"):
        extract(MeanColour(), [])

    class Merging:
        name = "merging"

        def __call__(self, media, /):
            return np.zeros((1, 2))

    with pytest.raises(ValueError, match="merging: got 1 rows of features for 7 media"):
        extract(Merging(), some)
