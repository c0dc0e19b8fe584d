"""Recovers what happens in a clip from its pixels alone, to score generated and edited clips by content.

Every frame is read by the picture oracle; objects are then linked over frames by colour and place, and each track is
given one shape and size by vote, a direction, and an event. No part of it knows the clip graph.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from math import atan2, degrees, hypot
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes import oracle
from train.data.shapes.clip_link import Chain, close, join_hidden, link, usual_shape, vote
from train.data.shapes.motion_paths import DIRECTIONS, STILL
from train.data.shapes.oracle import Reading

ATTRIBUTES: tuple[str, ...] = ("shape", "color", "size", "direction", "event", "speed")
# Shorter motion is jitter of the fit: the shortest real one is 14 pixels.
_MIN_TRAVEL = 7.0
# Slow objects move up to 2.4 pixels a frame, fast ones at least 3.6.
_FAST = 3.0
# A track must be seen in this many frames; what flickers is a misreading.
_MIN_SEEN = 2
# What is nearer to the edge than this when it is first or last seen has come, or gone, through it: it is cut off, or,
# if it is fast, its narrow last strip was too little to be read.
_EDGE: dict[str, float] = {"slow": 1.0, "fast": 2.0}
# What is hidden behind another shows less than this share of its usual area.
_HIDDEN_SHARE = 0.45
# A screen shows at least this share of the area of what it hides.
_SCREEN_SHARE = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ReadTrack:
    """One object followed through a clip of T frames.

    Attributes:
        shape, color, size: by vote over frames.
        direction: one of `motion_paths.DIRECTIONS`, or "still".
        speed: "slow" or "fast", or "still".
        event: one of `motion_paths.EVENTS`.
        boxes: [T, 4] in [0, 1]; zeros where it is not seen.
        centers: [T, 2] in [0, 1]; NaN where it is not seen.
        seen: bool [T].
    """

    shape: str
    color: str
    size: str
    direction: str
    speed: str
    event: str
    boxes: npt.NDArray[np.float64]
    centers: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]


class ClipReading(NamedTuple):
    """What a clip shows: its objects, the most seen first, the background's colour, and each frame's reading."""

    tracks: list[ReadTrack]
    background: str
    frames: list[Reading]


def read_clip(frames: npt.NDArray[np.uint8]) -> ClipReading:
    """Finds every object of a clip uint8 [T, 64, 64, 3] and what it does.

    Raises:
        ValueError: the frames are not what the picture oracle reads, or there are none.
    """
    if frames.ndim != 4 or not len(frames):
        raise ValueError(f"frames has shape {frames.shape}, must be [T, H, W, 3] with T of at least 1")
    readings = [oracle.read(frame) for frame in frames]
    size = float(max(frames.shape[1:3]))
    chains = join_hidden(link([reading.objects for reading in readings], size), readings, size)
    kept = [chain for chain in chains if len(chain) >= min(_MIN_SEEN, len(frames))]
    tracks = [_track(chain, readings, frames.shape) for chain in kept]
    tracks.sort(key=lambda track: -int(track.seen.sum()))
    background = collections.Counter(reading.background for reading in readings).most_common(1)[0][0]
    return ClipReading(tracks, background, readings)


def matches(reading: ClipReading, required: Iterable[Mapping[str, str]], exact: bool = True) -> bool:
    """Whether the objects found are those required, as multisets.

    Args:
        reading: what `read_clip` found.
        required: wanted attributes per object, any of ATTRIBUTES.
        exact: whether further objects in the clip are a mistake.
    """
    wanted = list(required)
    if exact and len(wanted) != len(reading.tracks):
        return False
    return _assign(wanted, list(reading.tracks))


def fits(track: ReadTrack, wanted: Mapping[str, str]) -> bool:
    """Whether a track has the wanted attributes.

    Raises:
        ValueError: one is not in ATTRIBUTES.
    """
    unknown = sorted(set(wanted) - set(ATTRIBUTES))
    if unknown:
        raise ValueError(f"required names {unknown}, must be among {', '.join(ATTRIBUTES)}")
    return all(getattr(track, key) == value for key, value in wanted.items())


def _track(chain: Chain, readings: list[Reading], shape: tuple[int, ...]) -> ReadTrack:
    count, height, width = shape[:3]
    boxes, centers = np.zeros((count, 4)), np.full((count, 2), np.nan)
    area = np.zeros(count)
    for t, obj in chain:
        boxes[t], centers[t], area[t] = obj.box, obj.center, np.count_nonzero(obj.mask)
    seen = ~np.isnan(centers[:, 0])
    # What shows little, beside another object, or nothing for a while, is behind something.
    usual = float(np.median(area[seen]))
    hidden = ~seen | (area < _HIDDEN_SHARE * usual)
    hidden &= [_is_screened(boxes[t], chain[0][1].color, usual, readings[t]) for t in range(count)] | ~seen
    direction, speed = _motion(centers * (width, height))
    return ReadTrack(
        shape=usual_shape(chain),
        color=chain[0][1].color,
        size=vote([(obj.size, float(area[t])) for t, obj in chain]),
        direction=direction,
        speed=speed,
        event=_event(seen, hidden, boxes * (width, height, width, height), (direction, speed), (width, height)),
        boxes=boxes,
        centers=centers,
        seen=seen,
    )


def _is_screened(box: npt.NDArray[np.float64], color: str, usual: float, reading: Reading) -> bool:
    """Whether another object that is large enough to hide one of the usual area lies at its box."""
    x1, y1, x2, y2 = box.tolist()
    return any(
        other.color != color
        and np.count_nonzero(other.mask) > _SCREEN_SHARE * usual
        and close((x1, y1, x2, y2), other.box, 0.0)
        for other in reading.objects
    )


def _motion(pixels: npt.NDArray[np.float64]) -> tuple[str, str]:
    """Direction and speed of centres [T, 2] in pixels."""
    at = np.flatnonzero(~np.isnan(pixels[:, 0]))
    dx, dy = pixels[at[-1]] - pixels[at[0]]
    if hypot(dx, dy) < _MIN_TRAVEL:
        return STILL, STILL
    angle = degrees(atan2(dy, dx))
    apart = {name: abs((angle - degrees(atan2(y, x)) + 180.0) % 360.0 - 180.0) for name, (x, y) in DIRECTIONS.items()}
    steps = np.linalg.norm(np.diff(pixels[at], axis=0), axis=1) / np.diff(at)
    moving = steps[steps > 0.9]
    speed = "fast" if len(moving) and float(np.median(moving)) > _FAST else "slow"
    return min(apart, key=apart.__getitem__), speed


def _event(
    seen: npt.NDArray[np.bool_],
    hidden: npt.NDArray[np.bool_],
    boxes: npt.NDArray[np.float64],
    motion: tuple[str, str],
    size: tuple[int, int],
) -> str:
    """What happens to a track beside its motion, from when and where it is seen; boxes and size in pixels."""
    at = np.flatnonzero(seen)
    first, last, count = int(at[0]), int(at[-1]), len(seen)
    direction, edge = motion[0], _EDGE.get(motion[1], 0.0)
    if first > 0:
        return "slides in" if _gap(boxes[first], _opposite(direction), size) < edge else "appears"
    if last < count - 1:
        return "slides out" if _gap(boxes[last], direction, size) < edge else "disappears"
    return "passes behind" if direction != STILL and hidden.any() else "none"


def _gap(box: npt.NDArray[np.float64], side: str, size: tuple[int, int]) -> float:
    """How far a box is from the edge of the picture on a straight side; infinity for the diagonals."""
    gaps = {"left": box[0], "right": size[0] - box[2], "up": box[1], "down": size[1] - box[3]}
    return float(gaps.get(side, np.inf))


def _opposite(direction: str) -> str:
    return {"left": "right", "right": "left", "up": "down", "down": "up"}.get(direction, "")


def _assign(wanted: list[Mapping[str, str]], found: list[ReadTrack]) -> bool:
    """Whether each wanted object can have one track of its own."""
    if not wanted:
        return True
    return any(
        fits(candidate, wanted[0]) and _assign(wanted[1:], found[:i] + found[i + 1 :])
        for i, candidate in enumerate(found)
    )
