"""SEEM on clips: which requests it takes, how objects keep their ids, and what becomes of hidden ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.specialists.seem_fixtures import SIGNAL, picture, signal, small_config, word_tokenizer
from train.data.shapes.motion import Clip as Graph
from train.data.shapes.motion import Mover
from train.data.shapes.motion_paths import Path
from train.data.shapes.render_clip import Footage, film
from train.data.shapes.scene import Background, sample_object
from vitron.evaluation.vos import region_similarity
from vitron.presets import preset
from vitron.specialists.base import Cancelled, SpecialistRequest
from vitron.specialists.seem.memory import remembered
from vitron.specialists.seem.video import SeemVideo
from vitron.specialists.table import load_specialist
from vitron.types import Clip, DrawnRegion, Grounding, Module, SpecialistOutput, Track
from vitron.weights import open_weights

FRAMES = 6
POINT = DrawnRegion(kind="point", points=((0.4, 0.6),), clip=0, frame=2)
BOX = DrawnRegion(kind="box", box=(0.1, 0.2, 0.7, 0.8), clip=0, frame=5)
PROMPTS: dict[str, dict[str, Any]] = {
    "text": {"instruction": "red circle"},
    "signal": {"instruction": "", "signal": signal()},
    "point": {"instruction": "", "drawn": (POINT,)},
    "box on the last frame": {"instruction": "", "drawn": (BOX,)},
    "region of the invocation": {"instruction": "star", "regions": (Grounding(box=(0.1, 0.1, 0.5, 0.5), span=(1, 4)),)},
    "reference": {
        "instruction": "",
        "reference": picture(9, 14, 7),
        "reference_drawn": DrawnRegion(kind="box", box=(0.1, 0.2, 0.7, 0.8)),
    },
    "everything": {
        "instruction": "the red star at the top left",
        "signal": signal(1),
        "drawn": (POINT, BOX),
        "regions": (Grounding(box=(0.1, 0.1, 0.5, 0.5), span=(1, 4)),),
    },
}


@pytest.fixture(scope="module")
def small() -> SeemVideo:
    """A model with random weights."""
    torch.manual_seed(0)
    return SeemVideo(small_config(), SIGNAL, word_tokenizer()).eval()


@pytest.fixture(scope="module")
def seem() -> SeemVideo:
    """The shipped one."""
    loaded = load_specialist("seem_video", preset("tiny"), open_weights("tiny"))
    assert isinstance(loaded, SeemVideo)
    return loaded


def clip(height: int = 20, width: int = 30, numbers: tuple[int, ...] = ()) -> Clip:
    frames = np.stack([picture(height, width, seed) for seed in range(FRAMES)])
    return Clip(frames=frames, numbers=numbers)


def request(**fields: Any) -> SpecialistRequest:
    return SpecialistRequest(**{"instruction": "red circle", "clip": clip()} | fields)


def same(one: SpecialistOutput, other: SpecialistOutput) -> bool:
    return len(one.tracks) == len(other.tracks) and all(
        a.id == b.id and np.array_equal(a.masks, b.masks) and np.allclose(a.scores, b.scores, atol=1e-4)
        for a, b in zip(one.tracks, other.tracks, strict=True)
    )


@pytest.mark.parametrize("kind", PROMPTS)
def test_every_kind_of_prompt_gives_tracks_over_all_frames(small: SeemVideo, kind: str) -> None:
    output = small.run(request(**PROMPTS[kind]))
    assert output.tracks and not output.detections and not output.images and not output.clips
    for track in output.tracks:
        assert track.masks.shape == (FRAMES, 20, 30) and track.numbers == tuple(range(FRAMES))
        assert all(0.0 <= score <= 1.0 for score in track.scores)
        assert all((box is None) == (not mask.any()) for box, mask in zip(track.boxes, track.masks, strict=True))
    ids = [track.id for track in output.tracks]
    assert len(set(ids)) == len(ids)


def test_it_is_the_module_for_video_segmentation(small: SeemVideo) -> None:
    assert small.module is Module.VIDEO_SEGMENTATION


def test_a_batch_gives_what_each_request_gives_alone(small: SeemVideo) -> None:
    requests = [request(**prompt) for prompt in PROMPTS.values()]
    requests.append(request(clip=clip(40, 24)))
    assert all(same(a, small.run(r)) for a, r in zip(small.run_batch(requests), requests, strict=True))
    assert small.run_batch([]) == []


@pytest.mark.parametrize("kind", PROMPTS)
def test_progress_is_told_at_every_frame_and_ends_at_the_total(small: SeemVideo, kind: str) -> None:
    told: list[tuple[int, int]] = []
    small.run(request(**PROMPTS[kind]), on_progress=lambda done, total: told.append((done, total)))
    assert len(told) > FRAMES
    assert len({total for _, total in told}) == 1
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1] and all(done < total for done, total in told[:-1])


@pytest.mark.parametrize("kind", ("text", "point"))
def test_a_cancelled_run_stops_at_the_next_frame(small: SeemVideo, kind: str) -> None:
    told: list[int] = []
    with pytest.raises(Cancelled):
        small.run(
            request(**PROMPTS[kind]),
            on_progress=lambda done, total: told.append(done),
            cancelled=lambda: len(told) >= 3,
        )
    assert len(told) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clip": None}, r"^clip: got None"),
        ({"instruction": " "}, r"^instruction: got ''"),
        ({"drawn": (DrawnRegion(kind="point", points=((0.5, 0.5),), frame=6),)}, r"^drawn\[0\]\.frame: got 6.*0 to 5"),
        (
            {"drawn": (POINT, DrawnRegion(kind="mask", mask=np.zeros((4, 4), np.bool_)))},
            r"^drawn\[1\]\.mask: got an empty mask",
        ),
        ({"regions": (Grounding(box=(0, 0, 1, 1), span=(6, 9)),)}, r"^regions\[0\]\.span: got \(6, 9\)"),
        ({"signal": torch.zeros(2, 3)}, r"^signal: got shape \(2, 3\)"),
        ({"reference": picture(8, 8)}, r"^reference_drawn: expected together with reference"),
        ({"options": {"steps": 3}}, r"^options: got 'steps'"),
    ],
)
def test_a_request_that_cannot_be_carried_out_names_the_field(
    small: SeemVideo, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small.run(request(**fields))


def test_frames_are_called_by_their_numbers_in_the_video(small: SeemVideo) -> None:
    sampled = clip(numbers=(10, 14, 20, 21, 30, 33))
    output = small.run(request(clip=sampled, drawn=(DrawnRegion(kind="point", points=((0.5, 0.5),), frame=20),)))
    assert output.tracks[0].numbers == sampled.numbers
    with pytest.raises(ValueError, match=r"drawn\[0\]\.frame: got 2"):
        small.run(request(clip=sampled, drawn=(POINT,)))


# From here on with the shipped weights, on clips whose every pixel is known.


def mover(color: str, shape: str, start: tuple[float, float], step: tuple[float, float], **more: Any) -> Mover:
    """An object that moves on by `step` pixels in every one of 12 frames."""
    size = more.pop("size", "small")
    looks = replace(sample_object(np.random.default_rng(3), color, shape, size), x=start[0], y=start[1])
    still = step == (0.0, 0.0)
    path = Path(last=11) if still else Path(last=11, direction="right", speed="slow", step=step, stops=11)
    return Mover(looks=looks, path=path, **more)


def filmed(*movers: Mover) -> Footage:
    return film(Graph(background=Background(color="gray"), movers=movers, frames=12))


@pytest.fixture(scope="module")
def passing() -> Footage:
    """A small yellow star that passes behind a large blue square."""
    back = mover("yellow", "star", (9.0, 32.0), (4.2, 0.0), behind=1)
    return filmed(back, mover("blue", "square", (33.0, 32.0), (0.0, 0.0), size="large"))


@pytest.fixture(scope="module")
def crossing() -> Footage:
    """Two circles of one colour; the upper one moves to the right, the lower one to the left."""
    return filmed(
        mover("green", "circle", (10.0, 16.0), (3.0, 0.0)), mover("green", "circle", (54.0, 46.0), (-3.0, 0.0))
    )


def on(footage: Footage, i: int, frame: int) -> DrawnRegion:
    """A click in the middle of an object."""
    obj = footage.clip.movers[i].at(frame)
    assert obj is not None
    return DrawnRegion(kind="point", points=((obj.x / 64, obj.y / 64),), clip=0, frame=frame)


def tracks(seem: SeemVideo, footage: Footage, **fields: Any) -> tuple[Track, ...]:
    return seem.run(SpecialistRequest(**{"instruction": "", "clip": Clip(frames=footage.frames)} | fields)).tracks


def agreement(track: Track, truth: np.ndarray[Any, np.dtype[np.bool_]]) -> list[float]:
    return [region_similarity(a, b) for a, b in zip(track.masks, truth, strict=True)]


def test_a_hidden_object_is_lost_and_found_again_under_its_id(seem: SeemVideo, passing: Footage) -> None:
    shown = passing.masks[0].sum(axis=(1, 2)) / passing.masks[0].sum(axis=(1, 2)).max()
    assert (shown == 0).any() and shown[-1] > 0.9
    (track,) = tracks(seem, passing, drawn=(on(passing, 0, 0),))
    found = agreement(track, passing.masks[0])
    assert all(not track.masks[t].any() and track.scores[t] <= 0.5 for t in np.flatnonzero(shown == 0))
    assert all(found[t] > 0.6 and track.scores[t] > 0.5 for t in np.flatnonzero(shown > 0.9))


@pytest.mark.parametrize("frame", (0, 5, 11))
def test_a_drawing_on_any_frame_works_backwards_and_forwards(seem: SeemVideo, crossing: Footage, frame: int) -> None:
    (track,) = tracks(seem, crossing, drawn=(on(crossing, 1, frame),))
    assert min(agreement(track, crossing.masks[1])) > 0.6


def test_objects_keep_their_ids_though_they_look_alike(seem: SeemVideo, crossing: Footage) -> None:
    found = tracks(seem, crossing, drawn=(on(crossing, 0, 0), on(crossing, 1, 0)))
    assert [track.id for track in found] == [1, 2]
    assert all(min(agreement(track, crossing.masks[i])) > 0.6 for i, track in enumerate(found))


def test_two_drawings_on_one_object_are_one_track(seem: SeemVideo, crossing: Footage) -> None:
    (track,) = tracks(seem, crossing, drawn=(on(crossing, 0, 9), on(crossing, 0, 1)))
    assert min(agreement(track, crossing.masks[0])) > 0.6


def test_drawings_on_two_objects_on_two_frames_are_two_tracks(seem: SeemVideo, crossing: Footage) -> None:
    found = tracks(seem, crossing, drawn=(on(crossing, 1, 8), on(crossing, 0, 2)))
    assert [min(agreement(track, crossing.masks[i])) > 0.6 for i, track in enumerate(found)] == [True, True]


@pytest.mark.parametrize(("toward", "i"), (("right", 0), ("left", 1)))
def test_motion_decides_between_objects_that_look_alike(
    seem: SeemVideo, crossing: Footage, toward: str, i: int
) -> None:
    (track,) = tracks(seem, crossing, instruction=f"the green circle that moves to the {toward}")
    assert min(agreement(track, crossing.masks[i])) > 0.6


def test_the_box_of_an_invocation_says_which_is_meant(seem: SeemVideo, crossing: Footage) -> None:
    for i in (0, 1):
        region = Grounding(box=crossing.box(i, 0), label="green circle", span=(0, 11))
        (track,) = tracks(seem, crossing, instruction="circle", regions=(region,))
        assert track.label == "green circle" and min(agreement(track, crossing.masks[i])) > 0.6


def test_several_boxes_give_several_ids_but_two_runs_of_one_object_give_one(
    seem: SeemVideo, crossing: Footage, passing: Footage
) -> None:
    boxes = tuple(Grounding(box=crossing.box(i, 0), label="green circle", span=(0, 11)) for i in (0, 1))
    assert [track.id for track in tracks(seem, crossing, regions=boxes)] == [1, 2]
    runs = tuple(
        Grounding(box=passing.box(0, start), label="yellow star", span=(start, end)) for start, end in passing.spans[0]
    )
    assert len(runs) == 2
    assert len(tracks(seem, passing, regions=runs)) == 1


def test_a_box_that_comes_too_early_waits_for_its_object(seem: SeemVideo, crossing: Footage) -> None:
    frames = crossing.frames.copy()
    frames[:4] = frames[0, 0, 0]
    late = Grounding(box=crossing.box(0, 4), label="green circle", span=(0, 11))
    (track,) = tracks(seem, crossing._replace(frames=frames), regions=(late,))
    assert not track.masks[:4].any() and min(agreement(track, crossing.masks[0])[4:]) > 0.6


def test_what_is_asked_for_by_name_is_found(seem: SeemVideo, passing: Footage) -> None:
    (track,) = tracks(seem, passing, instruction="blue square")
    assert min(agreement(track, passing.masks[1])) > 0.5


def test_all_that_fit_are_found_where_several_are_asked_for(seem: SeemVideo, crossing: Footage) -> None:
    found = tracks(seem, crossing, instruction="all green circles", options={"multiple": 1})
    assert sorted(track.id for track in found) == [1, 2]


def test_a_box_of_a_later_run_finds_an_object_that_the_track_has_lost(small: SeemVideo) -> None:
    regions = (
        Grounding(box=(0.0, 0.0, 0.4, 0.4), label="star", span=(0, 1)),
        Grounding(box=(0.5, 0.5, 1.0, 1.0), label="star", span=(3, 5)),
    )
    assert len(small.run(request(regions=regions)).tracks) == 1


def test_boxes_with_different_labels_are_tracks_of_their_own(seem: SeemVideo, crossing: Footage) -> None:
    regions = (
        Grounding(box=crossing.box(0, 0), label="star", span=(0, 3)),
        Grounding(box=crossing.box(1, 9), label="circle", span=(9, 11)),
    )
    found = tracks(seem, crossing, regions=regions)
    assert [track.label for track in found] == ["star", "circle"]
    assert [min(agreement(track, crossing.masks[i])) > 0.6 for i, track in enumerate(found)] == [True, True]


def test_what_has_left_the_picture_is_expected_at_its_edge() -> None:
    corner = torch.zeros(8, 8, dtype=torch.bool)
    corner[0, 6:] = corner[1, 7] = True
    memory = remembered(0, torch.zeros(3), corner, ())
    memory.velocity = torch.tensor([3.0, -3.0])
    for frame in range(9):
        expected = memory.expected(frame)
        assert expected.any() and (frame < 2 or expected[0, 7])


def test_the_memory_rests_while_the_object_is_hidden_and_half_seen_looks_are_not_learned() -> None:
    square, sliver = torch.zeros(2, 8, 8, dtype=torch.bool)
    square[2:6, 2:6], sliver[2:6, 3] = True, True
    memory = remembered(0, torch.zeros(3), square, (torch.zeros(1, 2),))
    memory.miss()
    assert memory.missing == 1 and torch.equal(memory.mask, square) and memory.frame == 0
    memory.see(2, torch.ones(3), sliver, (torch.ones(1, 2),), limit=3)
    assert memory.missing == 0 and torch.equal(memory.mask, sliver)
    assert not memory.recent.any() and len(memory.tokens) == 1 and not memory.velocity.any()
    for limit, kept in ((3, [0.0, 7.0, 8.0]), (2, [0.0, 8.0]), (1, [0.0])):
        for frame in range(3, 9):
            memory.see(frame, torch.ones(3), square, (torch.full((1, 2), float(frame)),), limit=limit)
        assert [float(tokens[0][0, 0]) for tokens in memory.tokens] == kept
    assert memory.recent.min() > 0.9
