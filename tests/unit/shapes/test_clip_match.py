"""What is right of a made clip: true clips match themselves, and each kind of mistake is seen as what it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from train.data.shapes.clip_animate import Animation, animate
from train.data.shapes.clip_match import match_animated, match_generated
from train.data.shapes.clip_requests import required
from train.data.shapes.motion import Clip, Mover
from train.data.shapes.motion_paths import Path
from train.data.shapes.render_clip import render_clip
from train.data.shapes.scene import Background, sample_background, sample_object

STEP = 3.0


def mover(color: str, shape: str, x: float, y: float, step: tuple[float, float] = (0.0, 0.0)) -> Mover:
    """An object that moves all the time, or stays."""
    looks = dataclasses.replace(sample_object(np.random.default_rng(0), color, shape, "small"), x=x, y=y)
    names = {(-STEP, 0.0): "left", (STEP, 0.0): "right", (0.0, -STEP): "up", (0.0, STEP): "down"}
    if step not in names:
        return Mover(looks=looks, path=Path(last=7))
    return Mover(looks=looks, path=Path(last=7, direction=names[step], speed="fast", step=step, stops=7))


def clip_of(*movers: Mover) -> Clip:
    rng = np.random.default_rng(0)
    background: Background = sample_background(rng)
    while any(m.looks.color == background.color for m in movers):
        background = sample_background(rng)
    return Clip(background=background, movers=movers, frames=8)


RIGHT, LEFT = (STEP, 0.0), (-STEP, 0.0)
RED = mover("red", "circle", 12, 20, RIGHT)
BLUE = mover("blue", "square", 20, 48)
WANTED = [required(RED), required(BLUE)]


def test_a_true_clip_is_right_in_everything() -> None:
    clip = clip_of(RED, BLUE)
    assert all(match_generated(render_clip(clip), WANTED, clip.background.color))


def test_the_other_direction_is_wrong_in_motion_alone() -> None:
    made = match_generated(render_clip(clip_of(mover("red", "circle", 45, 20, LEFT), BLUE)), WANTED)
    assert (made.objects, made.motion, made.match) == (True, False, False)


@pytest.mark.parametrize("other", [mover("red", "star", 12, 20, RIGHT), mover("green", "circle", 12, 20, RIGHT)])
def test_other_looks_are_wrong_in_objects(other: Mover) -> None:
    made = match_generated(render_clip(clip_of(other, BLUE)), WANTED)
    assert (made.objects, made.match) == (False, False)


def test_one_object_too_many_or_too_few_is_wrong() -> None:
    more = clip_of(RED, BLUE, mover("green", "circle", 50, 50))
    assert not match_generated(render_clip(more), WANTED).objects
    assert not match_generated(render_clip(clip_of(RED)), WANTED).objects


def test_sizes_count_only_where_they_were_asked_for() -> None:
    unsized = [{key: value for key, value in each.items() if key != "size"} for each in WANTED]
    large = dataclasses.replace(BLUE, looks=dataclasses.replace(BLUE.looks, size="large", radius=12.0))
    frames = render_clip(clip_of(RED, large))
    assert match_generated(frames, unsized).match
    assert not match_generated(frames, WANTED).match


def test_an_event_that_does_not_happen_is_seen() -> None:
    wanted = [required(RED) | {"event": "appears"}, required(BLUE)]
    made = match_generated(render_clip(clip_of(RED, BLUE)), wanted)
    assert (made.match, made.events) == (True, False)


@pytest.fixture(scope="module")
def animation() -> Animation:
    rng, made = np.random.default_rng(4), None
    while made is None or len(made.scene.objects) < 2:
        made = animate(rng, "train", 8)
    return made


def test_a_true_animation_keeps_the_picture_and_follows(animation: Animation) -> None:
    wanted = [required(each) for each in animation.clip.movers]
    assert all(match_animated(render_clip(animation.clip), wanted, animation.index))


def test_a_picture_that_stays_still_keeps_its_objects_and_follows_nothing(animation: Animation) -> None:
    wanted = [required(each) for each in animation.clip.movers]
    frames = render_clip(animation.clip)
    still = match_animated(np.repeat(frames[:1], len(frames), axis=0), wanted, animation.index)
    assert (still.identity, still.follows, still.match) == (True, False, False)


def test_an_object_lost_in_one_frame_is_a_lost_identity() -> None:
    frames = render_clip(clip_of(RED, BLUE))
    frames[4] = render_clip(clip_of(RED))[4]
    made = match_animated(frames, WANTED, 0)
    assert (made.identity, made.follows, made.match) == (False, True, False)


def test_another_object_that_moves_too_is_not_what_was_asked_for() -> None:
    both = clip_of(RED, mover("blue", "square", 12, 48, RIGHT))
    made = match_animated(render_clip(both), WANTED, 0)
    assert (made.identity, made.follows, made.match) == (True, True, False)
