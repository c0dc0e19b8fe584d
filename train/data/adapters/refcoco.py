"""RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: expressions for objects of COCO photographs.

From https://github.com/lichengunc/refer and https://github.com/henghuiding/gRefCOCO. Expected under `root`, the data
folder of `refer`:

    refcoco/refs(unc).p, refcoco/refs(google).p, refcoco/instances.json
    refcoco+/refs(unc).p, refcoco+/instances.json
    refcocog/refs(umd).p, refcocog/refs(google).p, refcocog/instances.json
    grefcoco/grefs(unc).json, grefcoco/instances.json
    images/mscoco/images/train2014/*.jpg

Names: `refcoco`, `refcoco+` (UNC splits), `refcocog` (UMD), `refcoco_google`, `refcocog_google`, `grefcoco`. Feeds
steps 1.1 (`region_caption`), 1.2 and 1.3 (`segment_text`), 2.1 (`rec`). An expression of gRefCOCO may mean several
objects, or none: then the reply says so and invokes nothing. Annotations are for research; gRefCOCO is MIT.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from train.data.adapters import _dialogue as dialogue
from train.data.adapters import _pickle
from train.data.adapters._coco import Instances, Thing, box_of_thing, mask_of_thing, read_instances, read_photo
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import as_list, existing, get, get_text, read_json
from train.data.sample import Sample

_IMAGES = Path("images/mscoco/images/train2014")
_NO_TARGET = [-1]
_FILES = {
    "refcoco": "refcoco/refs(unc).p",
    "refcoco+": "refcoco+/refs(unc).p",
    "refcocog": "refcocog/refs(umd).p",
    "refcoco_google": "refcoco/refs(google).p",
    "refcocog_google": "refcocog/refs(google).p",
    "grefcoco": "grefcoco/grefs(unc).json",
}


class _Expression(NamedTuple):
    """What is said (one sentence, or all of them for a description) of things in a photo."""

    key: str
    image_id: int
    things: tuple[Thing, ...]
    sentences: tuple[str, ...]


def _open(opening: Opening) -> Records[_Expression]:
    path = opening.root / _FILES[opening.name]
    refs = as_list(_read_refs(opening, path), str(path))
    instances = read_instances(opening, path.parent / "instances.json")
    records: list[_Expression] = []
    for number, ref in enumerate(refs):
        where = f"{path}: refs[{number}]"
        if get_text(ref, "split", where) == opening.split:
            records += _expressions(ref, instances, where, apart=opening.task != "region_caption")
    return Records(opening, records, partial(_sample, opening, instances))


def _read_refs(opening: Opening, path: Path) -> Any:
    if path.suffix == ".json":
        return read_json(opening, path, "referring expressions")
    return _pickle.load(existing(opening, path, "referring expressions"))


def _expressions(ref: object, instances: Instances, where: str, apart: bool) -> list[_Expression]:
    """Return the expressions of a ref, `apart` or as one record."""
    id, image_id = get(ref, "ref_id", int, where), get(ref, "image_id", int, where)
    if image_id not in instances.photos:
        raise ValueError(f"{where}: got image_id = {image_id}, expected one of instances.json")
    things = _things(ref, instances, where)
    sentences = tuple(get_text(s, "sent", f"{where}: sentences") for s in get(ref, "sentences", list, where))
    if not apart:
        return [_Expression(str(id), image_id, things, sentences)] if sentences else []
    return [_Expression(f"{id}/{place}", image_id, things, (text,)) for place, text in enumerate(sentences)]


def _things(ref: object, instances: Instances, where: str) -> tuple[Thing, ...]:
    given = get(ref, "ann_id", object, where)
    ids: Sequence[Any] = given if isinstance(given, list) else [given]
    if list(ids) == _NO_TARGET:
        return ()
    unknown = [id for id in ids if not isinstance(id, int) or id not in instances.things]
    if unknown or not ids:
        raise ValueError(f"{where}: got ann_id = {given!r}, expected ids of instances.json, or {_NO_TARGET} for none")
    return tuple(instances.things[id] for id in ids)


def _sample(opening: Opening, instances: Instances, record: _Expression, rng: Rng) -> Sample:
    id, photo = opening.id(record.key), instances.photos[record.image_id]
    image = read_photo(opening, opening.root / _IMAGES, photo)
    if opening.task == "rec":
        return dialogue.rec(id, rng, image, record.sentences[0], [box_of_thing(t, photo) for t in record.things])
    masks = [mask_of_thing(thing, photo) for thing in record.things]
    if opening.task == "region_caption":
        return dialogue.region_caption(id, rng, image, masks[0], record.sentences)
    nouns = " and ".join(dict.fromkeys(thing.category for thing in record.things))
    return dialogue.segment_text(id, rng, image, record.sentences[0], nouns, masks)


def _data_set(splits: tuple[str, ...], *, captions: bool = True, home: str = "lichengunc/refer") -> DataSet:
    tasks = ("rec", "segment_text", "region_caption") if captions else ("rec", "segment_text")
    return DataSet(tasks=tasks, splits=splits, home=f"https://github.com/{home}", open=_open)


DATA_SETS = {
    "refcoco": _data_set(("train", "val", "testA", "testB")),
    "refcoco+": _data_set(("train", "val", "testA", "testB")),
    "refcocog": _data_set(("train", "val", "test")),
    "refcoco_google": _data_set(("train", "val", "test")),
    "refcocog_google": _data_set(("train", "val")),
    # An expression for several objects, or for none, describes no region.
    "grefcoco": _data_set(("train", "val", "testA", "testB"), captions=False, home="henghuiding/gRefCOCO"),
}
