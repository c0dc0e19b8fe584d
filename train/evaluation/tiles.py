"""Tiles of sheets: a picture enlarged, with what was drawn, what is wanted and what was given."""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from vitron.types import BoolMask, Box, Image

Colour = tuple[int, int, int]
SIDE = 160
WANTED, GIVEN, DRAWN = (0, 200, 0), (255, 0, 200), (255, 160, 0)


def outlined(image: Image, mask: BoolMask | None, colour: Colour, *, inside: bool = False) -> Image:
    """Tint `mask`, or only its border pixels where `inside` is set."""
    if mask is None or not mask.any():
        return image
    padded = np.pad(mask, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    chosen = mask & ~core if inside else mask
    drawn = image.copy()
    strength = 1.0 if inside else 0.55
    drawn[chosen] = (strength * np.array(colour) + (1 - strength) * drawn[chosen]).astype(np.uint8)
    return drawn


def enlarged(image: Image) -> PillowImage.Image:
    """Return a picture as a tile."""
    return PillowImage.fromarray(image).resize((SIDE, SIDE), PillowImage.Resampling.NEAREST)


def draw_box(picture: PillowImage.Image, box: Box, colour: Colour) -> None:
    """Draw a box in [0, 1] on a tile."""
    corners = [value * (SIDE - 1) for value in box]
    ImageDraw.Draw(picture).rectangle(corners, outline=colour, width=2)
