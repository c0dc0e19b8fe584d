"""The small values that pass between the parts of VITRON.

Everything here is immutable and knows nothing of models, HTTP or Ray. Coordinates are always `xyxy` floats in
[0, 1] of the *original* picture, whatever its aspect ratio; frame spans are inclusive frame numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float]
Point = tuple[float, float]
BoolMask = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8]
"""An RGB picture, `uint8 [height, width, 3]`."""

Role = Literal["system", "user", "assistant"]
RegionKind = Literal["point", "box", "scribble", "polygon", "mask"]
MessageMode = Literal["hybrid", "text", "signal"]
"""What reaches a specialist: instruction and signal, the instruction alone, or the signal alone (paper Fig. 4)."""


class Module(StrEnum):
    """The specialists the LLM can name (paper Table 13, row 6 read as Video Generation)."""

    IMAGE_GENERATION = "Image Generation"
    IMAGE_SEGMENTATION = "Image Segmentation"
    IMAGE_EDITING = "Image Editing"
    VIDEO_GENERATION = "Video Generation"
    VIDEO_SEGMENTATION = "Video Segmentation"
    VIDEO_EDITING = "Video Editing"


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """A box the LLM names, optionally labelled, optionally over a span of frames.

    Attributes:
        box: `xyxy` in [0, 1], `x1 <= x2` and `y1 <= y2`.
        label: what the box shows, "" when the text before it says so.
        span: first and last frame, inclusive; None for a picture.
    """

    box: Box
    label: str = ""
    span: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_box(self.box)
        if self.span is not None and not 0 <= self.span[0] <= self.span[1]:
            raise ValueError(f"span: got {self.span}, expected 0 <= start <= end")


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """The discrete half of the hybrid message: which specialist, what to do, where."""

    module: Module
    instruction: str
    regions: tuple[Grounding, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Frames of a video: all of them, or some.

    Attributes:
        frames: RGB, `uint8 [T, height, width, 3]` with T of at least 1.
        numbers: which frames of the video they are, from 0 and increasing; left out: all from the first on.
        fps: frames per second of the video.
    """

    frames: npt.NDArray[np.uint8]
    numbers: tuple[int, ...] = ()
    fps: float = 8.0

    def __post_init__(self) -> None:
        shape, kind = self.frames.shape, self.frames.dtype
        if len(shape) != 4 or shape[3] != 3 or 0 in shape or kind != np.uint8:
            raise ValueError(f"frames: got {kind} {list(shape)}, expected uint8 [T, height, width, 3], T of at least 1")
        if not self.numbers:
            object.__setattr__(self, "numbers", tuple(range(shape[0])))
        rising = all(a < b for a, b in pairwise(self.numbers))
        if len(self.numbers) != shape[0] or self.numbers[0] < 0 or not rising:
            raise ValueError(f"numbers: got {self.numbers}, expected {shape[0]} frame numbers, from 0 and increasing")
        if not 0.0 < self.fps < math.inf:
            raise ValueError(f"fps: got {self.fps}, expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class DrawnRegion:
    """Something a user drew on a picture or on a frame of a clip.

    Attributes:
        kind: how it was drawn.
        points: `(x, y)` in [0, 1]: one or more clicks, the stroke of a scribble, or the corners of a polygon.
        box: for kind "box".
        mask: for kind "mask": bool `[height, width]` of any size; it is stretched over the picture.
        image: index of the picture it is drawn on.
        clip: index of the clip it is drawn on; None: on a picture.
        frame: number of the frame in that video.
    """

    kind: RegionKind
    points: tuple[Point, ...] = ()
    box: Box | None = None
    mask: BoolMask | None = None
    image: int = 0
    clip: int | None = None
    frame: int = 0


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn. A user's text holds an `<image>` per picture, a `<video>` per clip, a `<region>` per drawn region.

    `learned` matters in training alone: whether an assistant's turn is a target, or history.
    """

    role: Role
    text: str
    images: tuple[Image, ...] = ()
    regions: tuple[DrawnRegion, ...] = ()
    clips: tuple[Clip, ...] = ()
    learned: bool = True


class Detection(NamedTuple):
    """One segmented object: bool mask `[height, width]`, its box, and a score in [0, 1]."""

    mask: BoolMask
    box: Box
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One object through a clip.

    Attributes:
        id: stays with the object, also while it is hidden; unique within a clip.
        masks: bool `[T, height, width]`, all False in a frame where it is not seen.
        numbers: frame numbers of the T masks in the video.
        scores: T numbers in [0, 1].
        label: what it is, "" when nobody said so.
    """

    id: int
    masks: BoolMask
    numbers: tuple[int, ...]
    scores: tuple[float, ...]
    label: str = ""

    def __post_init__(self) -> None:
        frames = self.masks.shape[0]
        if self.masks.ndim != 3 or len(self.numbers) != frames or len(self.scores) != frames:
            got = f"{list(self.masks.shape)}, {len(self.numbers)} numbers and {len(self.scores)} scores"
            raise ValueError(f"masks: got {got}, expected [T, height, width] and T of each")

    @property
    def boxes(self) -> tuple[Box | None, ...]:
        """The box around each mask; None where the object is not seen."""
        return tuple(box_around(mask) for mask in self.masks)


@dataclass(frozen=True, kw_only=True)
class SpecialistOutput:
    """What a specialist made; only the fields that its module fills are non-empty."""

    detections: tuple[Detection, ...] = ()
    images: tuple[Image, ...] = ()
    clips: tuple[Clip, ...] = ()
    tracks: tuple[Track, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The assistant's answer: text for the user, and what a specialist made if one was invoked.

    `error` is set when an invocation could not be parsed or its specialist failed; the text is kept. Frame numbers in
    the text count the frames that the LLM saw; `seen_frames` says, for each clip, which frames of the video those are.
    """

    text: str
    invocation: Invocation | None = None
    output: SpecialistOutput | None = None
    error: str | None = None
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    raw_text: str = field(default="", repr=False)
    seen_frames: tuple[tuple[int, ...], ...] = ()


def check_box(box: Box) -> Box:
    """Return `box` unchanged, or raise ValueError unless it is `xyxy` in [0, 1] with `x1 <= x2`, `y1 <= y2`."""
    if len(box) != 4 or not all(0.0 <= value <= 1.0 for value in box):
        raise ValueError(f"box: got {box}, expected four numbers in [0, 1] (x1, y1, x2, y2)")
    if box[0] > box[2] or box[1] > box[3]:
        raise ValueError(f"box: got {box}, expected x1 <= x2 and y1 <= y2")
    return box


def box_around(mask: BoolMask) -> Box | None:
    """Return the tight box of `mask` (outer pixel edges over the size); None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    height, width = mask.shape
    return (
        int(columns[0]) / width,
        int(rows[0]) / height,
        (int(columns[-1]) + 1) / width,
        (int(rows[-1]) + 1) / height,
    )
