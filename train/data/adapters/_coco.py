"""COCO's `instances` files: pictures, annotated objects, categories, and their segmentations as masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from train.data.adapters._boxes import xywh_box
from train.data.adapters._dataset import Opening
from train.data.adapters._files import as_list, as_mapping, get, get_numbers, get_text, read_image, read_json, within
from train.data.sample import BoolMask, Image
from vitron.regions import rle_to_mask, to_mask
from vitron.types import Box, DrawnRegion


class Photo(NamedTuple):
    """A picture by its file, with the size that annotations refer to."""

    file_name: str
    height: int
    width: int


class Thing(NamedTuple):
    """An annotated object; `segmentation` is polygons or an RLE, `where` names it in messages."""

    id: int
    image_id: int
    category: str
    bbox: list[float]
    segmentation: Any
    where: str


class Instances(NamedTuple):
    """An `instances` file: photos and things by id."""

    photos: Mapping[int, Photo]
    things: Mapping[int, Thing]


def read_photos(content: Mapping[str, Any], path: Path) -> dict[int, Photo]:
    """Read the `images` of a COCO file."""
    photos = {}
    for number, record in enumerate(get(content, "images", list, str(path))):
        where = f"{path}: images[{number}]"
        size = get(record, "height", int, where), get(record, "width", int, where)
        photos[get(record, "id", int, where)] = Photo(get_text(record, "file_name", where), *size)
    return photos


def read_instances(opening: Opening, path: Path) -> Instances:
    """Read an `instances` file.

    Raises:
        ValueError: a record lacks a field, or names a picture or category that the file does not have.
    """
    content = as_mapping(read_json(opening, path, "COCO instances"), str(path))
    photos = read_photos(content, path)
    names = {}
    for number, record in enumerate(get(content, "categories", list, str(path))):
        where = f"{path}: categories[{number}]"
        names[get(record, "id", int, where)] = get_text(record, "name", where)
    things = {}
    for number, record in enumerate(get(content, "annotations", list, str(path))):
        thing = _thing(record, names, f"{path}: annotations[{number}]")
        if thing.image_id not in photos:
            raise ValueError(f"{thing.where}: got image_id = {thing.image_id}, expected one of the file's images")
        things[thing.id] = thing
    return Instances(photos, things)


def _thing(record: object, names: Mapping[int, str], where: str) -> Thing:
    category = get(record, "category_id", int, where)
    if category not in names:
        raise ValueError(f"{where}: got category_id = {category}, expected one of the file's categories")
    id = get(record, "id", int, where)
    return Thing(
        id=id,
        image_id=get(record, "image_id", int, where),
        category=names[category],
        bbox=get_numbers(record, "bbox", 4, where),
        segmentation=get(record, "segmentation", object, where),
        where=f"{where} (id {id})",
    )


def read_photo(opening: Opening, folder: Path, photo: Photo) -> Image:
    """Decode a photo; ValueError if its size is not the one that its annotations refer to."""
    path = within(folder, photo.file_name, opening.name)
    image = read_image(opening, path)
    if image.shape[:2] != (photo.height, photo.width):
        expected = f"{photo.height} x {photo.width}, as its annotations say"
        raise ValueError(f"{path}: got {image.shape[0]} x {image.shape[1]} pixels, expected {expected}")
    return image


def box_of_thing(thing: Thing, photo: Photo) -> Box:
    """Return a thing's box."""
    return xywh_box(thing.bbox, photo.width, photo.height, thing.where)


def mask_of_thing(thing: Thing, photo: Photo) -> BoolMask:
    """Rasterise a thing; ValueError if its segmentation is malformed or empty."""
    given, height, width = thing.segmentation, photo.height, photo.width
    if isinstance(given, Mapping):
        mask = _from_rle(given, height, width, thing.where)
    else:
        polygons = as_list(given, f"{thing.where}: segmentation")
        parts = [_from_polygon(polygon, height, width, thing.where) for polygon in polygons]
        mask = np.logical_or.reduce(parts) if parts else np.zeros((height, width), dtype=np.bool_)
    if not mask.any():
        raise ValueError(f"{thing.where}: got an empty segmentation, expected at least one pixel")
    return mask


def _from_polygon(polygon: object, height: int, width: int, where: str) -> BoolMask:
    count = len(as_list(polygon, f"{where}: segmentation"))
    if count < 6 or count % 2:
        raise ValueError(f"{where}: got a polygon of {count} numbers, expected x and y of three points or more")
    flat = get_numbers({"segmentation": polygon}, "segmentation", count, where)
    points = np.clip(np.array(flat).reshape(-1, 2) / (width, height), 0.0, 1.0)
    corners = tuple((x, y) for x, y in points.tolist())
    return to_mask(DrawnRegion(kind="polygon", points=corners), height, width)


def _from_rle(rle: Mapping[str, Any], height: int, width: int, where: str) -> BoolMask:
    if list(get(rle, "size", list, where)) != [height, width]:
        raise ValueError(f"{where}: got an RLE of size {rle['size']}, expected {[height, width]}")
    counts = rle.get("counts")
    if isinstance(counts, str):
        return rle_to_mask({"size": [height, width], "counts": counts})
    runs = np.array(get_numbers({"counts": counts}, "counts", len(get(rle, "counts", list, where)), where), np.int64)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise ValueError(f"{where}: got an RLE of {int(runs.sum())} pixels, expected {height * width}")
    return np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape((height, width), order="F")
