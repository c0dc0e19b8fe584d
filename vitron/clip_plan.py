"""Plans of clips to be made: labelled boxes with spans, from which every object's box in every frame follows.

    <Region>small red circle: (0.10, 0.40, 0.30, 0.60 | 0, 1); right: (0.60, 0.40, 0.80, 0.60 | 6, 7)</Region>

An object stays at a box over its span and goes straight from one box to the next. A box belongs to the object before it
if it comes later and is labelled with one of `WAYS` or the same name. Saying the way first helps a language model:
where the box is then depends on the words next to it. Moments count from 0 to `LAST`, whatever a clip's length. The
paper has regions for other modules alone (Table 13); a plan is to a video what GLIGEN's boxes are to a picture. Words
name ways too (`named_way`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vitron.types import Box, Grounding

LAST = 7
"""The last moment of every plan."""
WAYS: dict[str, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "up left": (-1, -1),
    "up right": (1, -1),
    "down left": (-1, 1),
    "down right": (1, 1),
}
"""Labels of boxes to which the object before them goes, with the signs of x and y."""
_NAMES = {signs: name for name, signs in WAYS.items()}
_SAME_AS = {
    **dict.fromkeys(("leftward", "leftwards"), "left"),
    **dict.fromkeys(("rightward", "rightwards"), "right"),
    **dict.fromkeys(("top", "upper", "upward", "upwards"), "up"),
    **dict.fromkeys(("bottom", "lower", "downward", "downwards"), "down"),
}
_MOVING = re.compile(
    r"\b(mov(e|es|ing)|slid(e|es|ing)|glid(e|es|ing)|go|goes|going|fly|flies|flying|runs?|running|walk(s|ing)?|float(s|ing)?"
    r"|drift(s|ing)?|travel(s|ing)?|leav(e|es|ing)|com(e|es|ing)|enter(s|ing)?|exit(s|ing)?)\b"
)
_LEAVING = re.compile(r"^(leav|exit)|^\w+ out\b")
_FROM = re.compile(r"\bfrom (?:the )?([a-z]+(?: (?:left|right))?)")
_PLACE = re.compile(r"\b(?:on|at) (?:the )?[a-z]+(?: (?:left|right))?")
LEAST_WAY, WIDEST_ANGLE = 0.1, 20.0
"""An end box that is not so far away, in sides of the picture, or further from its way, in degrees, contradicts it."""
TRAVEL = 0.25
"""How far such an object goes instead, at least, along each axis of its way."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedTrack:
    """An object of a plan.

    Attributes:
        label: what it is, "" where nothing says so.
        boxes: float32 [F, 4], `xyxy` in [0, 1]; before and after it is there, the first and the last one.
        there: bool [F].
    """

    label: str
    boxes: npt.NDArray[np.float32]
    there: npt.NDArray[np.bool_]


def planned_tracks(regions: Sequence[Grounding], frames: int, *, fixed_start: bool = False) -> list[PlannedTrack]:
    """Return the objects of a plan in a clip of F frames.

    The way of a motion is a copied word, its boxes are guessed: where they contradict it, the way holds. The end box is
    moved, and the first one too where the picture has no room for the motion, unless `fixed_start`: then a given
    picture says where the object is.

    Regions without a span are no part of a plan and are left out, and so are ways that nothing can go. Another label
    than that of the object before it, or one that does not come later, begins another object.
    """
    return [_track(_consistent(run, fixed_start), frames) for run in _runs(regions)]


def set_in_motion(regions: Sequence[Grounding], instruction: str) -> tuple[Grounding, ...]:
    """Return the plan of a picture that is set in motion, completed by the instruction's words.

    One box alone, whatever its span, says what is to move: that is there in the picture, and goes the way that the
    words name. Any other plan, or one whose words name no way, stays as it is.
    """
    way = _NAMES.get(named_way(instruction))
    if way is None or len(regions) != 1:
        return tuple(regions)
    (moved,) = regions
    # The end box says nothing: it contradicts the way, so `planned_tracks` moves it.
    return replace(moved, span=(0, 0)), Grounding(box=moved.box, label=way, span=(LAST, LAST))


