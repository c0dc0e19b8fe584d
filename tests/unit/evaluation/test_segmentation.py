"""Precision, absent targets and class IoU of masks; average precision of detections against pycocotools."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vitron.evaluation import segmentation
from vitron.evaluation.detection import Detected, average_precision
from vitron.evaluation.grounding import box_iou

SIZE = 20


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


EMPTY = square(0, 0, 0)


def test_precision_counts_ious_from_the_threshold_on():
    overlaps = [segmentation.Overlap(5, 10), segmentation.Overlap(9, 10), segmentation.Overlap(4, 10)]
    assert segmentation.precision_at(overlaps, 0.5) == pytest.approx(2 / 3)
    assert segmentation.precision_at(overlaps, 0.9) == pytest.approx(1 / 3)


def test_absent_targets_are_scored_as_grefcoco_does():
    pairs = [
        (square(0, 0, 10), square(0, 0, 10)),  # found: 100 of 100 pixels
        (None, square(5, 5, 10)),  # missed: 0 of 100
        (None, EMPTY),  # rightly nothing: IoU 1, adds no pixels
        (square(0, 0, 8), EMPTY),  # wrongly something: IoU 0, adds 64 pixels to the union
        (square(0, 0, 7), EMPTY),  # 49 pixels count as nothing
    ]
    found = segmentation.generalised(pairs)
    assert found.giou == pytest.approx((1 + 0 + 1 + 0 + 1) / 5)
    assert found.ciou == pytest.approx(100 / (100 + 100 + 64))
    assert found.n_acc == pytest.approx(2 / 3)
    assert found.t_acc == pytest.approx(1 / 2)
    assert segmentation.generalised(pairs, least_pixels=49).n_acc == pytest.approx(1 / 3)
    strict = segmentation.generalised(pairs, least_pixels=1)
    assert strict.n_acc == pytest.approx(1 / 3)
    assert strict.ciou == pytest.approx(100 / (100 + 100 + 64 + 49))


def test_what_a_split_does_not_hold_is_not_scored():
    assert segmentation.generalised([(square(0, 0, 9), square(0, 0, 9))]) == (1.0, 1.0, None, 1.0)
    assert segmentation.generalised([(None, EMPTY)]) == (1.0, 1.0, 1.0, None)


def test_overlap_of_clips_is_that_of_volumes():
    clip = np.stack([square(0, 0, 4), EMPTY, square(0, 0, 4)])
    assert segmentation.overlap(clip, np.stack([square(0, 0, 4), square(0, 0, 2), EMPTY])) == (16, 36)


labels = arrays(np.int64, (4, 5), elements=st.integers(0, 3))


@given(labels, labels)
def test_class_iou_is_the_mean_over_the_classes_that_occur(predicted, target):
    ious = [
        np.sum((predicted == c) & (target == c)) / np.sum((predicted == c) | (target == c))
        for c in range(4)
        if ((predicted == c) | (target == c)).any()
    ]
    assert segmentation.class_miou([predicted], [target], 4) == pytest.approx(np.mean(ious))
    assert segmentation.class_miou([target], [target], 4) == 1.0


def test_ignored_pixels_are_left_out_and_unknown_classes_refused():
    target, predicted = np.array([[0, 1, 255]]), np.array([[0, 0, 1]])
    assert segmentation.class_miou([predicted], [target], 2, ignore=255) == pytest.approx((1 / 2 + 0) / 2)
    with pytest.raises(ValueError, match=r"targets\[0\].*outside \[0, 2\)"):
        segmentation.class_miou([predicted], [target], 2)


Boxes = list[tuple[int, int, int, int]]
corners = st.integers(0, 12)
boxes = st.tuples(corners, corners, st.integers(1, 9), st.integers(1, 9)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
picture = st.tuples(st.lists(boxes, max_size=4), st.lists(st.tuples(boxes, st.integers(0, 4)), max_size=6))


def official_ap(pictures: list[tuple[Boxes, list[tuple[tuple[int, int, int, int], int]]]]) -> np.ndarray:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entry(index, box, **more):
        width, height = box[2] - box[0], box[3] - box[1]
        shape = {"bbox": [*box[:2], width, height], "area": width * height, "iscrowd": 0}
        return {"image_id": index + 1, "category_id": 1, **shape, **more}

    truth = [entry(i, box) for i, (targets, _) in enumerate(pictures) for box in targets]
    found = [entry(i, box, score=score / 4) for i, (_, said) in enumerate(pictures) for box, score in said]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        images = [{"id": index + 1} for index in range(len(pictures))]
        annotations = [{**annotation, "id": index + 1} for index, annotation in enumerate(truth)]
        coco.dataset = {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1}]}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3]


def detected(targets: Boxes, said: list[tuple[tuple[int, int, int, int], int]]) -> Detected:
    ious = [[box_iou(box, target) for target in targets] for box, _ in said]
    scores = np.array([score / 4 for _, score in said])
    return Detected(scores, np.array(ious, dtype=float).reshape(len(said), len(targets)))


# The surer detection overlaps both objects alike; which it claims decides whether the other one finds its own.
TIE = ([(0, 0, 10, 10), (4, 0, 14, 10)], [((2, 0, 12, 10), 4), ((5, 0, 15, 10), 3)])


@example([TIE])
@settings(max_examples=25, deadline=None)
@given(st.lists(picture, min_size=1, max_size=4).filter(lambda p: any(t for t, _ in p) and any(s for _, s in p)))
def test_average_precision_equals_pycocotools(pictures):
    found = [detected(targets, said) for targets, said in pictures]
    mine = [average_precision(found), average_precision(found, [0.5]), average_precision(found, [0.75])]
    assert mine == pytest.approx(official_ap(pictures))


def test_average_precision_of_a_case_worked_out_by_hand():
    # Right, wrong, right: precision 1 up to half of the objects, then 2/3; 51 and 50 of the 101 recalls.
    found = Detected(np.array([0.9, 0.8, 0.7]), np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.9]]))
    assert average_precision([found], [0.5]) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision([Detected(np.array([0.1]), np.array([[1.0]]))]) == pytest.approx(1)
    assert average_precision([Detected(np.zeros(0), np.zeros((0, 2)))]) == 0.0


def test_detections_without_any_object_are_refused():
    with pytest.raises(ValueError, match="got no object"):
        average_precision([Detected(np.array([0.5]), np.zeros((1, 0)))])
    with pytest.raises(ValueError, match=r"expected \[2, objects\]"):
        Detected(np.array([0.5, 0.1]), np.zeros((1, 1)))
