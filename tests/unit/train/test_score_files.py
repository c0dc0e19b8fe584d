"""Scores of the official files of captions and questions, by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.score import main


def write(path: Path, value: Any) -> str:
    path.write_text(json.dumps(value))
    return str(path)


def captions(folder: Path) -> tuple[str, str]:
    wanted = [(1, "a red circle on white"), (1, "there is a red circle"), (2, "two blue stars"), (3, "a green ring")]
    said = [(3, "a green ring"), (1, "a red circle on white"), (2, "one yellow cross"), (4, "not asked for")]
    annotations = {"annotations": [{"image_id": key, "caption": text} for key, text in wanted]}
    results = [{"image_id": key, "caption": text} for key, text in said]
    return write(folder / "annotations.json", annotations), write(folder / "results.json", results)


def questions(folder: Path, said: list[str]) -> tuple[str, str]:
    given = [["blue"] * 2 + ["navy"] * 8, ["2"] * 10]
    annotations = {
        "annotations": [
            {
                "question_id": 10 + row,
                "answers": [{"answer": text, "answer_id": place} for place, text in enumerate(one)],
            }
            for row, one in enumerate(given)
        ]
    }
    results = [{"question_id": 10 + row, "answer": text} for row, text in enumerate(said)]
    return write(folder / "annotations.json", annotations), write(folder / "results.json", results)


def test_captions_are_scored_by_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["captions", *captions(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 3
    # Two of three captions are word for word a reference, the third shares nothing with its own.
    assert found["rouge_l"] == pytest.approx(2 / 3, abs=1e-4)
    assert 0 < found["bleu_4"] < 1 and 0 < found["cider_d"] < 10 and "meteor" not in found


def test_answers_are_scored_by_annotators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vqa", *questions(tmp_path, ["blue", "2"])]) == 0
    found = json.loads(capsys.readouterr().out)
    # Two annotators of ten: (2 x 1/3 + 8 x 2/3) / 10.
    assert found == {"n": 2, "soft_accuracy[vqa]": pytest.approx((0.6 + 1) / 2)}


@pytest.mark.parametrize(
    ("annotations", "results", "message"),
    [
        (
            {"annotations": [{"image_id": 1, "caption": "a"}]},
            [{"image_id": 2, "caption": "a"}],
            "nothing for image_id 1",
        ),
        ({"images": []}, [], "expected a list of objects with image_id and caption"),
        ({"annotations": [{"image_id": 1, "caption": "a"}]}, {"image_id": 1}, "results.json: expected a list"),
        ({"annotations": []}, [], "annotations.json: expected a list"),
    ],
)
def test_files_of_another_form_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], annotations: Any, results: Any, message: str
) -> None:
    paths = write(tmp_path / "annotations.json", annotations), write(tmp_path / "results.json", results)
    assert main(["captions", *paths]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_or_broken_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.json").write_text("{")
    assert main(["vqa", str(tmp_path / "none.json"), str(tmp_path / "broken.json")]) == 2
    assert "none.json: not found" in capsys.readouterr().err
    assert main(["vqa", str(tmp_path / "broken.json"), str(tmp_path / "broken.json")]) == 2
    assert "broken.json: is no JSON" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["blue"], 3])
def test_answers_of_another_form_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: Any) -> None:
    annotations = {"annotations": [{"question_id": 1, "answers": given}]}
    paths = write(tmp_path / "a.json", annotations), write(tmp_path / "r.json", [{"question_id": 1, "answer": "blue"}])
    assert main(["vqa", *paths]) == 2
    assert f"got answers {given!r}, expected a list of objects with answer" in capsys.readouterr().err
