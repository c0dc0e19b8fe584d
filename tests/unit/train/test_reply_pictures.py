"""Sheets of what was replied during a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from train.data.sample import Sample
from train.data.shapes.tasks import build
from train.evaluation.tiles import GIVEN, SIDE, WANTED
from train.recipes.reply_pictures import HEIGHT, SHOWN, Answered, draw_replies
from vitron.invocation import parse_reply
from vitron.types import Reply


def drawn(tmp_path: Path, **answered: list[Answered]) -> np.ndarray:
    draw_replies(answered, tmp_path / "replies.png")
    return np.asarray(PilImage.open(tmp_path / "replies.png"))


def has(sheet: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((sheet == colour).all(-1).any())


def answered(sample: Sample, text: str, right: bool = True) -> Answered:
    return Answered(sample, Reply(text=text, invocation=parse_reply(text).invocation), right)


def test_wanted_and_given_boxes_are_told_apart(tmp_path: Path) -> None:
    sample = build("rec", "val", 0)
    assert not has(drawn(tmp_path, rec=[answered(sample, "i cannot say")]), GIVEN)
    sheet = drawn(tmp_path, rec=[answered(sample, "(0.10, 0.20, 0.30, 0.40)")])
    assert has(sheet, WANTED) and has(sheet, GIVEN)
    left, top = int(0.1 * (SIDE - 1)), int(0.2 * (SIDE - 1))
    assert tuple(sheet[top, left]) == GIVEN


def test_there_is_a_row_for_each_task_and_no_more_tiles_than_fit(tmp_path: Path) -> None:
    many = [answered(build("caption", "val", index), "a red circle") for index in range(SHOWN + 2)]
    sheet = drawn(tmp_path, caption=many, chat=many[:1])
    assert sheet.shape == (2 * HEIGHT, SHOWN * (SIDE + 8), 3)
    assert (sheet[HEIGHT:, SIDE + 8 :] == 255).all() and not (sheet[:HEIGHT, -SIDE:] == 255).all()


@pytest.mark.parametrize("task", ["segment_mark", "image_edit", "video_grounding", "video_generate", "chat"])
def test_every_kind_of_request_can_be_drawn(task: str, tmp_path: Path) -> None:
    sample = build(task, "val", 1)
    sheet = drawn(tmp_path, **{task: [answered(sample, sample.turns[-1].text)]})
    assert not (sheet[:, :SIDE] == 255).all()
    unmarked = drawn(tmp_path, **{task: [answered(replace(sample, marks=()), sample.turns[-1].text)]})
    assert (sheet != unmarked).any() == bool(sample.marks)
