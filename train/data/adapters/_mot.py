"""The MOTChallenge layout: sequences in which many people are tracked at once.

    <split>/<sequence>/seqinfo.ini      [Sequence] with imDir, imExt, imWidth, imHeight, seqLength
    <split>/<sequence>/img1/*.jpg       frames, numbered from 1
    <split>/<sequence>/gt/gt.txt        frame,id,left,top,width,height,flag,class,visibility

Lines count whose flag and class are 1 (pedestrians that are to be tracked) and that are visible at all. Nothing names
a person, so that each is asked for by a mark. A track makes one sample: a window around its life, up to twice as long,
so that when somebody comes and goes has to be seen.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train.data.adapters import _clips as clips
from train.data.adapters import _wording as words
from train.data.adapters._dataset import Opening, Records, Rng
from train.data.adapters._files import existing, read_ini, read_table, within
from train.data.adapters._frames import frame_paths, read_sequence, uniform
from train.data.adapters._tracks import Corners, Numbers, make_track, mark_first
from train.data.sample import Sample
from train.data.shapes.wording import pick

_FRAME, _ID, _LEFT, _TOP, _WIDTH, _HEIGHT, _FLAG, _CLASS, _VISIBILITY = range(9)
MIN_VISIBILITY = 0.1
"""Less of a person than this counts as hidden: annotators follow people behind what covers them."""


class Video(NamedTuple):
    """A sequence: where its frames are, and what seqinfo.ini says of them."""

    name: str
    frames: Path
    suffix: str
    length: int
    height: int
    width: int


class Person(NamedTuple):
    """Where somebody is seen: numbers of frames from 0, increasing, and the box in each."""

    video: Video
    id: int
    numbers: Numbers
    corners: Corners


def open_people(opening: Opening, first_pixel: int) -> Records[Person]:
    """Open a split.

    Args:
        opening: what is to be opened.
        first_pixel: coordinate of the top left corner, 1 for MOTChallenge.
    """
    folder = existing(opening, opening.root / opening.split, "a folder of sequences")
    people: list[Person] = []
    for sequence in sorted(path for path in folder.iterdir() if path.is_dir()):
        people += _people(opening, _video(opening, sequence), sequence / "gt" / "gt.txt", first_pixel)
    return Records(opening, people, partial(_sample, opening))


def _video(opening: Opening, sequence: Path) -> Video:
    path = sequence / "seqinfo.ini"
    info = read_ini(opening, path, "Sequence")
    sizes = []
    for key in ("seqLength", "imHeight", "imWidth"):
        value = info.get(key, "")
        if not value.isdigit() or int(value) < 1:
            raise ValueError(f"{path}: got {key} = {value!r}, expected a positive number")
        sizes.append(int(value))
    suffix, frames = info.get("imExt", ".jpg"), info.get("imDir", "img1")
    return Video(sequence.name, within(sequence, frames, str(path)), suffix, *sizes)


def _people(opening: Opening, video: Video, path: Path, first_pixel: int) -> list[Person]:
    table = read_table(opening, path, "tracks", 9)
    outside = (table[:, _FRAME] < 1) | (table[:, _FRAME] > video.length)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(f"{path}: line {row + 1}: got frame {table[row, _FRAME]:g}, expected 1 to {video.length}")
    counts = (table[:, _FLAG] == 1) & (table[:, _CLASS] == 1) & (table[:, _VISIBILITY] >= MIN_VISIBILITY)
    table = table[counts]
    people = []
    for id in np.unique(table[:, _ID]):
        rows = table[table[:, _ID] == id]
        rows = rows[np.argsort(rows[:, _FRAME])]
        numbers = rows[:, _FRAME].astype(np.int64) - 1
        if (np.diff(numbers) == 0).any():
            raise ValueError(f"{path}: got id {id:g} twice in a frame, expected once")
        start = rows[:, [_LEFT, _TOP]] - first_pixel
        corners = np.concatenate([start, start + rows[:, [_WIDTH, _HEIGHT]]], axis=1)
        people.append(Person(video, int(id), numbers, corners))
    return people


def _sample(opening: Opening, person: Person, rng: Rng) -> Sample:
    video, id = person.video, opening.id(f"{person.video.name}/{person.id}")
    paths = frame_paths(opening, video.frames, (video.suffix,))
    if len(paths) != video.length:
        raise ValueError(f"{video.frames}: got {len(paths)} frames, expected {video.length}, as seqinfo.ini says")
    numbers = _window(person, opening.num_frames, rng)
    frames = read_sequence(opening, paths, numbers)
    if frames.clip.shape[1:3] != (video.height, video.width):
        expected = f"{video.height} x {video.width}, as seqinfo.ini says"
        raise ValueError(f"{video.frames}: got frames of {frames.clip.shape[1:3]} pixels, expected {expected}")
    seen = np.isin(numbers, person.numbers)
    corners = np.zeros((len(numbers), 4))
    corners[seen] = person.corners[np.searchsorted(person.numbers, numbers[seen])]
    track = make_track(corners, seen, video.height, video.width)
    return clips.video_grounding(id, rng, frames, pick(words.REGION, rng), track, mark_first(track, frames.clip, id))


def _window(person: Person, num_frames: int | None, rng: Rng) -> Numbers:
    """Return the frames of a clip: spread evenly over a person's life and up to half of it before and after."""
    first, last = int(person.numbers[0]), int(person.numbers[-1])
    margin = (last - first + 1) // 2
    before, after = (int(rng.integers(margin + 1)) for _ in range(2))
    start, end = max(first - before, 0), min(last + after, person.video.length - 1)
    numbers = start + uniform(end - start + 1, num_frames)
    # A few frames may all miss somebody who hides for long; the first frame of a life never does.
    return numbers if np.isin(numbers, person.numbers).any() else first + uniform(last - first + 1, num_frames)
