"""SEEM as a specialist: which requests it takes, and what comes back."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.specialists.seem_fixtures import picture, signal, small_seem
from vitron.specialists.base import Cancelled, SpecialistRequest
from vitron.specialists.seem import Seem
from vitron.types import Detection, DrawnRegion, Grounding, Module

POINT = DrawnRegion(kind="point", points=((0.4, 0.6),))
BOX = DrawnRegion(kind="box", box=(0.1, 0.2, 0.7, 0.8))
PROMPTS: dict[str, dict[str, Any]] = {
    "text": {"instruction": "red circle"},
    "signal": {"instruction": "", "signal": signal()},
    "text and signal": {"instruction": "this one", "signal": signal()},
    "point": {"instruction": "", "drawn": (POINT,)},
    "scribble": {
        "instruction": "",
        "drawn": (DrawnRegion(kind="scribble", points=((0.1, 0.1), (0.5, 0.5))),),
    },
    "polygon": {
        "instruction": "",
        "drawn": (DrawnRegion(kind="polygon", points=((0.1, 0.1), (0.9, 0.1), (0.5, 0.9))),),
    },
    "mask": {"instruction": "", "drawn": (DrawnRegion(kind="mask", mask=np.eye(7, dtype=np.bool_)),)},
    "region of the invocation": {"instruction": "star", "regions": (Grounding(box=(0.1, 0.1, 0.5, 0.5)),)},
    "reference": {"instruction": "", "reference": picture(9, 14, 7), "reference_drawn": BOX},
    "everything": {
        "instruction": "the red star at the top left",
        "signal": signal(1),
        "drawn": (BOX,),
        "reference": picture(40, 20, 8),
        "reference_drawn": POINT,
    },
}


@pytest.fixture(scope="module")
def seem() -> Seem:
    return small_seem()


def request(**fields: Any) -> SpecialistRequest:
    return SpecialistRequest(**{"instruction": "red circle", "image": picture(20, 30)} | fields)


def same(one: tuple[Detection, ...], other: tuple[Detection, ...]) -> bool:
    """Equal masks but for a pixel on the edge of rounding, and scores to 1e-4."""
    return len(one) == len(other) and all(
        np.mean(a.mask != b.mask) < 0.01 and abs(a.score - b.score) < 1e-4 for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("kind", PROMPTS)
def test_every_kind_of_prompt_gives_one_detection_of_the_source_size(seem: Seem, kind: str) -> None:
    output = seem.run(request(**PROMPTS[kind]))
    (found,) = output.detections
    assert found.mask.shape == (20, 30)
    assert found.mask.dtype == np.bool_
    assert 0.0 <= found.score <= 1.0
    assert all(0.0 <= side <= 1.0 for side in found.box)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (64, 64), (333, 77), (600, 800)])
def test_any_source_size_is_segmented_at_that_size(seem: Seem, height: int, width: int) -> None:
    output = seem.run(request(image=picture(height, width)))
    assert output.detections[0].mask.shape == (height, width)


def test_a_batch_of_mixed_requests_equals_them_one_by_one(seem: Seem) -> None:
    sizes = [(20, 30), (8, 8), (50, 10)]
    requests = [request(image=picture(*sizes[i % 3], seed=i), **fields) for i, fields in enumerate(PROMPTS.values())]
    together = seem.run_batch(requests)
    for one, many in zip([seem.run(r) for r in requests], together, strict=True):
        assert same(one.detections, many.detections)


def test_an_empty_batch_gives_nothing(seem: Seem) -> None:
    assert seem.run_batch([]) == []


def test_each_drawn_region_gives_its_own_detection_in_order(seem: Seem) -> None:
    both = seem.run(request(instruction="", drawn=(POINT, BOX))).detections
    alone = [seem.run(request(instruction="", drawn=(region,))).detections[0] for region in (POINT, BOX)]
    assert same(both, tuple(alone))


def test_multiple_gives_results_above_the_threshold_best_first(seem: Seem) -> None:
    scores = [d.score for d in seem.run(request(options={"multiple": 1, "threshold": 0.0})).detections]
    assert scores == sorted(scores, reverse=True)
    low = scores[0] + 1e-3
    assert seem.run(request(options={"multiple": 1, "threshold": low})).detections == ()


def test_equal_requests_give_equal_results(seem: Seem) -> None:
    asked = request(**PROMPTS["everything"])
    assert same(seem.run(asked).detections, seem.run(asked).detections)


def test_signal_and_text_each_change_the_result(seem: Seem) -> None:
    plain = request(signal=signal(0))
    scores = {
        seem.run(asked).detections[0].score
        for asked in (plain, dataclasses.replace(plain, signal=signal(1)), request(instruction="blue star"))
    }
    assert len(scores) == 3


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"instruction": " "}, "instruction"),
        ({"image": None}, "image"),
        ({"image": np.zeros((4, 4), np.uint8)}, "image"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "image"),
        ({"reference": picture(4, 4)}, "reference_drawn"),
        ({"signal": torch.zeros(2, 8)}, "signal"),
        ({"options": {"treshold": 0.5}}, "treshold"),
        ({"options": {"threshold": 1.5}}, "threshold"),
        ({"options": {"multiple": "yes"}}, "multiple"),
    ],
)
def test_a_wrong_request_is_refused_by_the_name_of_the_field(seem: Seem, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        seem.run(request(**fields))


def test_a_cancelled_run_stops_and_a_finished_one_reports_progress(seem: Seem) -> None:
    with pytest.raises(Cancelled):
        seem.run(request(), cancelled=lambda: True)
    steps: list[tuple[int, int]] = []
    seem.run(request(), on_progress=lambda done, total: steps.append((done, total)), cancelled=lambda: False)
    assert steps == [(1, 1)]


def test_it_says_which_module_it_is(seem: Seem) -> None:
    assert seem.module is Module.IMAGE_SEGMENTATION
