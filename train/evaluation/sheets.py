"""Contact sheets: good and bad cases of a visual task side by side, for the eye."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from train.evaluation.cases import Case
from train.evaluation.clip_sheets import CLIP_TASKS, clip_sheet
from train.evaluation.score import case_iou, case_match, case_overlap
from train.evaluation.score_edits import edited_image
from train.evaluation.score_tracks import TRACK_TASKS
from train.evaluation.tiles import DRAWN, GIVEN, SIDE, WANTED, draw_box, enlarged, outlined
from train.evaluation.track_sheets import track_sheet
from vitron.evaluation.grounding import first_box
from vitron.evaluation.segmentation import union_of
from vitron.regions import box_of
from vitron.types import BoolMask

TEXT_HEIGHT = 54
COLUMNS = 4


def quality(case: Case) -> float:
    """Return how good a case is, from 0 to 1, to sort by."""
    if case.item.task == "segmentation":
        return case_overlap(case).iou
    if case.item.task == "rec":
        return case_iou(case)
    if case.item.task == "image_editing":
        return sum(edited_image(case)) / 2
    return sum(case_match(case)) / 4


def sheet(found: Sequence[Case], count: int = 8) -> PillowImage.Image:
    """Draw `count` typical cases (the first ones) above the `count` worst of the rest.

    Each shows the picture asked about (drawing orange, target green) and the result (magenta).
    """
    typical, rest = list(found[:count]), list(found[count:])
    shown = typical + sorted(rest, key=quality)[:count]
    tiles = [_tile(case) for case in shown]
    width, height = 2 * SIDE + 8, SIDE + TEXT_HEIGHT
    rows = -(-len(tiles) // COLUMNS)
    canvas = PillowImage.new("RGB", (COLUMNS * width, max(rows, 1) * height), "white")
    for number, tile in enumerate(tiles):
        canvas.paste(tile, (number % COLUMNS * width, number // COLUMNS * height))
    return canvas


def save_sheet(found: Sequence[Case], path: Path) -> None:
    """Write the sheet of `found` as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    task = found[0].item.task
    drawn = track_sheet(found) if task in TRACK_TASKS else clip_sheet(found) if task in CLIP_TASKS else sheet(found)
    drawn.save(path, optimize=True)


def _tile(case: Case) -> PillowImage.Image:
    left, right = _PANELS[case.item.task](case)
    tile = PillowImage.new("RGB", (2 * SIDE + 8, SIDE + TEXT_HEIGHT), "white")
    tile.paste(left, (0, 0))
    tile.paste(right, (SIDE + 2, 0))
    asked = case.sample.turns[-2].text.replace("<image>\n", "")
    answer = case.record.error or case.record.instruction or case.record.text
    lines = [*textwrap.wrap(asked, 52)[:2], *textwrap.wrap(f"-> {answer}", 52)[:1]]
    lines.append(f"   {quality(case):.2f}")
    ImageDraw.Draw(tile).multiline_text((2, SIDE + 1), "\n".join(lines), fill="black", spacing=1)
    return tile


def _segmentation_panels(case: Case) -> tuple[PillowImage.Image, PillowImage.Image]:
    target = np.asarray(case.sample.target["mask"], dtype=np.bool_)
    image = case.sample.images[-1]
    result = union_of(case.record.decoded_masks())
    left = outlined(case.sample.images[0], _marks(case, 0), DRAWN)
    right = image if result is None else outlined(image, result, GIVEN)
    return enlarged(left), enlarged(outlined(right, target, WANTED, inside=True))


def _rec_panels(case: Case) -> tuple[PillowImage.Image, PillowImage.Image]:
    picture = enlarged(case.sample.images[-1])
    left, right = picture.copy(), picture.copy()
    draw_box(left, case.sample.target["box"], WANTED)
    given = first_box(case.record.text)
    if given is not None:
        draw_box(right, given, GIVEN)
    return left, right


def _generation_panels(case: Case) -> tuple[PillowImage.Image, PillowImage.Image]:
    blank = PillowImage.new("RGB", (SIDE, SIDE), (235, 235, 235))
    left, made = blank, case.record.decoded_images()
    if case.sample.images:
        left = enlarged(case.sample.images[0])
        marked = _marks(case, 0)
        if marked is not None and marked.any():
            draw_box(left, box_of(marked), DRAWN)
    return left, enlarged(made[0]) if made else blank


_PANELS: dict[str, Callable[[Case], tuple[PillowImage.Image, PillowImage.Image]]] = {
    "segmentation": _segmentation_panels,
    "rec": _rec_panels,
    "image_generation": _generation_panels,
    "image_editing": _generation_panels,
}
VISUAL_TASKS = (*_PANELS, *CLIP_TASKS, *TRACK_TASKS)


def _marks(case: Case, image: int) -> BoolMask | None:
    return union_of(mask for index, mask in case.sample.marks if index == image)
