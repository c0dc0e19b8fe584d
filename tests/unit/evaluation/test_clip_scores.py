"""Scores by a pair of encoders, with encoders whose features are plain to see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vitron.evaluation import clip_scores
from vitron.evaluation.clip_scores import cosines, directional_cosines

AXES = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0), "yellow": (1.0, 1.0, 0.0)}


class Colours:
    """Pictures and the names of colours in one space; lengths differ, as they may."""

    name = "colours"

    def images(self, images, /):
        return np.stack([image.reshape(-1, 3).mean(axis=0) / 51 for image in images])

    def texts(self, texts, /):
        return np.stack([np.array(AXES[text]) * 0.5 for text in texts])


def picture(name: str) -> np.ndarray:
    return np.broadcast_to(np.array(AXES[name]) * 255, (2, 2, 3)).astype(np.uint8)


def clip(*names: str) -> np.ndarray:
    return np.stack([picture(name) for name in names])


vectors = arrays(np.float64, (4, 3), elements=st.floats(-5, 5, allow_subnormal=False).map(lambda v: round(v, 3)))


@given(vectors, vectors)
def test_cosines_are_symmetric_and_bounded(first, second):
    found = cosines(first, second)
    assert (np.abs(found) <= 1 + 1e-9).all()
    assert found == pytest.approx(cosines(second, first))
    assert cosines(first, first * 3) == pytest.approx((np.abs(first).sum(axis=1) > 0).astype(float))


def test_clip_score_is_a_hundredfold_cosine_that_is_never_negative():
    images, texts = [picture("red"), picture("red"), picture("yellow")], ["red", "blue", "red"]
    score = clip_scores.clip_score(images, texts, Colours())
    assert score.value == pytest.approx(100 * (1 + 0 + np.sqrt(0.5)) / 3)
    assert (score.metric, score.extractor, score.n) == ("clip_score", "colours", 3)

    class Opposite(Colours):
        def texts(self, texts, /):
            return -super().texts(texts)

    assert clip_scores.clip_score(images, texts, Opposite()).value == 0.0


def test_clip_sim_averages_frames_and_then_clips():
    clips = [clip("red", "blue"), clip("red", "red", "red", "red")]
    score = clip_scores.clip_sim(clips, ["red", "red"], Colours())
    assert score.value == pytest.approx((0.5 + 1) / 2) and score.n == 2
    with pytest.raises(ValueError, match="texts: got 1, expected 2"):
        clip_scores.clip_sim(clips, ["red"], Colours())


def test_clip_dir_asks_whether_the_picture_moved_as_its_caption_did():
    def score(source: str, edited: str, before: str, after: str) -> float:
        return clip_scores.clip_dir([picture(source)], [picture(edited)], [before], [after], Colours()).value

    assert score("red", "green", "red", "green") == pytest.approx(1)
    assert score("green", "red", "red", "green") == pytest.approx(-1)
    assert score("red", "red", "red", "green") == 0.0
    # Towards blue instead of green: the ways (-1, 0, 1) and (-1, 1, 0) have a cosine of one half.
    assert score("red", "blue", "red", "green") == pytest.approx(0.5)


def test_directions_are_taken_from_unit_features():
    one, two = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert directional_cosines(one * 9, two, one, two * 5) == pytest.approx([1])


def test_edited_pictures_are_compared_with_pictures_and_with_captions():
    edited = [picture("yellow"), picture("red")]
    assert clip_scores.clip_img(edited, [picture("red"), picture("red")], Colours()).value == pytest.approx(
        (np.sqrt(0.5) + 1) / 2
    )
    score = clip_scores.clip_out(edited, ["green", "green"], Colours())
    assert score.value == pytest.approx(np.sqrt(0.5) / 2) and score.metric == "clip_out"


def test_frame_consistency_compares_neighbours_only():
    class ImageColours:
        name = "image-colours"

        def __call__(self, media, /):
            return Colours().images(media)

    still, moving = clip("red", "red", "red"), clip("red", "green", "green")
    assert clip_scores.frame_consistency([still], ImageColours()).value == pytest.approx(1)
    assert clip_scores.frame_consistency([still, moving], ImageColours()).value == pytest.approx((1 + 0.5) / 2)
    with pytest.raises(ValueError, match=r"fewer than 2 frames in clips \[1\]"):
        clip_scores.frame_consistency([still, clip("red")], ImageColours())


def test_pictures_and_captions_must_pair_up():
    with pytest.raises(ValueError, match="second: got features of shape"):
        clip_scores.clip_out([picture("red")], ["red", "green"], Colours())
