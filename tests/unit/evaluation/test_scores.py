"""Scoring functions against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vitron.evaluation import captions, generation, grounding, segmentation, vqa


def block(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((4, 4), dtype=bool)
    mask[rows, columns] = True
    return mask


def test_ciou_weighs_pixels_and_giou_weighs_samples():
    large = segmentation.overlap(block(slice(0, 4), slice(0, 4)), block(slice(0, 4), slice(0, 4)))
    small = segmentation.overlap(block(slice(0, 1), slice(0, 1)), block(slice(1, 2), slice(0, 1)))
    assert segmentation.ciou([large, small]) == pytest.approx(16 / 18)
    assert segmentation.giou([large, small]) == pytest.approx(0.5)


def test_no_mask_scores_zero_unless_there_is_no_target():
    empty = np.zeros((4, 4), dtype=bool)
    assert segmentation.overlap(None, block(slice(0, 1), slice(0, 2))) == (0, 2)
    assert segmentation.giou([segmentation.overlap(None, empty)]) == 1.0


def test_masks_of_two_sizes_are_not_compared():
    with pytest.raises(ValueError, match="shape"):
        segmentation.overlap(np.zeros((2, 2), dtype=bool), np.zeros((3, 3), dtype=bool))


def test_the_masks_of_one_reply_are_joined():
    first, second = block(slice(0, 1), slice(0, 4)), block(slice(3, 4), slice(0, 4))
    joined = segmentation.union_of([first, second])
    assert joined is not None and joined.sum() == 8 and first.sum() == 4
    assert segmentation.union_of([]) is None


def test_box_iou_of_shifted_boxes():
    assert grounding.box_iou((0, 0, 0.5, 1), (0.25, 0, 0.75, 1)) == pytest.approx(1 / 3)
    assert grounding.box_iou((0, 0, 0.1, 0.1), (0.5, 0.5, 1, 1)) == 0.0
    assert grounding.box_iou((0.5, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5)) == 0.0


def test_accuracy_counts_boxes_above_the_threshold():
    target = (0.0, 0.0, 1.0, 1.0)
    predicted = [target, (0.0, 0.0, 1.0, 0.5), None, (0.0, 0.0, 1.0, 0.6)]
    assert grounding.acc_at_iou(predicted, [target] * 4) == 0.5


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("It is at (0.12, 0.30, 0.40, 0.61).", (0.12, 0.30, 0.40, 0.61)),
        ("(.1,0,1,1.0) or (0, 0, 1, 1)", (0.1, 0.0, 1.0, 1.0)),
        ("(0.5, 0.1, 0.4, 0.2)", None),
        ("(0.5, 0.1, 1.4, 0.2)", None),
        ("somewhere", None),
        ("(0.1, 0.2, 0.3)", None),
    ],
)
def test_the_first_box_of_a_reply_is_read(text, box):
    assert grounding.first_box(text) == box


@pytest.mark.parametrize(
    ("said", "answer", "same"),
    [
        ("A red circle.", "red circle", True),
        ("Two", "2", True),
        ("yes", "no", False),
        ("1,000", "1000", True),
        ("3.5", "3.5", True),
        ("don't", "dont", True),
        ("left-most", "left most", True),
        ("red", "dark red", False),
    ],
)
def test_answers_are_compared_after_normalisation(said, answer, same):
    assert vqa.exact(said, answer) is same


def test_soft_accuracy_leaves_each_annotator_out():
    answers = ["red"] * 3 + ["blue"] * 7
    # Three left-out annotators see two matches among the others, seven see all three.
    assert vqa.soft_accuracy("Red", answers) == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert vqa.soft_accuracy("green", answers) == 0.0
    assert vqa.soft_accuracy("blue", answers) == 1.0
    assert vqa.soft_accuracy("red", ["red"]) == 1.0


VOCABULARY = {
    "size": ("small", "large"),
    "color": ("red", "blue", "orange"),
    "shape": ("circle", "cross"),
}


def test_a_caption_must_name_every_attribute_rightly():
    expected = {"size": "large", "color": "red", "shape": "circle"}
    right = "This is a large red circle at the top left."
    assert captions.all_attributes(right, expected, VOCABULARY)
    assert not captions.all_attributes("a red circle", expected, VOCABULARY)
    assert not captions.all_attributes("a large red or blue circle", expected, VOCABULARY)
    assert captions.attributes_right("a small red circle", expected, VOCABULARY) == {
        "size": False,
        "color": True,
        "shape": True,
    }


def test_attribute_words_are_whole_words():
    found = captions.mentioned("Two crosses, coloured bluered", VOCABULARY)
    assert found == {"size": frozenset(), "color": frozenset(), "shape": frozenset({"cross"})}


def test_an_attribute_outside_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="'mood'"):
        captions.all_attributes("x", {"mood": "good"}, VOCABULARY)


def thing(color: str, shape: str, size: str = "small") -> dict[str, str]:
    return {"color": color, "shape": shape, "size": size}


def test_objects_are_matched_one_to_one():
    required = [{"shape": "circle"}, {"shape": "circle", "color": "red"}]
    red, blue = thing("red", "circle"), thing("blue", "circle")
    # The open request must not take the only red circle.
    assert generation.content_match(required, [red, blue]).all_match
    assert not generation.content_match(required, [blue, blue]).all_match
    assert not generation.content_match(required, [red]).all_match


def test_swapped_colours_match_in_parts_only():
    required = [thing("red", "circle"), thing("blue", "cross")]
    found = [thing("blue", "circle"), thing("red", "cross")]
    assert generation.content_match(required, found) == (False, True, True, True)


def test_a_further_object_breaks_the_count():
    result = generation.content_match([thing("red", "circle")], [thing("red", "circle")] * 2)
    assert result == (False, False, True, True)
