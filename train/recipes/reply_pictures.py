"""What held-out samples were answered during a run, to look at."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from train.data.sample import Sample
from train.evaluation.tiles import DRAWN, GIVEN, SIDE, WANTED, draw_box, enlarged, outlined
from vitron.invocation import parse_groundings
from vitron.types import Box, Image, Reply

SHOWN = 6
"""Samples of a task."""
WIDTH, LINES = 28, 5
"""Characters and lines of text under a picture."""
HEIGHT = SIDE + 16 * (LINES + 1)


class Answered(NamedTuple):
    """A sample, its reply, and whether that is right."""

    sample: Sample
    reply: Reply
    right: bool


def draw_replies(answered: Mapping[str, Sequence[Answered]], path: Path) -> None:
    """Write a sheet with a row for each task.

    A tile shows the picture or the clip's first frame that a request ends with, its marks (orange), the boxes of the
    wanted reply (green) and of the given one (magenta); then request, reply and verdict.
    """
    rows = [[_tile(each) for each in found[:SHOWN]] for found in answered.values()]
    sheet = PilImage.new("RGB", (SHOWN * (SIDE + 8), max(1, len(rows)) * HEIGHT), "white")
    for down, row in enumerate(rows):
        for across, tile in enumerate(row):
            sheet.paste(tile, (across * (SIDE + 8), down * HEIGHT))
    sheet.save(path, optimize=True)


def _tile(each: Answered) -> PilImage.Image:
    sample, reply = each.sample, each.reply
    tile = PilImage.new("RGB", (SIDE, HEIGHT), "white")
    shown = _picture(sample)
    picture = PilImage.new("RGB", (SIDE, SIDE), (235, 235, 235)) if shown is None else enlarged(shown)
    for box in _boxes(sample.turns[-1].text):
        draw_box(picture, box, WANTED)
    for box in [region.box for region in reply.invocation.regions] if reply.invocation else _boxes(reply.text):
        draw_box(picture, box, GIVEN)
    tile.paste(picture, (0, 0))
    asked = sample.turns[-2].text.rpartition("<image>")[2].rpartition("<video>")[2].strip()
    made = reply.invocation
    said = f"{made.module.value}: {made.instruction}" if made else reply.text
    lines = [*textwrap.wrap(asked, WIDTH)[:2], *textwrap.wrap(f"-> {said}", WIDTH)[: LINES - 2]]
    text = "\n".join([*lines, "right" if each.right else "wrong"])
    ImageDraw.Draw(tile).multiline_text((2, SIDE + 1), text, fill="black", spacing=1)
    return tile


def _picture(sample: Sample) -> Image | None:
    if sample.clips:
        return np.asarray(sample.clips[-1][0])
    if not sample.images:
        return None
    last = len(sample.images) - 1
    drawn = [mask for index, mask in sample.marks if index == last]
    return outlined(sample.images[-1], np.any(drawn, axis=0) if drawn else None, DRAWN)


def _boxes(text: str) -> list[Box]:
    """Return the boxes that a text names; none where it cannot be read."""
    try:
        return [grounding.box for grounding in parse_groundings(text)]
    except ValueError:
        return []
