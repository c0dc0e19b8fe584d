"""ActivityNet-QA: questions about long videos of people's activities.

From https://github.com/MILVLG/activitynet-qa, videos from http://activity-net.org. Expected under `root`, for the
splits `train`, `val` and `test`:

    train_q.json                [{"video_name": "TIEzvhv6xaI", "question": "...", "question_id": "v_TIEzvhv6xaI_2"}]
    train_a.json                [{"answer": "yes", "type": 3, "question_id": "v_TIEzvhv6xaI_2"}]
    videos/v_<video_name>.mp4   or .mkv, .webm

Videos disappear from the web: questions about one that is not there are left out and counted. `target["kind"]` names
the `type`. Feeds step 2.3 (`video_qa`). Annotations are Apache 2.0; the videos belong to their owners.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from train.data.adapters import _clips as clips
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import as_list, existing, get, get_text, read_json
from train.data.adapters._video import read_video
from train.data.sample import Sample

_SUFFIXES = (".mp4", ".mkv", ".webm")
# Types 0 to 8 of the data set's README; of the free questions (3 to 8) the type is that of the answer.
_KINDS = (
    "motion", "spatial relationship", "temporal relationship", "yes/no", "color", "object", "location", "number",
    "other",
)  # fmt: skip


class _Question(NamedTuple):
    """A question and its answer."""

    id: str
    video: Path
    text: str
    answer: str
    kind: str


def _open(opening: Opening) -> Records[_Question]:
    folder = existing(opening, opening.root / "videos", "a folder of videos")
    videos = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES}
    answers = _answers(opening, opening.root / f"{opening.split}_a.json")
    path = opening.root / f"{opening.split}_q.json"
    questions, gone = [], 0
    for number, record in enumerate(as_list(read_json(opening, path, "questions"), str(path))):
        where = f"{path}: [{number}]"
        id, video = get_text(record, "question_id", where), "v_" + get_text(record, "video_name", where)
        if id not in answers:
            raise ValueError(f"{where}: got question_id = {id!r}, expected one of {opening.split}_a.json, once")
        answer, kind = answers.pop(id)
        if video in videos:
            questions.append(_Question(id, videos[video], get_text(record, "question", where), answer, kind))
        else:
            gone += 1
    return Records(opening, questions, partial(_sample, opening), {"questions about videos that are not there": gone})


def _answers(opening: Opening, path: Path) -> dict[str, tuple[str, str]]:
    """Return answer and kind by question."""
    answers = {}
    for number, record in enumerate(as_list(read_json(opening, path, "answers"), str(path))):
        where = f"{path}: [{number}]"
        kind = get(record, "type", int, where)
        if not 0 <= kind < len(_KINDS):
            raise ValueError(f"{where}: got type = {kind}, expected 0 to {len(_KINDS) - 1}")
        answers[get_text(record, "question_id", where)] = (get_text(record, "answer", where), _KINDS[kind])
    return answers


def _sample(opening: Opening, question: _Question, rng: Rng) -> Sample:
    frames = read_video(opening, question.video)
    return clips.video_qa(opening.id(question.id), rng, frames, question.text, question.answer, question.kind)


DATA_SETS = {
    "activitynet_qa": DataSet(
        tasks=("video_qa",),
        splits=("train", "val", "test"),
        home="https://github.com/MILVLG/activitynet-qa",
        open=_open,
    )
}
