r"""Flickr30k Entities: the phrases of captions linked to boxes.

From https://github.com/BryanPlummer/flickr30k_entities, photos from https://shannon.cs.illinois.edu/DenotationGraph.
Expected under `root`:

    train.txt, val.txt, test.txt      ids of photos
    Sentences/<id>.txt                five captions, `[/EN#283585/people Two young guys] with [/EN#0/other hair]`
    Annotations/<id>.xml              boxes by the number of a phrase
    flickr30k-images/<id>.jpg

Feeds step 2.1 (`grounded_caption`: captions with at least one boxed phrase; `rec`: one boxed phrase) and 1.1
(`caption`). Boxes without an area inside their photo are left out. Annotations are CC BY-NC 3.0; the photos are for
research and education.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from train.data.adapters import _dialogue as dialogue
from train.data.adapters._boxes import clip_corners
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import existing, read_image, read_lines, within
from train.data.sample import Sample
from vitron.types import Box, Grounding

_PHRASE = re.compile(r"\[/EN#(\d+)(?:/[^\s/\]]+)+ ([^\]]*)\]")
_SPACE_BEFORE_SIGN = re.compile(r" ([.,!?;:])")


class _Caption(NamedTuple):
    """A caption, or all of a photo's captions, and its phrases with their numbers."""

    key: str
    photo: str
    texts: tuple[str, ...]
    phrases: tuple[tuple[str, str], ...] = ()


def _open(opening: Opening) -> Records[_Caption]:
    records: list[_Caption] = []
    flat = 0
    for photo in read_lines(opening, opening.root / f"{opening.split}.txt", "a list of photos"):
        found, left_out = _captions(opening, photo.strip())
        records += found
        flat += left_out
    return Records(opening, records, partial(_sample, opening), {"boxes without an area": flat})


def _captions(opening: Opening, photo: str) -> tuple[list[_Caption], int]:
    """Return the records of a photo, and how many of its boxes have no area."""
    path = within(opening.root / "Sentences", f"{photo}.txt", f"{opening.split}.txt")
    marked = read_lines(opening, path, "captions")
    texts = tuple(_text(line, f"{path}: line {number + 1}") for number, line in enumerate(marked))
    if opening.task == "caption":
        return [_Caption(photo, photo, texts)], 0
    boxed, flat = _boxes(opening, photo)
    records = []
    for number, (line, text) in enumerate(zip(marked, texts, strict=True)):
        phrases = tuple((chain, phrase) for chain, phrase in _PHRASE.findall(line) if chain in boxed)
        if opening.task == "grounded_caption" and phrases:
            records.append(_Caption(f"{photo}/{number}", photo, (text,), phrases))
        elif opening.task == "rec":
            keys = (f"{photo}/{number}/{place}" for place in range(len(phrases)))
            records += [_Caption(key, photo, (text,), (phrase,)) for key, phrase in zip(keys, phrases, strict=True)]
    return records, flat


def _text(line: str, where: str) -> str:
    """Return a caption without its marks."""
    text = _SPACE_BEFORE_SIGN.sub(r"\1", _PHRASE.sub(r"\2", line)).strip()
    if not text or "[/EN#" in text:
        raise ValueError(f"{where}: got {line!r}, expected a caption with phrases such as [/EN#12/people a man]")
    return text


def _boxes(opening: Opening, photo: str) -> tuple[dict[str, tuple[Box, ...]], int]:
    """Return the boxes of every phrase that has any, by its number, and how many boxes have no area."""
    path = existing(opening, opening.root / "Annotations" / f"{photo}.xml", "boxes")
    try:
        tree = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not XML ({error})") from error
    width, height = (int(_number(tree, f"size/{side}", path)) for side in ("width", "height"))
    found: dict[str, list[Box]] = {}
    flat = 0
    for thing in tree.iter("object"):
        if thing.find("bndbox") is None:
            continue
        corners = [_number(thing, f"bndbox/{side}", path) for side in ("xmin", "ymin", "xmax", "ymax")]
        box = clip_corners(corners, width, height)
        if box is None:
            flat += 1
            continue
        for name in thing.iter("name"):
            found.setdefault((name.text or "").strip(), []).append(box)
    return {chain: tuple(boxes) for chain, boxes in found.items()}, flat


def _number(element: ElementTree.Element, name: str, path: Path) -> float:
    text = element.findtext(name, "").strip()
    if not re.fullmatch(r"-?\d+(\.\d+)?", text):
        raise ValueError(f"{path}: got {name} = {text!r}, expected a number")
    return float(text)


def _sample(opening: Opening, record: _Caption, rng: Rng) -> Sample:
    id = opening.id(record.key)
    image = read_image(opening, opening.root / "flickr30k-images" / f"{record.photo}.jpg")
    if opening.task == "caption":
        return dialogue.caption(id, rng, image, record.texts)
    boxes, _ = _boxes(opening, record.photo)
    if opening.task == "rec":
        chain, phrase = record.phrases[0]
        return dialogue.rec(id, rng, image, phrase, boxes[chain])
    groundings = [
        Grounding(box=box, label=dialogue.name_of(phrase)) for chain, phrase in record.phrases for box in boxes[chain]
    ]
    return dialogue.grounded_caption(id, rng, image, record.texts[0], groundings)


DATA_SETS = {
    "flickr30k_entities": DataSet(
        tasks=("grounded_caption", "rec", "caption"),
        splits=("train", "val", "test"),
        home="https://github.com/BryanPlummer/flickr30k_entities",
        open=_open,
    )
}
