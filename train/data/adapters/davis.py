r"""DAVIS 2017: objects segmented in every frame of short videos, with expressions that name them.

From https://davischallenge.org/davis2017/code.html (TrainVal, 480p); expressions from
https://www.mpi-inf.mpg.de/departments/computer-vision-and-machine-learning/research/video-segmentation/video-object-segmentation-with-language-referring-expressions.
Expected under `root`:

    ImageSets/2017/train.txt, val.txt                   names of sequences
    JPEGImages/480p/<sequence>/00000.jpg
    Annotations/480p/<sequence>/00000.png               a palette picture: number of the object, 0 none, 255 undecided
    davis_text_annotations/Davis17_annot1.txt           for track_text; lines such as `bear 1 "a brown bear"`
    davis_text_annotations/Davis17_annot1_full_video.txt, Davis17_annot2.txt, Davis17_annot2_full_video.txt

Feeds step 1.2 (`track_mark`: the object by its mask in the first frame; `track_text`: by an expression)
and scores J&F. For research, CC BY-NC 4.0.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.adapters import _clips as clips
from train.data.adapters._clips import Track
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import read_lines, read_raw_image, within
from train.data.adapters._frames import frame_paths, read_sequence, uniform
from train.data.adapters._tracks import sequence_names
from train.data.sample import BoolMask, Sample
from vitron.regions import box_of

_UNDECIDED = 255
# The second annotator's files are in another encoding.
_EXPRESSIONS = {
    "Davis17_annot1": "utf-8-sig",
    "Davis17_annot1_full_video": "utf-8-sig",
    "Davis17_annot2": "latin-1",
    "Davis17_annot2_full_video": "latin-1",
}
_LINE = re.compile(r'(\S+) (\d+) "(.+)"')


class _Object(NamedTuple):
    """An object of a sequence, and what it is called if that is asked."""

    key: str
    sequence: str
    number: int
    expression: str | None = None


def _open(opening: Opening) -> Records[_Object]:
    path = opening.root / "ImageSets" / "2017" / f"{opening.split}.txt"
    names = sequence_names(read_lines(opening, path, "a list of sequences"))
    for name in names:
        within(opening.root, name, str(path))
    objects = _named(opening, names) if opening.task == "track_text" else _marked(opening, names)
    return Records(opening, objects, partial(_sample, opening))


def _marked(opening: Opening, names: list[str]) -> list[_Object]:
    """Return the objects of every first frame: all that a sequence has."""
    objects = []
    for name in names:
        first = frame_paths(opening, _annotations(opening, name), (".png",))[0]
        numbers = np.setdiff1d(_read_numbers(opening, first), (0, _UNDECIDED)).tolist()
        objects += [_Object(f"{name}/{number}", name, number) for number in numbers]
    return objects


def _named(opening: Opening, names: list[str]) -> list[_Object]:
    wanted = set(names)
    objects = []
    for file, encoding in _EXPRESSIONS.items():
        path = opening.root / "davis_text_annotations" / f"{file}.txt"
        for place, line in enumerate(read_lines(opening, path, "expressions", encoding)):
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise ValueError(f'{path}: line {place + 1}: got {line!r}, expected a line such as bear 1 "a bear"')
            name, number, expression = match[1], int(match[2]), match[3]
            if name in wanted:
                objects.append(_Object(f"{name}/{number}/{file}", name, number, expression))
    return objects


def _annotations(opening: Opening, name: str) -> Path:
    return opening.root / "Annotations" / "480p" / name


def _read_numbers(opening: Opening, path: Path) -> npt.NDArray[np.uint8]:
    """Return the number of the object at every pixel."""
    picture = read_raw_image(opening, path)
    if picture.mode not in ("P", "L"):
        raise ValueError(f"{path}: got a picture of mode {picture.mode}, expected a palette of object numbers")
    return np.asarray(picture)


def _sample(opening: Opening, thing: _Object, rng: Rng) -> Sample:
    id = opening.id(thing.key)
    paths = frame_paths(opening, opening.root / "JPEGImages" / "480p" / thing.sequence)
    frames = read_sequence(opening, paths, uniform(len(paths), opening.num_frames))
    masks = _masks(opening, thing, [paths[number].stem for number in frames.numbers], frames.clip.shape[1:3])
    return clips.track_masks(id, rng, frames, masks, _track(masks), thing.expression)


def _masks(opening: Opening, thing: _Object, stems: list[str], size: tuple[int, ...]) -> BoolMask:
    masks = []
    for stem in stems:
        path = _annotations(opening, thing.sequence) / f"{stem}.png"
        numbers = _read_numbers(opening, path)
        if numbers.shape != size:
            raise ValueError(f"{path}: got {numbers.shape} pixels, expected {size}, the size of its frame")
        masks.append(numbers == thing.number)
    return np.stack(masks)


def _track(masks: BoolMask) -> Track:
    track = np.zeros((len(masks), 4), dtype=np.float32)
    for frame, mask in enumerate(masks):
        if mask.any():
            track[frame] = box_of(mask)
    return track


DATA_SETS = {
    "davis": DataSet(
        tasks=("track_mark", "track_text"),
        splits=("train", "val"),
        home="https://davischallenge.org/davis2017/code.html",
        open=_open,
    )
}
