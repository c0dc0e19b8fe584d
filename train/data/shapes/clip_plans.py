"""Plans of clips to be made: where each object is when, as `vitron.clip_plan` reads them.

A language model plans better where things go than a diffusion model finds out from words (compare Lian et al. 2023,
"LLM-grounded Video Diffusion Models"); for pictures the same is done with a layout (`invocations.layout`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from train.data.shapes import captions
from train.data.shapes.render import mask_box
from train.data.shapes.render_clip import SEEN_SHARE, Footage
from vitron.clip_plan import LAST
from vitron.types import Box, Grounding


def plan(film: Footage, order: Sequence[int]) -> list[Grounding]:
    """Return the tracks of movers, in this order; size, colour and shape are their labels."""
    return [each for i in order for each in track(film, i, captions.describe(film.clip.movers[i].looks))]


def track(film: Footage, i: int, label: str) -> list[Grounding]:
    """Return one mover's places: one, or where its motion begins and, labelled with its way, where it ends.

    Frames are counted as plans count them. What is outside the picture is not planned.
    """
    path = film.clip.movers[i].path
    area = film.amodal[i].sum(axis=(1, 2))
    shown = np.flatnonzero(area >= SEEN_SHARE * area.max())
    first, last = int(shown[0]), int(shown[-1])
    if not path.moves:
        return [_grounding(film, i, label, first, (first, last))]
    begins, stops = max(path.begins, first), min(path.stops, last)
    return [
        _grounding(film, i, label, first, (first, begins)),
        _grounding(film, i, path.direction, stops, (stops, last)),
    ]


def _grounding(film: Footage, i: int, label: str, frame: int, span: tuple[int, int]) -> Grounding:
    start, end = (round(number * LAST / (film.clip.frames - 1)) for number in span)
    return Grounding(box=_box(film, i, frame), label=label, span=(start, end))


def _box(film: Footage, i: int, frame: int) -> Box:
    x1, y1, x2, y2 = (round(value, 2) for value in mask_box(film.amodal[i, frame]))
    return (x1, y1, x2, y2)
