"""COCO 2017: captions and objects of photographs.

From https://cocodataset.org. Expected under `root`:

    annotations/captions_train2017.json, captions_val2017.json      for captions
    annotations/instances_train2017.json, instances_val2017.json    for segmentation
    train2017/*.jpg, val2017/*.jpg

Feeds step 1.1 (`caption`), 1.2 and 1.3 (`generate`; `segment_text`: all objects of one category). Annotations are
CC BY 4.0; the photos have the licences of their Flickr owners.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from train.data.adapters import _dialogue as dialogue
from train.data.adapters._coco import Photo, Thing, mask_of_thing, read_instances, read_photo, read_photos
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import as_mapping, get, get_text, read_json
from train.data.sample import Sample


class _Captioned(NamedTuple):
    """A photo with all its captions."""

    id: int
    photo: Photo
    captions: tuple[str, ...]


class _Kind(NamedTuple):
    """The things of one category in a photo."""

    id: str
    photo: Photo
    things: tuple[Thing, ...]


def _open(opening: Opening) -> Records[_Captioned] | Records[_Kind]:
    year = f"{opening.split}2017"
    annotations = opening.root / "annotations"
    if opening.task == "segment_text":
        kinds = _kinds(opening, annotations / f"instances_{year}.json")
        return Records(opening, kinds, partial(_segment, opening, opening.root / year))
    photos = _captioned(opening, annotations / f"captions_{year}.json")
    return Records(opening, photos, partial(_caption, opening, opening.root / year))


def _captioned(opening: Opening, path: Path) -> list[_Captioned]:
    content = as_mapping(read_json(opening, path, "COCO captions"), str(path))
    photos = read_photos(content, path)
    captions: dict[int, list[str]] = {id: [] for id in photos}
    for number, record in enumerate(get(content, "annotations", list, str(path))):
        where = f"{path}: annotations[{number}]"
        image = get(record, "image_id", int, where)
        if image not in photos:
            raise ValueError(f"{where}: got image_id = {image}, expected one of the file's images")
        captions[image].append(get_text(record, "caption", where))
    return [_Captioned(id, photos[id], tuple(texts)) for id, texts in captions.items() if texts]


def _kinds(opening: Opening, path: Path) -> list[_Kind]:
    instances = read_instances(opening, path)
    groups: dict[tuple[int, str], list[Thing]] = {}
    for thing in instances.things.values():
        groups.setdefault((thing.image_id, thing.category), []).append(thing)
    return [
        _Kind(f"{image}/{category}", instances.photos[image], tuple(things))
        for (image, category), things in groups.items()
    ]


def _caption(opening: Opening, folder: Path, record: _Captioned, rng: Rng) -> Sample:
    make = dialogue.caption if opening.task == "caption" else dialogue.generate
    return make(opening.id(record.id), rng, read_photo(opening, folder, record.photo), record.captions)


def _segment(opening: Opening, folder: Path, record: _Kind, rng: Rng) -> Sample:
    image = read_photo(opening, folder, record.photo)
    masks = [mask_of_thing(thing, record.photo) for thing in record.things]
    category = record.things[0].category
    many = f"every {category}" if len(masks) > 1 else f"the {category}"
    return dialogue.segment_text(opening.id(record.id), rng, image, many, category, masks)


DATA_SETS = {
    "coco": DataSet(
        tasks=("caption", "generate", "segment_text"),
        splits=("train", "val"),
        home="https://cocodataset.org/#download",
        open=_open,
    )
}
