"""MagicBrush: photographs edited by hand in up to three turns, with an instruction and a mask for each.

From https://github.com/OSU-NLP-Group/MagicBrush. Expected under `root`, for the splits `train`, `dev` and `test`, the
layout of its archives (Hugging Face has `train` and `dev` as parquet: write the pictures of a row under these names):

    dev/edit_sessions.json          {"139306": [{"input": "139306-input.png", "mask": "139306-mask1.png",
                                                 "output": "139306-output1.png", "instruction": "..."}, ...]}
    dev/images/139306/139306-input.png, 139306-mask1.png, 139306-output1.png, ...

Each turn is a sample: its input is the photo, or the output of the turn before it. The mask is the input with the
part to change erased (transparent), or a gray picture that is white there. Mask and output are brought to the size of
the input. Feeds steps 1.2 and 1.3 (`edit`); `test` is for evaluation only. CC BY 4.0.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from train.data.adapters import _dialogue as dialogue
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import as_list, as_mapping, get_text, read_image, read_json, read_raw_image, within
from train.data.sample import BoolMask, Image, Sample
from vitron.regions import to_mask
from vitron.types import DrawnRegion

# Sides are rounded to whole pixels when a picture is scaled.
_ROUNDING = 2


class _Edit(NamedTuple):
    """One turn of a session."""

    key: str
    source: Path
    mask: Path
    edited: Path
    instruction: str


def _open(opening: Opening) -> Records[_Edit]:
    folder = opening.root / opening.split
    path = folder / "edit_sessions.json"
    edits = []
    for session, turns in as_mapping(read_json(opening, path, "edit sessions"), str(path)).items():
        images = within(folder / "images", session, str(path))
        for number, turn in enumerate(as_list(turns, f"{path}: {session}")):
            where = f"{path}: {session}[{number}]"
            source, mask, edited = (
                within(images, get_text(turn, key, where), where) for key in ("input", "mask", "output")
            )
            edits.append(_Edit(f"{session}/{number}", source, mask, edited, get_text(turn, "instruction", where)))
    return Records(opening, edits, partial(_sample, opening))


def _sample(opening: Opening, edit: _Edit, rng: Rng) -> Sample:
    source = read_image(opening, edit.source)
    height, width = source.shape[:2]
    edited = _scaled(read_image(opening, edit.edited), height, width, edit.edited)
    editable = _editable(read_raw_image(opening, edit.mask), height, width, edit.mask)
    return dialogue.edit(opening.id(edit.key), rng, source, edit.instruction, edited, editable)


def _scaled(image: Image, height: int, width: int, path: Path) -> Image:
    _check_shape(image.shape[0], image.shape[1], height, width, path)
    if image.shape[:2] == (height, width):
        return image
    resized = PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)


def _editable(picture: PillowImage.Image, height: int, width: int, path: Path) -> BoolMask:
    _check_shape(picture.height, picture.width, height, width, path)
    if picture.has_transparency_data:
        mask: BoolMask = np.asarray(picture.convert("RGBA"))[:, :, 3] < 128
    elif picture.mode in ("1", "L"):
        mask = np.asarray(picture.convert("L")) >= 128
    else:
        raise ValueError(f"{path}: got a picture of mode {picture.mode}, expected an erased part or a gray picture")
    if not mask.any():
        raise ValueError(f"{path}: got nothing erased, expected the part that the edit may change")
    return to_mask(DrawnRegion(kind="mask", mask=mask), height, width)


def _check_shape(got_height: int, got_width: int, height: int, width: int, path: Path) -> None:
    """Raise ValueError unless both sizes have the same proportions, up to the rounding of a side."""
    off = abs(got_height * width - got_width * height)
    if off > _ROUNDING * max(got_height, got_width, height, width):
        raise ValueError(
            f"{path}: got {got_height} x {got_width} pixels, expected the proportions of {height} x {width}"
        )


DATA_SETS = {
    "magicbrush": DataSet(
        tasks=("edit",),
        splits=("train", "dev", "test"),
        home="https://github.com/OSU-NLP-Group/MagicBrush",
        open=_open,
    )
}
