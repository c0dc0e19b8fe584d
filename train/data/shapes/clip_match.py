"""What is right of a made clip, read from its pixels: its objects, their looks and their motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes import clip_oracle, oracle
from train.data.shapes.clip_oracle import ClipReading

LOOKS: tuple[str, ...] = ("shape", "color", "size")
Wanted = Sequence[Mapping[str, str]]
"""Attributes of each object, any of `clip_oracle.ATTRIBUTES`."""


class GeneratedMatch(NamedTuple):
    """Of a clip made from words.

    Attributes:
        objects: exactly the objects asked for, by what was said of their looks.
        motion: for every object asked for, one of its colour moves in its direction (or stays still).
        match: exactly the objects asked for, each with its looks and direction.
        events: `match`, and every object comes, goes or hides as it should.
        background: its colour; True where none was asked for.
    """

    objects: bool
    motion: bool
    match: bool
    events: bool
    background: bool


class AnimatedMatch(NamedTuple):
    """Of a clip that begins with a picture.

    Attributes:
        identity: exactly the picture's objects in every frame, by shape, colour and size.
        follows: an object that looks like the one that was to move goes in the direction asked for.
        match: identity, and every object moves as it should: the others stay still.
    """

    identity: bool
    follows: bool
    match: bool


def match_generated(frames: npt.NDArray[np.uint8], wanted: Wanted, background: str | None = None) -> GeneratedMatch:
    """Compare a clip with what was asked for in words.

    Args:
        frames: uint8 [T, 64, 64, 3].
        wanted: "shape", "color", "direction", "event", perhaps "size" and "speed", for each object.
        background: name of a colour; None: any.
    """
    reading = clip_oracle.read_clip(frames)
    looks = [key for key in LOOKS if all(key in each for each in wanted)]
    return GeneratedMatch(
        objects=_shows(reading, wanted, looks),
        motion=_shows(reading, wanted, ("color", "direction"), exact=False),
        match=_shows(reading, wanted, (*looks, "direction")),
        events=_shows(reading, wanted, (*looks, "direction", "event")),
        background=background is None or reading.background == background,
    )


def match_animated(frames: npt.NDArray[np.uint8], wanted: Wanted, index: int) -> AnimatedMatch:
    """Compare a clip with the picture that it begins with and the motion that was asked for.

    Args:
        frames: uint8 [T, 64, 64, 3].
        wanted: "shape", "color", "size" and "direction" of each object of the picture.
        index: which of them was to move.
    """
    reading = clip_oracle.read_clip(frames)
    looks = [_only(each, LOOKS) for each in wanted]
    identity = all(oracle.matches(frame, looks) for frame in reading.frames)
    return AnimatedMatch(
        identity=identity,
        follows=_shows(reading, [wanted[index]], (*LOOKS, "direction"), exact=False),
        match=identity and _shows(reading, wanted, (*LOOKS, "direction")),
    )


def _shows(reading: ClipReading, wanted: Wanted, keys: Sequence[str], exact: bool = True) -> bool:
    return clip_oracle.matches(reading, [_only(each, keys) for each in wanted], exact)


def _only(values: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    return {key: values[key] for key in keys}
