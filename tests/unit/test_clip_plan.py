"""Plans of clips: from labelled boxes with spans to boxes in every frame."""

from __future__ import annotations

import numpy as np
import pytest

from train.data.shapes import clip_dialogues, clip_plans
from train.data.shapes.clip_words import TOWARD
from train.data.shapes.motion import clip_at
from train.data.shapes.render import mask_box
from train.data.shapes.render_clip import SEEN_SHARE, film
from vitron.clip_plan import LAST, LEAST_WAY, WAYS, WIDEST_ANGLE, named_way, planned_tracks, set_in_motion
from vitron.invocation import format_grounding, parse_groundings, parse_reply
from vitron.types import Grounding

FROM, TO = (0.0, 0.2, 0.2, 0.4), (0.6, 0.2, 0.8, 0.4)


def region(box: tuple[float, float, float, float], start: int, end: int, label: str = "star") -> Grounding:
    return Grounding(box=box, label=label, span=(start, end))


def test_an_object_rests_at_its_boxes_and_goes_straight_from_one_to_the_next() -> None:
    (track,) = planned_tracks([region(FROM, 0, 1), region(TO, 4, 7)], LAST + 1)
    assert track.label == "star" and track.there.all()
    assert track.boxes[:, 0].tolist() == pytest.approx([0.0, 0.0, 0.2, 0.4, 0.6, 0.6, 0.6, 0.6])
    assert track.boxes[:, 1].tolist() == pytest.approx([0.2] * 8)


@pytest.mark.parametrize("frames", [2, 8, 15, 16, 24])
def test_a_plan_holds_for_a_clip_of_any_length(frames: int) -> None:
    (track,) = planned_tracks([region(FROM, 0, 0), region(TO, 7, 7)], frames)
    assert track.boxes.shape == (frames, 4) and track.there.all()
    assert track.boxes[0].tolist() == pytest.approx(FROM) and track.boxes[-1].tolist() == pytest.approx(TO)
    assert np.all(np.diff(track.boxes[:, 0]) > 0)


def test_before_and_after_its_spans_an_object_is_not_there() -> None:
    (track,) = planned_tracks([region(FROM, 2, 2), region(TO, 5, 5)], 8)
    assert track.there.tolist() == [False, False, True, True, True, True, False, False]
    (longer,) = planned_tracks([region(FROM, 2, 2), region(TO, 5, 5)], 15)
    assert np.flatnonzero(longer.there).tolist() == [*range(4, 11)]  # moments 2 to 5 in halves


def test_another_label_or_an_earlier_span_is_another_object() -> None:
    regions = [region(FROM, 0, 0), region(TO, 7, 7), region(TO, 0, 7, "ring"), region(FROM, 0, 7, "ring")]
    assert [track.label for track in planned_tracks(regions, 8)] == ["star", "ring", "ring"]


def test_a_way_leads_the_object_before_it_and_is_none_itself() -> None:
    ways = [region(FROM, 0, 1), region(TO, 4, 7, "right"), region(FROM, 0, 7, "ring")]
    star, ring = planned_tracks(ways, 8)
    assert (star.label, ring.label) == ("star", "ring") and ring.boxes[-1].tolist() == pytest.approx(FROM)
    assert star.boxes.tolist() == planned_tracks([region(FROM, 0, 1), region(TO, 4, 7)], 8)[0].boxes.tolist()
    there_and_back = planned_tracks([*ways[:2], region(FROM, 9, 9, "left")], 8)
    assert len(there_and_back) == 1
    assert planned_tracks([region(TO, 4, 7, "right")], 8) == []
    assert len(planned_tracks([region(FROM, 3, 5), region(TO, 4, 7, "right")], 8)) == 1


def centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "start", [(0.4, 0.4, 0.6, 0.6), (0.0, 0.0, 0.3, 0.3), (0.7, 0.75, 1.0, 1.0), (0.8, 0.0, 1.0, 0.2)]
)
@pytest.mark.parametrize("end", [(0.4, 0.4, 0.6, 0.6), (0.5, 0.1, 0.7, 0.3), (0.1, 0.1, 0.2, 0.3)])
def test_where_boxes_contradict_the_way_the_way_holds(
    way: str, start: tuple[float, float, float, float], end: tuple[float, float, float, float]
) -> None:
    (track,) = planned_tracks([region(start, 0, 0), region(end, 7, 7, way)], 8)
    moved = centre(track.boxes[-1]) - centre(track.boxes[0])
    wanted = np.array(WAYS[way]) / np.hypot(*WAYS[way])
    assert moved @ wanted >= np.hypot(*moved) * np.cos(np.radians(WIDEST_ANGLE)) and np.hypot(*moved) >= LEAST_WAY
    assert track.boxes.min() >= -1e-6 and track.boxes.max() <= 1 + 1e-6
    for made, given in ((track.boxes[0], start), (track.boxes[-1], end)):
        assert (made[2:] - made[:2]).tolist() == pytest.approx([given[2] - given[0], given[3] - given[1]], abs=1e-6)
    (kept,) = planned_tracks([region(start, 0, 0), region(end, 7, 7, way)], 8, fixed_start=True)
    assert kept.boxes[0].tolist() == pytest.approx(start)


