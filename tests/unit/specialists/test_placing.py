"""Where something new goes: nothing is hidden, it is seen whole, and a good plan is kept."""

from __future__ import annotations

import numpy as np
import pytest

from vitron.specialists.placing import free_box, resting
from vitron.types import Box

SIDE = 64


def frames(*objects: tuple[int, int, int, int], count: int = 1) -> np.ndarray:
    """Return a gray clip with blue rectangles (x1, y1, x2, y2)."""
    made = np.full((count, SIDE, SIDE, 3), 130, np.uint8)
    for x1, y1, x2, y2 in objects:
        made[:, y1:y2, x1:x2] = (20, 30, 220)
    return made


def overlap(box: Box, rectangle: tuple[int, int, int, int]) -> float:
    x1, y1, x2, y2 = (value / SIDE for value in rectangle)
    return max(0.0, min(box[2], x2) - max(box[0], x1)) * max(0.0, min(box[3], y2) - max(box[1], y1))


def size(box: Box) -> tuple[float, float]:
    return pytest.approx((box[2] - box[0], box[3] - box[1]))  # type: ignore[return-value]


def test_a_place_that_hides_nothing_is_kept() -> None:
    box = (0.1, 0.1, 0.3, 0.3)
    assert free_box(frames((40, 40, 60, 60)), box, resting) == box


def test_a_place_on_an_object_moves_to_the_nearest_free_one() -> None:
    there, box = (20, 20, 40, 40), (0.25, 0.3, 0.45, 0.5)
    found = free_box(frames(there), box, resting)
    assert overlap(found, there) == 0.0 and size(found) == (0.2, 0.2)
    assert abs(found[0] - box[0]) + abs(found[1] - box[1]) < 0.25
    assert min(found) >= 0.0 and max(found) <= 1.0


def test_what_moves_hides_nothing_on_its_whole_way_and_has_room_for_it() -> None:
    in_the_way = (40, 24, 60, 40)

    def right(start: Box) -> np.ndarray:
        reach = min(0.35, 1.0 - start[2])
        return np.linspace(0, 1, 8, dtype=np.float32)[:, None] * np.array([reach, 0], np.float32)

    for planned in ((0.2, 0.4, 0.4, 0.6), (0.75, 0.75, 0.95, 0.95)):
        found = free_box(frames(in_the_way, count=8), planned, right)
        ways = right(found)
        boxes = [(found[0] + x, found[1] + y, found[2] + x, found[3] + y) for x, y in ways]
        assert all(overlap(box, in_the_way) == 0.0 for box in boxes)
        assert ways[-1, 0] >= 0.27 and boxes[-1][2] <= 1.001


def test_who_goes_by_later_is_not_hidden_either() -> None:
    clip = frames(count=4)
    clip[2, 10:30, 10:30] = (20, 30, 220)
    found = free_box(clip, (0.2, 0.2, 0.4, 0.4), lambda box: np.zeros((4, 2), np.float32))
    assert overlap(found, (10, 10, 30, 30)) == 0.0


def test_where_the_background_has_many_colours_the_plan_stays() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1, SIDE, SIDE, 3)).astype(np.uint8)
    box = (0.4, 0.4, 0.6, 0.6)
    assert free_box(noise, box, resting) == box


def test_where_nothing_is_free_least_is_hidden() -> None:
    full = frames((0, 0, SIDE, 24))
    found = free_box(full, (0.1, 0.1, 0.9, 0.9), resting)
    assert size(found) == (0.8, 0.8) and found[3] == pytest.approx(1.0, abs=0.04)
