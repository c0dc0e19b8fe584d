"""Contact sheets of followed objects: the frames of a clip side by side, with target and result."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageDraw

from train.evaluation.cases import Case
from train.evaluation.score_tracks import case_masks, case_tracking, sight
from vitron.types import BoolMask, Image

WANTED, GIVEN, DRAWN = (0, 200, 0), (255, 0, 200), (255, 160, 0)
TEXT_WIDTH = 210
MARGIN = 3
LINE = 34
"""Characters of a line of text."""


def track_sheet(found: Sequence[Case], count: int = 8) -> PillowImage.Image:
    """Draw `count` typical cases (the first ones) above the `count` worst of the rest."""
    typical, rest = list(found[:count]), list(found[count:])
    shown = typical + sorted(rest, key=lambda case: case_tracking(case).j_and_f)[:count]
    strips = [_strip(case) for case in shown]
    canvas = PillowImage.new("RGB", (max(s.width for s in strips), sum(s.height + MARGIN for s in strips)), "white")
    top = 0
    for strip in strips:
        canvas.paste(strip, (0, top))
        top += strip.height + MARGIN
    return canvas


def _strip(case: Case) -> PillowImage.Image:
    """Write what was asked, answered and reached beside the frames."""
    asked = case.sample.turns[-2].text.replace("<video>\n", "")
    answer = case.record.error or case.record.instruction or case.record.text
    score = f"J&F {100 * case_tracking(case).j_and_f:.0f}, {sight(case)}"
    lines = [*textwrap.wrap(asked, LINE)[:2], *textwrap.wrap(f"-> {answer}", LINE)[:1], score]
    masks = [mask for _, mask in case.sample.marks]
    frames = painted(
        case.sample.clips[0],
        np.asarray(case.sample.target["masks"], dtype=np.bool_),
        case_masks(case),
        {case.sample.target["mark_frame"]: masks[0]} if masks else {},
    )
    row = PillowImage.fromarray(np.concatenate(list(frames), axis=1))
    strip = PillowImage.new("RGB", (TEXT_WIDTH + row.width, row.height), "white")
    ImageDraw.Draw(strip).multiline_text((2, 2), "\n".join(lines), fill="black", spacing=2)
    strip.paste(row, (TEXT_WIDTH, 0))
    return strip


def painted(
    frames: npt.NDArray[np.uint8],
    target: npt.NDArray[np.bool_],
    result: npt.NDArray[np.bool_],
    drawn: dict[int, BoolMask],
) -> npt.NDArray[np.uint8]:
    """Tint the result (magenta), outline the target (green) and tint what was drawn (orange) in each frame."""
    out = frames.copy()
    for t, picture in enumerate(out):
        _tint(picture, result[t], GIVEN)
        if t in drawn:
            _tint(picture, drawn[t], DRAWN)
        picture[target[t] & ~_inner(target[t])] = WANTED
        picture[:, -1] = 255  # parts the frames
    return out


def _tint(picture: Image, mask: BoolMask, colour: tuple[int, int, int]) -> None:
    picture[mask] = (0.55 * np.array(colour) + 0.45 * picture[mask]).astype(np.uint8)


def _inner(mask: BoolMask) -> BoolMask:
    padded = np.pad(mask, 1)
    inner: BoolMask = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inner
