"""The clip oracle: reads rendered clips back, and notices what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.shapes.clip_facts import footage
from train.data.shapes import clip_oracle
from train.data.shapes.clip_requests import required
from train.data.shapes.motion import clip_at
from train.data.shapes.render_clip import film


def test_rendered_clips_are_read_back_right() -> None:
    wrong = []
    for index in range(100):
        clip = clip_at("test", index, frames=8)
        reading = clip_oracle.read_clip(film(clip).frames)
        wanted = [required(mover, speed=True) for mover in clip.movers]
        if not clip_oracle.matches(reading, wanted) or reading.background != clip.background.color:
            wrong.append(index)
    assert len(wrong) <= 4, wrong


def test_tracks_lie_where_the_objects_are() -> None:
    for index in range(6):
        real = footage("val", index)
        reading = clip_oracle.read_clip(real.frames)
        assert len(reading.tracks) == len(real.clip.movers)
        for track in reading.tracks:
            both = real.seen & track.seen
            gaps = [
                np.abs(track.boxes[both[k]] - real.tracks[k][both[k]]).mean() if both[k].any() else np.inf
                for k in range(len(both))
            ]
            k = int(np.argmin(gaps))
            assert gaps[k] < 0.03
            assert (track.seen == real.seen[k]).mean() >= 0.8


def test_a_clip_run_backwards_moves_the_other_way() -> None:
    clip = next(
        c
        for i in range(50)
        if len((c := clip_at("test", i, frames=8)).movers) == 1 and c.movers[0].path.event == "none"
    )
    frames, opposite = film(clip).frames, {"left": "right", "right": "left", "up": "down", "down": "up"}
    forth, back = (clip_oracle.read_clip(each).tracks[0] for each in (frames, frames[::-1]))
    assert back.direction == " ".join(opposite[word] for word in forth.direction.split())
    assert (forth.shape, forth.color, forth.size) == (back.shape, back.color, back.size)


def test_what_is_missing_or_too_much_does_not_match() -> None:
    clip = clip_at("test", 1, frames=8)
    reading = clip_oracle.read_clip(film(clip).frames)
    wanted = [required(mover) for mover in clip.movers]
    assert clip_oracle.matches(reading, wanted)
    assert not clip_oracle.matches(reading, [*wanted, wanted[0]], exact=False)
    assert not clip_oracle.matches(reading, wanted[1:])
    assert clip_oracle.matches(reading, wanted[1:], exact=False)
    assert not clip_oracle.matches(reading, [{**wanted[0], "color": "purple"}, *wanted[1:]])
    with pytest.raises(ValueError, match="required names"):
        clip_oracle.matches(reading, [{"weight": "heavy"}], exact=False)


def test_noise_and_an_empty_picture_hold_nothing_that_moves() -> None:
    gray = np.full((4, 64, 64, 3), 130, np.uint8)
    reading = clip_oracle.read_clip(gray)
    assert reading.tracks == [] and reading.background == "gray"
    with pytest.raises(ValueError, match="frames has shape"):
        clip_oracle.read_clip(gray[0])
