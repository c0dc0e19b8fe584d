"""How something new moves through a clip, read from the words of the instruction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vitron.clip_plan import named_way
from vitron.types import Box

Floats = npt.NDArray[np.float32]
TRAVEL = 0.35
"""How far it goes, as a part of the picture's side, where there is room."""
EDGE = 0.03
"""It stays this far inside the picture."""


def shifts_of(instruction: str, box: Box, frames: int) -> Floats:
    """Return how far what begins in `box` is from there in each of its frames, [T, 2] as parts of width and height.

    It rests unless the words after a verb of motion name a direction ("that moves to the left", "moves up and right").
    """
    x, y = named_way(instruction)
    reach = np.array([_room(x, box[0], box[2]), _room(y, box[1], box[3])], np.float32)
    moving = reach[[x != 0, y != 0]]
    travel = float(min(TRAVEL, moving.min())) if len(moving) else 0.0
    way = np.array([x, y], np.float32) * max(travel, 0.0)
    return np.linspace(0.0, 1.0, frames, dtype=np.float32)[:, None] * way


def _room(way: int, low: float, high: float) -> float:
    return (low if way < 0 else 1.0 - high) - EDGE
