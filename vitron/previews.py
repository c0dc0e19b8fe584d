"""Clips as pictures that a page can show: animated thumbnails, sheets of frames, and masks laid over frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from vitron.frames import sample_numbers
from vitron.types import Clip, Track

Frames = npt.NDArray[np.uint8]
THUMBNAIL_SIDE = 320
SHEET_SIDE = 160
SHEET_FRAMES = 64
"""Most frames of a sheet; of longer clips, that many spread evenly."""
COLORS = ((230, 60, 60), (60, 130, 240), (60, 190, 90), (245, 170, 40), (170, 90, 220), (40, 190, 200))
"""Of the masks laid over frames: object after object, from the start again after the last."""
_OPACITY = 0.5


def animated_webp(frames: Frames, fps: float, max_side: int = THUMBNAIL_SIDE) -> bytes:
    """Encode frames `[T, height, width, 3]` as a WebP that plays for ever, at most `max_side` wide and high."""
    pictures = [_shrunk(frame, max_side) for frame in frames]
    buffer = BytesIO()
    pictures[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=max(1, round(1000 / fps)),
        loop=0,
        quality=80,
        method=2,
    )
    return buffer.getvalue()


def sprite_sheet(frames: Frames, max_side: int = SHEET_SIDE) -> bytes:
    """Encode frames side by side in reading order, as a JPEG that is about square."""
    pictures = [_shrunk(frames[index], max_side) for index in sample_numbers(range(len(frames)), SHEET_FRAMES)]
    columns = math.ceil(math.sqrt(len(pictures)))
    width, height = pictures[0].size
    sheet = PillowImage.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * width, index // columns * height))
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def overlay(clip: Clip, tracks: Sequence[Track]) -> Clip:
    """Return a clip with the masks of its tracks tinted; frames without a mask stay as they are."""
    frames = clip.frames.copy()
    places = {number: index for index, number in enumerate(clip.numbers)}
    for index, track in enumerate(tracks):
        color = np.array(COLORS[index % len(COLORS)])
        for number, mask in zip(track.numbers, track.masks, strict=True):
            if number in places and mask.any():
                frame = frames[places[number]]
                frame[mask] = ((1 - _OPACITY) * frame[mask] + _OPACITY * color).round().astype(np.uint8)
    return Clip(frames=frames, numbers=clip.numbers, fps=clip.fps)


def _shrunk(frame: Frames, max_side: int) -> PillowImage.Image:
    picture = PillowImage.fromarray(frame)
    picture.thumbnail((max_side, max_side))
    return picture
