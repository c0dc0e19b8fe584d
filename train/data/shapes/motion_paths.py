"""Paths of objects through a clip: where a centre is in every frame, drawn so that its words are never in doubt.

A path is a straight motion at one speed, with rest before and after, and at most one event. The slant, the exact
speed and the rests are never named; they exist so that a clip always holds more than its description.
"""

from __future__ import annotations

import dataclasses
from math import ceil, cos, floor, hypot, radians, sin

import numpy as np

from train.data.shapes.scene import WIDTH, Object
from vitron.clip_plan import WAYS

Rng = np.random.Generator
STILL = "still"
DIRECTIONS = WAYS
STRAIGHT: tuple[str, ...] = ("left", "right", "up", "down")
# Pixels per frame while an object moves; the gap between them keeps "slowly" and "fast" apart.
SPEEDS: dict[str, tuple[float, float]] = {"slow": (1.7, 2.4), "fast": (3.6, 5.0)}
EVENTS: tuple[str, ...] = ("none", "appears", "disappears", "slides in", "slides out", "passes behind")
SLIDES: tuple[str, ...] = ("slides in", "slides out")
MIN_TRAVEL = 14.0
MAX_SLANT = 5.0
MARGIN = 1.0
# More than half: slow motions need more time, so that many of them do not fit.
_SLOW_SHARE = 0.7
# A sliding object starts or ends this far outside, where not even its border is painted.
_OUTSIDE = 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Path:
    """How an object's centre moves away from where the object's `(x, y)` puts it.

    Attributes:
        last: last frame in which the object exists.
        first: first frame in which it exists.
        direction: one of DIRECTIONS, or "still".
        speed: one of SPEEDS, or "still".
        event: one of EVENTS. What slides exists all the time, and is outside the picture part of it.
        step: pixels per frame, (x, y), while it moves.
        begins: last frame at the starting place.
        stops: first frame at the final place.
    """

    last: int
    first: int = 0
    direction: str = STILL
    speed: str = STILL
    event: str = "none"
    step: tuple[float, float] = (0.0, 0.0)
    begins: int = 0
    stops: int = 0

    def __post_init__(self) -> None:
        """Refuses words outside the vocabulary and times in the wrong order."""
        _check("direction", self.direction, (STILL, *DIRECTIONS))
        _check("speed", self.speed, (STILL, *SPEEDS))
        _check("event", self.event, EVENTS)
        if not 0 <= self.first <= self.last:
            raise ValueError(f"first, last are {self.first}, {self.last}, must be 0 <= first <= last")
        if self.moves and not self.first <= self.begins < self.stops <= self.last:
            raise ValueError(f"begins, stops are {self.begins}, {self.stops}, must lie in the object's frames in order")

    @property
    def moves(self) -> bool:
        """Whether the object ever changes its place."""
        return self.direction != STILL

    def offset(self, frame: int) -> tuple[float, float] | None:
        """How far the centre is from its starting place; None where the object does not exist."""
        if not self.first <= frame <= self.last:
            return None
        steps = min(max(frame - self.begins, 0), self.stops - self.begins)
        return (self.step[0] * steps, self.step[1] * steps)


def still_path(rng: Rng, frames: int, event: str = "none") -> Path:
    """A path without motion: there all the time, or with "appears" or "disappears"."""
    first, last = _lifetime(rng, frames, event)
    return Path(first=first, last=last, event=event)


def moving_path(rng: Rng, obj: Object, frames: int, event: str = "none") -> tuple[Object, Path] | None:
    """A motion inside the picture with event "none", "appears" or "disappears".

    Returns:
        The object at its starting place, and its path; None if the motion drawn does not fit.
    """
    first, last = _lifetime(rng, frames, event)
    direction, speed, step = _velocity(rng, tuple(DIRECTIONS))
    room = WIDTH - 2.0 * (obj.radius + MARGIN)
    steps = _steps(rng, hypot(*step), _least_travel(direction), room / max(abs(v) for v in step), last - first)
    if steps is None:
        return None
    x, y = (_start(rng, obj.radius, steps * v) for v in step)
    path = _path(rng, direction, speed, step, steps, first, last, event)
    return dataclasses.replace(obj, x=x, y=y), path


def sliding_path(rng: Rng, obj: Object, frames: int, event: str) -> tuple[Object, Path] | None:
    """A motion through one edge of the picture: "slides in" or "slides out".

    The object is wholly outside in the first frame (or the last), and shows a travel of at least MIN_TRAVEL inside.
    """
    direction, speed, step = _velocity(rng, STRAIGHT)
    axis = 0 if DIRECTIONS[direction][0] else 1
    rate, outside = abs(step[axis]), obj.radius + _OUTSIDE
    inside = max(MIN_TRAVEL + 2.0, obj.radius + MARGIN)
    most = (WIDTH - obj.radius - MARGIN + outside) / rate
    steps = _steps(rng, rate, inside + outside, most, frames - 1)
    if steps is None:
        return None
    travelled = steps * rate
    along = -outside if event == "slides in" else WIDTH + outside - travelled
    if DIRECTIONS[direction][axis] < 0:
        along = WIDTH - along
    across = _start(rng, obj.radius, steps * step[1 - axis])
    x, y = (along, across) if axis == 0 else (across, along)
    path = _path(rng, direction, speed, step, steps, 0, frames - 1, event)
    return dataclasses.replace(obj, x=x, y=y), path