def named_way(instruction: str) -> tuple[int, int]:
    """Return the way (x, y) that the words after a verb of motion name, each -1, 0 or 1; (0, 0): none.

    Where something comes from is the other way; a place ("on the right") is none, unless it leaves there.
    """
    text = instruction.lower()
    found = _MOVING.search(text)
    if found is None:
        return 0, 0
    words = text[found.end() :]
    origin = _FROM.search(words)
    words = _FROM.sub(" ", words)
    if not _LEAVING.search(text[found.start() :]):
        words = _PLACE.sub(" ", words)
    x, y = _signs(words)
    if (x, y) == (0, 0) and origin is not None:
        x, y = (-sign for sign in _signs(origin[1]))
    return x, y


def _signs(words: str) -> tuple[int, int]:
    """Return the first sign along each axis that words name."""
    ways = [WAYS[name] for word in re.findall(r"[a-z]+", words) if (name := _SAME_AS.get(word, word)) in WAYS]
    x, y = (next((way[axis] for way in ways if way[axis]), 0) for axis in (0, 1))
    return x, y


def _runs(regions: Sequence[Grounding]) -> list[list[Grounding]]:
    runs: list[list[Grounding]] = []
    for region in regions:
        if region.span is None:
            continue
        before = runs[-1] if runs else None
        later = before is not None and before[-1].span is not None and region.span[0] > before[-1].span[1]
        if before is not None and later and region.label in (before[0].label, *WAYS):
            before.append(region)
        elif region.label not in WAYS:
            runs.append([region])
    return runs


def _consistent(run: Sequence[Grounding], fixed_start: bool) -> list[Grounding]:
    """Return a run whose boxes go the ways that their labels say."""
    made = list(run)
    for i, region in enumerate(run[1:], 1):
        if region.label not in WAYS or _goes(made[i - 1].box, region.box, WAYS[region.label]):
            continue
        start, end = _moved(made[i - 1].box, region.box, WAYS[region.label], fixed_start or i > 1)
        made[i - 1], made[i] = replace(made[i - 1], box=start), replace(region, box=end)
    return made


def _goes(start: Box, end: Box, way: tuple[int, int]) -> bool:
    """Tell whether boxes lie as a way says."""
    moved, wanted = _middle(end) - _middle(start), np.array(way) / np.hypot(*way)
    far = float(np.hypot(*moved))
    return far >= LEAST_WAY and float(moved @ wanted) >= far * np.cos(np.radians(WIDEST_ANGLE))


def _moved(start: Box, end: Box, way: tuple[int, int], fixed_start: bool) -> tuple[Box, Box]:
    """Return boxes of the same sizes that lie as a way says, inside the picture."""
    travel = np.array(way) * max(TRAVEL, float(np.abs(_middle(end) - _middle(start)).max()))
    there = _placed(end, _middle(start) + travel)
    return (start if fixed_start else _placed(start, _middle(there) - travel)), there


def _middle(box: Box) -> npt.NDArray[np.float64]:
    return np.array([box[0] + box[2], box[1] + box[3]]) / 2.0


def _placed(box: Box, middle: npt.NDArray[np.float64]) -> Box:
    """Return a box of the same size around a middle, or as near to it as the picture allows."""
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2.0
    x, y = np.clip(middle, half, 1.0 - half).tolist()
    return (x - half[0], y - half[1], x + half[0], y + half[1])


def _track(run: Sequence[Grounding], frames: int) -> PlannedTrack:
    moments = np.linspace(0.0, LAST, frames)
    known = [(float(min(at, LAST)), region.box) for region in run for at in region.span or ()]
    times, corners = np.array([at for at, _ in known]), np.array([box for _, box in known])
    # A clip longer than the plan has frames between its moments.
    half = 0.5 * LAST / max(frames - 1, LAST)
    there = (moments >= times[0] - half) & (moments <= times[-1] + half)
    boxes = np.stack([np.interp(moments, times, corner) for corner in corners.T], axis=1)
    return PlannedTrack(label=run[0].label, boxes=boxes.astype(np.float32), there=there)
