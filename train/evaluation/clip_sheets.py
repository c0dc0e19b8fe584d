"""Contact sheets of made clips: a row for each, its frames side by side, below the clip that it could have been."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageDraw

from train.evaluation.cases import Case
from train.evaluation.score_clips import animated, generated
from train.evaluation.score_edits import edited_clip

TEXT_WIDTH = 420
TEXT_HEIGHT = 26
MARGIN = 4

Frames = npt.NDArray[np.uint8]


def clip_quality(case: Case) -> float:
    """Return how good a case is, from 0 to 1, to sort by."""
    verdict = _VERDICTS[case.item.task](case)
    return sum(verdict) / len(verdict)


def clip_sheet(found: Sequence[Case], count: int = 8) -> PillowImage.Image:
    """Draw `count` typical cases (the first ones) above the `count` worst of the rest."""
    typical, rest = list(found[:count]), list(found[count:])
    strips = [_strip(case) for case in typical + sorted(rest, key=clip_quality)[:count]]
    width = max([strip.width for strip in strips], default=TEXT_WIDTH)
    canvas = PillowImage.new("RGB", (width, max(sum(strip.height for strip in strips), 1)), "white")
    top = 0
    for strip in strips:
        canvas.paste(strip, (0, top))
        top += strip.height
    return canvas


def _strip(case: Case) -> PillowImage.Image:
    """Draw the frames of the source if there is one, the target's, those made, and what was asked."""
    made = case.record.decoded_clips()
    rows = [_row(clip) for clip in (*case.sample.clips[:1], np.asarray(case.sample.target["clip"]), *made[:1])]
    height = sum(row.height + MARGIN for row in rows)
    strip = PillowImage.new("RGB", (max(TEXT_WIDTH, *(row.width for row in rows)), TEXT_HEIGHT + height), "white")
    answer = case.record.error or case.record.instruction or case.record.text
    asked = case.sample.turns[-2].text.replace("<image>\n", "").replace("<video>\n", "")
    text = f"{asked}\n-> {answer}   {clip_quality(case):.2f}"
    ImageDraw.Draw(strip).multiline_text((2, 0), text, fill="black", spacing=1)
    top = TEXT_HEIGHT
    for row in rows:
        strip.paste(row, (0, top))
        top += row.height + MARGIN
    return strip


def _row(frames: Frames) -> PillowImage.Image:
    return PillowImage.fromarray(np.concatenate(list(frames), axis=1))


_VERDICTS: dict[str, Callable[[Case], tuple[bool, ...]]] = {
    "video_generation": generated,
    "image_to_video": animated,
    "video_editing": edited_clip,
}
CLIP_TASKS = tuple(_VERDICTS)
