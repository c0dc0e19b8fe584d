"""Visual Genome: descriptions of regions of photographs, and their objects by name.

From https://homes.cs.washington.edu/~ranjay/visualgenome/api.html. Expected under `root`:

    image_data.json                                             sizes and addresses of the photos
    region_descriptions.json                                    for region_caption and rec
    objects.json                                                for detect
    VG_100K/*.jpg, VG_100K_2/*.jpg

There is no official division: one split, `train`. Boxes without an area inside their photo, and the four photos that
are known to be broken, are left out. Feeds steps 1.1 (`region_caption`: a described box), 1.2 and 2.1 (`rec`: a phrase
to its box; `detect`: all objects of one name). CC BY 4.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from train.data.adapters import _dialogue as dialogue
from train.data.adapters._boxes import clip_corners
from train.data.adapters._coco import Photo, read_photo
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import as_list, get, get_number, get_text, read_json
from train.data.sample import Sample
from vitron.regions import to_mask
from vitron.types import Box, DrawnRegion

# Their sizes are not what image_data.json says, or they cannot be decoded; everybody's loaders leave them out, as
# https://github.com/rowanz/neural-motifs/blob/master/dataloaders/visual_genome.py does.
_BROKEN = frozenset({1592, 1722, 4616, 4617})
_FLAT, _BAD = "boxes without an area", "regions and objects of broken photos"


class _Region(NamedTuple):
    """What is said of a photo's boxes: one box of a phrase, or all boxes of a name."""

    key: str
    photo: Photo
    text: str
    boxes: tuple[Box, ...]


def _open(opening: Opening) -> Records[_Region]:
    photos = _photos(opening, opening.root / "image_data.json")
    left_out: Counter[str] = Counter()
    if opening.task == "detect":
        records = list(_objects(opening, photos, left_out))
    else:
        records = list(_regions(opening, photos, left_out))
    return Records(opening, records, partial(_sample, opening), left_out)


def _photos(opening: Opening, path: Path) -> dict[int, Photo]:
    photos = {}
    for number, record in enumerate(as_list(read_json(opening, path, "photos"), str(path))):
        where = f"{path}: [{number}]"
        size = get(record, "height", int, where), get(record, "width", int, where)
        # https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg: folder and name as they are on disk.
        name = "/".join(PurePosixPath(get_text(record, "url", where)).parts[-2:])
        photos[get(record, "image_id", int, where)] = Photo(name, *size)
    return photos


def _regions(opening: Opening, photos: Mapping[int, Photo], left_out: Counter[str]) -> Iterator[_Region]:
    path = opening.root / "region_descriptions.json"
    for number, record in enumerate(as_list(read_json(opening, path, "described regions"), str(path))):
        where = f"{path}: [{number}]"
        image, photo = _photo_of(record, "id", photos, where)
        for place, region in enumerate(get(record, "regions", list, where)):
            inner = f"{where}: regions[{place}]"
            text, box = get_text(region, "phrase", inner), _box(region, "width", "height", photo, inner)
            if image in _BROKEN or box is None:
                left_out[_BAD if image in _BROKEN else _FLAT] += 1
            else:
                yield _Region(str(get(region, "region_id", int, inner)), photo, text, (box,))


def _objects(opening: Opening, photos: Mapping[int, Photo], left_out: Counter[str]) -> Iterator[_Region]:
    path = opening.root / "objects.json"
    for number, record in enumerate(as_list(read_json(opening, path, "objects"), str(path))):
        where = f"{path}: [{number}]"
        image, photo = _photo_of(record, "image_id", photos, where)
        boxes: dict[str, list[Box]] = {}
        for place, thing in enumerate(get(record, "objects", list, where)):
            inner = f"{where}: objects[{place}]"
            names, box = get(thing, "names", list, inner), _box(thing, "w", "h", photo, inner)
            if not names or not isinstance(names[0], str):
                raise ValueError(f"{inner}: got names = {names!r}, expected a list of texts")
            if image in _BROKEN or box is None:
                left_out[_BAD if image in _BROKEN else _FLAT] += 1
            else:
                boxes.setdefault(names[0].strip().lower(), []).append(box)
        for name, found in boxes.items():
            yield _Region(f"{image}/{name}", photo, name, tuple(found))


def _photo_of(record: object, key: str, photos: Mapping[int, Photo], where: str) -> tuple[int, Photo]:
    image = get(record, key, int, where)
    if image not in photos:
        raise ValueError(f"{where}: got {key} = {image}, expected one of image_data.json")
    return image, photos[image]


def _box(record: Any, width: str, height: str, photo: Photo, where: str) -> Box | None:
    x, y, w, h = (get_number(record, key, where) for key in ("x", "y", width, height))
    return clip_corners((x, y, x + w, y + h), photo.width, photo.height)


def _sample(opening: Opening, region: _Region, rng: Rng) -> Sample:
    id = opening.id(region.key)
    image = read_photo(opening, opening.root, region.photo)
    if opening.task == "region_caption":
        mask = to_mask(DrawnRegion(kind="box", box=region.boxes[0]), *image.shape[:2])
        return dialogue.region_caption(id, rng, image, mask, [region.text])
    make = dialogue.rec if opening.task == "rec" else dialogue.detect
    return make(id, rng, image, region.text, region.boxes)


DATA_SETS = {
    "visual_genome": DataSet(
        tasks=("region_caption", "rec", "detect"),
        splits=("train",),
        home="https://homes.cs.washington.edu/~ranjay/visualgenome/api.html",
        open=_open,
    )
}
