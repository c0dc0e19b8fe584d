"""GQA: compositional questions about photographs, with the objects that question and answer speak of.

From https://cs.stanford.edu/people/dorarad/gqa/download.html. Expected under `root`, for the splits `train`, `val` and
`testdev`:

    train_balanced_questions.json           an object: question id to question
    train_sceneGraphs.json                  for grounded_vqa; not published for testdev
    images/<imageId>.jpg

Feeds step 2.3: `vqa`, and `grounded_vqa`, which locates the objects that the annotations link to the question's
words, or to the answer's, before it answers; questions without such an object are left out of it. CC BY 4.0; the
photos are Visual Genome's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from train.data.adapters import _dialogue as dialogue
from train.data.adapters._boxes import clip_corners
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import as_mapping, get, get_number, get_text, read_image, read_json, within
from train.data.sample import Sample
from vitron.types import Grounding


class _Question(NamedTuple):
    """A question, its short answer, and the objects that it is about."""

    key: str
    image: Path
    text: str
    answer: str
    groundings: tuple[Grounding, ...] = ()


def _open(opening: Opening) -> Records[_Question]:
    grounded = opening.task == "grounded_vqa"
    if grounded and opening.split == "testdev":
        raise ValueError("split: got 'testdev' for grounded_vqa, expected one with scene graphs: train, val")
    graphs: Mapping[str, Any] = {}
    graph_file = opening.root / f"{opening.split}_sceneGraphs.json"
    if grounded:
        graphs = as_mapping(read_json(opening, graph_file, "scene graphs"), str(graph_file))
    path = opening.root / f"{opening.split}_balanced_questions.json"
    questions, unlocated = [], 0
    for key, record in as_mapping(read_json(opening, path, "questions"), str(path)).items():
        where = f"{path}: {key}"
        name = get_text(record, "imageId", where)
        groundings = _groundings(record, get(graphs, name, dict, str(graph_file)), where) if grounded else ()
        if grounded and not groundings:
            unlocated += 1
            continue
        image = within(opening.root / "images", f"{name}.jpg", where)
        text, answer = get_text(record, "question", where), get_text(record, "answer", where)
        questions.append(_Question(key, image, text, answer, groundings))
    return Records(opening, questions, partial(_sample, opening), {"questions without a located object": unlocated})


def _groundings(record: object, graph: Mapping[str, Any], where: str) -> tuple[Grounding, ...]:
    """Return the objects of a question in the order of its words, then those of its answer."""
    linked = get(record, "annotations", dict, where)
    ids: dict[str, None] = {}
    for part in ("question", "answer"):
        # Keys are numbers of words, or "first:last+1".
        links = get(linked, part, dict, f"{where}: annotations")
        ids.update(dict.fromkeys(links[words] for words in sorted(links, key=_first_word)))
    objects = get(graph, "objects", dict, f"{where}: scene graph")
    size = get(graph, "width", int, where), get(graph, "height", int, where)
    groundings = []
    for id in ids:
        thing = get(objects, id, dict, f"{where}: scene graph: objects")
        x, y, w, h = (get_number(thing, key, f"{where}: object {id}") for key in "xywh")
        box = clip_corners((x, y, x + w, y + h), *size)
        if box is not None:
            name = dialogue.name_of(get_text(thing, "name", f"{where}: object {id}"))
            groundings.append(Grounding(box=box, label=name))
    return tuple(groundings)


def _first_word(words: str) -> int:
    first = words.split(":")[0]
    return int(first) if first.isdigit() else 0


def _sample(opening: Opening, question: _Question, rng: Rng) -> Sample:
    id, image = opening.id(question.key), read_image(opening, question.image)
    if opening.task == "vqa":
        return dialogue.vqa(id, rng, image, question.text, question.answer)
    return dialogue.grounded_vqa(id, rng, image, question.text, question.answer, question.groundings)


DATA_SETS = {
    "gqa": DataSet(
        tasks=("vqa", "grounded_vqa"),
        splits=("train", "val", "testdev"),
        home="https://cs.stanford.edu/people/dorarad/gqa/download.html",
        open=_open,
    )
}
