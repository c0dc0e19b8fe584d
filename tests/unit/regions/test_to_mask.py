"""Rasterising what a user drew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitron.regions import MAX_POINTS, box_of, to_mask, validate
from vitron.types import DrawnRegion

unit = st.floats(0.0, 1.0, allow_nan=False)
side = st.integers(1, 40)
points = st.lists(st.tuples(unit, unit), min_size=3, max_size=8).map(tuple)


def box_region(x1: float, y1: float, x2: float, y2: float) -> DrawnRegion:
    return DrawnRegion(kind="box", box=(x1, y1, x2, y2))


def rows(mask: np.ndarray) -> list[str]:
    return ["".join(".#"[int(value)] for value in row) for row in mask]


@given(points, st.sampled_from(["point", "scribble", "polygon"]), side, side)
@settings(max_examples=80, deadline=None)
def test_drawn_points_never_give_an_empty_mask(drawn, kind, height, width):
    mask = to_mask(DrawnRegion(kind=kind, points=drawn), height, width)
    assert mask.shape == (height, width)
    assert mask.dtype == np.bool_
    assert mask.any()


@given(unit, unit, unit, unit, side, side)
@settings(max_examples=80, deadline=None)
def test_a_box_is_never_empty_and_stays_within_a_pixel_of_itself(a, b, c, d, height, width):
    box = (min(a, b), min(c, d), max(a, b), max(c, d))
    found = box_of(to_mask(box_region(*box), height, width))
    for edge, (value, size) in enumerate(zip(found, (width, height) * 2, strict=True)):
        assert abs(value - box[edge]) * size <= 1 + 1e-9


@given(st.data(), side, side)
@settings(max_examples=60, deadline=None)
def test_a_box_on_pixel_edges_comes_back_exactly(data, height, width):
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    box = (x1 / width, y1 / height, x2 / width, y2 / height)
    mask = to_mask(box_region(*box), height, width)
    assert mask.sum() == (x2 - x1) * (y2 - y1)
    assert box_of(mask) == box


def test_a_box_thinner_than_a_pixel_takes_the_pixel_under_it():
    mask = to_mask(box_region(0.57, 0.0, 0.58, 1.0), 2, 10)
    assert rows(mask) == [".....#....", ".....#...."]


def test_a_box_on_the_far_corner_takes_the_last_pixel():
    assert rows(to_mask(box_region(1.0, 1.0, 1.0, 1.0), 2, 2)) == ["..", ".#"]


@given(unit, unit, side, side)
@settings(max_examples=60, deadline=None)
def test_a_click_sets_the_pixel_it_hits(x, y, height, width):
    mask = to_mask(DrawnRegion(kind="point", points=((x, y),)), height, width)
    assert mask[min(int(y * height), height - 1), min(int(x * width), width - 1)]


def test_a_click_is_a_small_disc_on_a_large_picture():
    mask = to_mask(DrawnRegion(kind="point", points=((0.5, 0.5),)), 500, 1000)
    assert mask.sum() == pytest.approx(np.pi * 10**2, rel=0.05)


def test_several_clicks_give_several_discs():
    mask = to_mask(DrawnRegion(kind="point", points=((0.1, 0.1), (0.9, 0.9))), 100, 100)
    assert mask[10, 10] and mask[90, 90] and not mask[50, 50]


def test_a_scribble_follows_its_stroke():
    mask = to_mask(DrawnRegion(kind="scribble", points=((0.1, 0.5), (0.9, 0.5))), 100, 100)
    assert mask[50, 15:85].all()
    assert not mask[:45].any() and not mask[55:].any()
    assert mask[:, 50].sum() == pytest.approx(3, abs=1)


def test_a_scribble_of_one_point_is_a_tap():
    mask = to_mask(DrawnRegion(kind="scribble", points=((0.5, 0.5),)), 21, 21)
    assert mask[10, 10]


def test_a_square_polygon_covers_the_pixel_centres_inside():
    square = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    mask = to_mask(DrawnRegion(kind="polygon", points=square), 4, 4)
    assert rows(mask) == ["....", ".##.", ".##.", "...."]


def test_the_direction_of_a_polygon_does_not_matter():
    corners = ((0.1, 0.2), (0.9, 0.3), (0.4, 0.8))
    forward = to_mask(DrawnRegion(kind="polygon", points=corners), 30, 30)
    backward = to_mask(DrawnRegion(kind="polygon", points=corners[::-1]), 30, 30)
    assert (forward == backward).all()


def test_a_lasso_that_crosses_itself_has_no_hole():
    star = ((0.5, 0.0), (0.8, 1.0), (0.0, 0.4), (1.0, 0.4), (0.2, 1.0))
    mask = to_mask(DrawnRegion(kind="polygon", points=star), 50, 50)
    assert mask[28, 25]


def test_a_mask_is_stretched_to_the_nearest_pixel():
    drawn = np.array([[True, False], [False, True]])
    mask = to_mask(DrawnRegion(kind="mask", mask=drawn), 4, 6)
    assert rows(mask) == ["###...", "###...", "...###", "...###"]


def test_a_mask_of_the_same_size_is_unchanged_and_not_shared():
    drawn = np.eye(5, dtype=bool)
    mask = to_mask(DrawnRegion(kind="mask", mask=drawn), 5, 5)
    assert (mask == drawn).all()
    mask[:] = False
    assert drawn.any()


@given(st.integers(0, 29), st.integers(0, 29), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_single_pixel_survives_shrinking(row, column, size):
    drawn = np.zeros((30, 30), dtype=bool)
    drawn[row, column] = True
    mask = to_mask(DrawnRegion(kind="mask", mask=drawn), size, size)
    assert mask.sum() == 1
    assert mask[row * size // 30, column * size // 30]


@pytest.mark.parametrize(
    ("region", "complaint"),
    [
        (DrawnRegion(kind="circle", points=((0.5, 0.5),)), r"kind: got 'circle'.*polygon"),  # type: ignore[arg-type]
        (DrawnRegion(kind="point"), r"points: got 0 for kind 'point', expected 1"),
        (DrawnRegion(kind="scribble"), r"points: got 0 for kind 'scribble', expected 1"),
        (DrawnRegion(kind="polygon", points=((0.5, 0.5),) * 2), r"points: got 2.*expected 3"),
        (DrawnRegion(kind="point", points=((0.5, 0.5),) * (MAX_POINTS + 1)), r"to 4096"),
        (DrawnRegion(kind="point", points=((0.5, float("nan")),)), r"points\[0\]: got .*nan"),
        (DrawnRegion(kind="point", points=((0.5, 0.5), (1.01, 0.0))), r"points\[1\]: got .1.01"),
        (DrawnRegion(kind="box"), r"box: got None"),
        (box_region(0.5, 0.1, 0.4, 0.2), r"x1 <= x2"),
        (box_region(0.5, 0.1, float("inf"), 0.2), r"box: got .*inf"),
        (DrawnRegion(kind="mask"), r"mask: got None"),
        (DrawnRegion(kind="mask", mask=np.zeros((4, 4), dtype=bool)), r"empty mask"),
        (DrawnRegion(kind="mask", mask=np.ones((4, 4), dtype=np.uint8)), r"mask: got uint8"),  # type: ignore[arg-type]
        (DrawnRegion(kind="mask", mask=np.ones((4, 4, 1), dtype=bool)), r"\[4, 4, 1\]"),
        (DrawnRegion(kind="box", box=(0, 0, 1, 1), points=((0, 0),)), r"points: given for kind"),
        (DrawnRegion(kind="point", points=((0, 0),), image=-1), r"image: got -1"),
    ],
)
def test_a_wrong_region_is_refused_with_field_value_and_allowed(region, complaint):
    with pytest.raises(ValueError, match=complaint):
        validate(region)
    with pytest.raises(ValueError, match=complaint):
        to_mask(region, 8, 8)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match="size: got 0 x 8"):
        to_mask(box_region(0, 0, 1, 1), 0, 8)


def test_an_empty_mask_has_no_box():
    with pytest.raises(ValueError, match="empty mask"):
        box_of(np.zeros((3, 3), dtype=bool))