def passing_path(rng: Rng, obj: Object, front: Object, frames: int) -> tuple[Object, Path] | None:
    """A motion from one side of `front` to the other, through its middle: "passes behind"."""
    direction, speed, step = _velocity(rng, tuple(DIRECTIONS))
    rate = hypot(*step)
    away = front.radius + 0.3 * obj.radius
    steps = _steps(rng, rate, 2.0 * away, WIDTH / rate, frames - 1)
    if steps is None:
        return None
    before = away + float(rng.random()) * (steps * rate - 2.0 * away)
    aside = float(rng.uniform(-1.5, 1.5))
    x = front.x - (step[0] * before + step[1] * aside) / rate
    y = front.y - (step[1] * before - step[0] * aside) / rate
    ends = (x, y, x + steps * step[0], y + steps * step[1])
    edge = obj.radius + MARGIN
    if min(ends) < edge or max(ends) > WIDTH - edge:
        return None
    path = _path(rng, direction, speed, step, steps, 0, frames - 1, "passes behind")
    return dataclasses.replace(obj, x=x, y=y), path


def path_from(rng: Rng, obj: Object, frames: int) -> Path | None:
    """A motion inside the picture that starts at frame 0 where the object is; None if the one drawn does not fit."""
    direction, speed, step = _velocity(rng, tuple(DIRECTIONS))
    edge = obj.radius + MARGIN
    room = [((WIDTH - edge if v > 0.0 else edge) - c) / v for v, c in zip(step, (obj.x, obj.y), strict=True) if v]
    steps = _steps(rng, hypot(*step), _least_travel(direction), min(room), frames - 1)
    if steps is None:
        return None
    return Path(last=frames - 1, direction=direction, speed=speed, step=step, stops=steps)


def _lifetime(rng: Rng, frames: int, event: str) -> tuple[int, int]:
    """First and last frame of existence; at least two frames on either side of an appearance show the difference."""
    first = int(rng.integers(2, frames - 3)) if event == "appears" else 0
    last = int(rng.integers(3, frames - 2)) if event == "disappears" else frames - 1
    return first, last


def _velocity(rng: Rng, directions: tuple[str, ...]) -> tuple[str, str, tuple[float, float]]:
    """A direction, a speed, and pixels per frame that both words describe."""
    direction = directions[int(rng.integers(len(directions)))]
    speed = "slow" if rng.random() < _SLOW_SHARE else "fast"
    rate = float(rng.uniform(*SPEEDS[speed]))
    slant = radians(float(rng.uniform(-MAX_SLANT, MAX_SLANT)))
    dx, dy = DIRECTIONS[direction]
    unit = rate / hypot(dx, dy)
    return direction, speed, (unit * (dx * cos(slant) - dy * sin(slant)), unit * (dx * sin(slant) + dy * cos(slant)))


def _least_travel(direction: str) -> float:
    """Shortest travel, in pixels, that shows a direction: a diagonal must be plain on both axes."""
    return MIN_TRAVEL if direction in STRAIGHT else 1.25 * MIN_TRAVEL


def _steps(rng: Rng, rate: float, travel: float, room: float, time: int) -> int | None:
    """A number of steps that covers `travel` pixels within `room` and `time` steps, often the most there can be."""
    least, most = ceil(travel / rate), min(floor(room), time)
    if least > most:
        return None
    return most if rng.random() < 0.4 else int(rng.integers(least, most + 1))


def _start(rng: Rng, radius: float, travel: float) -> float:
    """A starting coordinate from which `travel` stays inside the picture."""
    edge = radius + MARGIN
    return float(rng.uniform(edge - min(travel, 0.0), WIDTH - edge - max(travel, 0.0)))


def _path(
    rng: Rng,
    direction: str,
    speed: str,
    step: tuple[float, float],
    steps: int,
    first: int,
    last: int,
    event: str,
) -> Path:
    """The path with its motion placed at random within the object's frames."""
    spare = last - first - steps
    begins = first if rng.random() < 0.4 else first + int(rng.integers(spare + 1))
    return Path(
        first=first,
        last=last,
        direction=direction,
        speed=speed,
        event=event,
        step=step,
        begins=begins,
        stops=begins + steps,
    )


def _check(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field} is {value!r}, must be one of {', '.join(allowed)}")
