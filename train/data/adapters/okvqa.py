"""OK-VQA: questions about COCO 2014 photographs that need knowledge from outside the picture.

From https://okvqa.allenai.org/download.html. Expected under `root`, for the splits `train` and `val`:

    OpenEnded_mscoco_train2014_questions.json
    mscoco_train2014_annotations.json                   ten answers to each question
    train2014/COCO_train2014_000000000009.jpg           of https://cocodataset.org

The answer to learn is the most frequent of the ten, the first of them where several are; `target["answers"]` has all
ten, as the soft accuracy needs them. Feeds step 2.3 (`vqa`). Annotations are CC BY 4.0; the photos have the licences
of their Flickr owners.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

from train.data.adapters import _dialogue as dialogue
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import as_mapping, get, get_text, read_image, read_json
from train.data.sample import Sample

_ANSWERS = 10


class _Question(NamedTuple):
    """A question, and what ten people answered."""

    id: int
    image: int
    text: str
    answers: tuple[str, ...]


def _open(opening: Opening) -> Records[_Question]:
    year = f"mscoco_{opening.split}2014"
    answers = _answers(opening, opening.root / f"{year}_annotations.json")
    path = opening.root / f"OpenEnded_{year}_questions.json"
    content = as_mapping(read_json(opening, path, "questions"), str(path))
    questions = []
    for number, record in enumerate(get(content, "questions", list, str(path))):
        where = f"{path}: questions[{number}]"
        id = get(record, "question_id", int, where)
        if id not in answers:
            raise ValueError(f"{where}: got question_id = {id}, expected one of {year}_annotations.json, once")
        image = get(record, "image_id", int, where)
        questions.append(_Question(id, image, get_text(record, "question", where), answers.pop(id)))
    return Records(opening, questions, partial(_sample, opening))


def _answers(opening: Opening, path: Path) -> dict[int, tuple[str, ...]]:
    content = as_mapping(read_json(opening, path, "answers"), str(path))
    answers: dict[int, tuple[str, ...]] = {}
    for number, record in enumerate(get(content, "annotations", list, str(path))):
        where = f"{path}: annotations[{number}]"
        given = tuple(get_text(one, "answer", f"{where}: answers") for one in get(record, "answers", list, where))
        if len(given) != _ANSWERS:
            raise ValueError(f"{where}: got {len(given)} answers, expected {_ANSWERS}")
        answers[get(record, "question_id", int, where)] = given
    return answers


def _sample(opening: Opening, question: _Question, rng: Rng) -> Sample:
    folder = f"{opening.split}2014"
    image = read_image(opening, opening.root / folder / f"COCO_{folder}_{question.image:012d}.jpg")
    answer = Counter(question.answers).most_common(1)[0][0]
    return dialogue.vqa(opening.id(question.id), rng, image, question.text, answer, question.answers)


DATA_SETS = {
    "okvqa": DataSet(
        tasks=("vqa",),
        splits=("train", "val"),
        home="https://okvqa.allenai.org/download.html",
        open=_open,
    )
}
