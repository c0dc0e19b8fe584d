"""`python -m train.data.check`: what it says of good and of broken data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data import official_images as official
from tests.unit.data.official_videos import VIDEO_WRITERS
from train.data.check import check, main
from train.data.sources import MODULES, open_source


def test_it_counts_reads_and_shows_a_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official.refcoco_files("refcoco")(tmp_path, "")
    assert main(["refcoco", "--root", str(tmp_path), "--split", "train", "--task", "rec"]) == 0
    out = capsys.readouterr().out
    assert "refcoco, split train, task rec: 2 samples" in out
    assert "image 0: 32 x 24" in out
    assert "assistant: (0.25, 0.25, 0.50, 0.50)" in out
    assert "target box: (0.25, 0.25, 0.5, 0.5)" in out
    assert out.endswith("read 2 samples without an error\n")


def test_it_says_what_is_left_out_and_shows_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    VIDEO_WRITERS["webvid"](tmp_path, "")
    assert main(["webvid", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "webvid, split train, task video_caption: 1 samples" in out
    assert "left out: 1 videos that are not there" in out
    assert "clip 0: 8 frames of 32 x 24" in out
    assert "target frame_numbers: [0, 2, 4, 6, 9, 11, 13, 15]" in out


def test_the_first_error_is_reported_with_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official.coco(tmp_path)
    (tmp_path / "train2017/000000000025.jpg").unlink()
    assert main(["coco", "--root", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "error: sample 1: coco: expected a picture at" in captured.err
    assert "000000000025.jpg; get it from https://cocodataset.org" in captured.err
    assert "without an error" not in captured.out
    # The limit stops before it.
    assert main(["coco", "--root", str(tmp_path), "--limit", "1"]) == 0


def test_an_index_that_cannot_be_opened_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gqa", "--root", str(tmp_path)]) == 1
    assert "train_balanced_questions.json" in capsys.readouterr().err
    assert main(["imagenet", "--root", str(tmp_path)]) == 1
    assert "name: got 'imagenet', expected one of llava" in capsys.readouterr().err


def test_own_conversations_are_checked_by_the_name_of_their_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official.llava(tmp_path)
    (tmp_path / "train.json").rename(tmp_path / "mine.json")
    assert main(["llava", "--root", str(tmp_path), "--split", "mine", "--limit", "0"]) == 0
    out = capsys.readouterr().out
    assert "llava, split mine, task conversation: 3 samples" in out
    assert "mark on 0: 48 pixels" in out


def test_the_list_names_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(MODULES)


@pytest.mark.parametrize("arguments", [["coco"], ["coco", "--root", ".", "--limit", "-1"]])
def test_a_command_without_its_folder_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"turns": ()}, "got turns of"),
        ({"images": ()}, "got 1 <image>, expected 0"),
        ({"marks": ()}, "got 1 <region>, expected 0"),
        ({"marks": ((0, np.zeros((24, 32), np.bool_)),)}, "got a mark of"),
        ({"marks": ((0, np.ones((5, 5), np.bool_)),)}, "got a mark of"),
        ({"condition_text": "x"}, "got condition_text"),
        ({"target": {"boxes": ((0.0, 0.0, 2.0, 1.0),)}}, "box: got"),
    ],
)
def test_samples_that_do_not_fit_together_are_refused(wrong: dict[str, Any], message: str, tmp_path: Path) -> None:
    official.llava(tmp_path)
    sample = open_source("llava", tmp_path, "train")[0]
    check(sample)
    with pytest.raises(ValueError, match=message):
        check(replace(sample, **wrong))