def test_boxes_that_go_their_way_stay_as_they_are() -> None:
    for index in range(60):
        shown = film(clip_at("train", index, 0, 8))
        for i in range(len(shown.clip.movers)):
            regions = clip_plans.track(shown, i, "star")
            (track,) = planned_tracks(regions, 8)
            assert track.boxes[0].tolist() == pytest.approx(regions[0].box)
            assert track.boxes[-1].tolist() == pytest.approx(regions[-1].box)


def test_boxes_without_a_span_are_no_plan_and_moments_beyond_the_last_are_the_last() -> None:
    assert planned_tracks([Grounding(box=FROM)], 8) == []
    (track,) = planned_tracks([region(FROM, 0, 0), region(TO, 11, 11)], 8)
    assert track.boxes[-1].tolist() == pytest.approx(TO)


@pytest.mark.parametrize("frames", [8, 12, 16])
def test_plans_of_shapes_clips_say_where_objects_are(frames: int) -> None:
    for index in range(20):
        shown = film(clip_at("train", index, 0, frames))
        for i in range(len(shown.clip.movers)):
            spoken = "; ".join(format_grounding(each) for each in clip_plans.track(shown, i, "star"))
            (track,) = planned_tracks(parse_groundings(spoken), frames)
            area = shown.amodal[i].sum(axis=(1, 2))
            wrong = 0
            for frame in range(frames):
                whole = area[frame] == area.max()
                wrong += bool(track.there[frame]) != bool(area[frame] >= SEEN_SHARE * area.max())
                if whole and track.there[frame]:
                    # Moments are coarser than the frames of a long clip.
                    error = np.abs(track.boxes[frame] - mask_box(shown.amodal[i, frame])).max()
                    assert error < (0.12 if frames == 8 else 0.2), (index, i, frame)
            assert wrong <= (0 if frames == 8 else 2), (index, i)


@pytest.mark.parametrize("task", ["video_generate", "image_to_video"])
def test_replies_that_ask_for_a_clip_plan_every_object_that_matters(task: str) -> None:
    for index in range(10):
        sample = clip_dialogues.build(task, "val", index)
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None
        tracks = planned_tracks(invocation.regions, 8)
        assert len(tracks) == (1 if task == "image_to_video" else len(sample.target["required"]))
        if task == "video_generate":
            for track, each in zip(tracks, sample.target["required"], strict=True):
                size, color, shape = track.label.split()
                assert {**each, "size": size, "color": color, "shape": shape} == {"size": size, **each}


@pytest.mark.parametrize("way", WAYS)
def test_words_complete_a_plan_that_says_only_what_moves(way: str) -> None:
    alone = Grounding(box=(0.4, 0.45, 0.6, 0.65), label="star", span=(2, 7))
    (track,) = planned_tracks(set_in_motion([alone], f"star moves {TOWARD[way]}"), 8, fixed_start=True)
    assert track.label == "star" and track.there.all()
    assert track.boxes[0] == pytest.approx(alone.box)
    moved = (track.boxes[-1] - track.boxes[0])[:2]
    assert tuple(np.sign(np.round(moved, 3))) == WAYS[way] and np.abs(moved).max() >= 0.2


def test_a_plan_that_says_a_way_and_words_that_say_none_stay_as_they_are() -> None:
    start = Grounding(box=(0.4, 0.4, 0.6, 0.6), label="star", span=(0, 0))
    whole = (start, Grounding(box=(0.4, 0.1, 0.6, 0.3), label="up", span=(7, 7)))
    assert set_in_motion(whole, "star moves to the left") == whole
    assert set_in_motion([start], "star") == (start,)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("add a red circle", (0, 0)),
        ("add a red circle to the left of the star", (0, 0)),
        ("add a red circle that moves to the left", (-1, 0)),
        ("add a red circle that moves to the top right", (1, -1)),
        ("add a ball flying upward", (0, -1)),
        ("star moving to the lower left", (-1, 1)),
        ("ball moves from the left to the right", (1, 0)),
        ("a ring that comes in slowly from the left", (1, 0)),
        ("a ring that enters from the top right", (-1, 1)),
        ("a ring that leaves fast on the left", (-1, 0)),
        ("star moves up behind the square on the right", (0, -1)),
        ("walking man on the right waves", (0, 0)),
        ("turn the left side red", (0, 0)),
    ],
)
def test_a_way_is_read_from_the_words_after_a_verb_of_motion(text: str, wanted: tuple[int, int]) -> None:
    assert named_way(text) == wanted
