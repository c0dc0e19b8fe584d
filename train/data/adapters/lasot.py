"""LaSOT: one object in a long video, with a sentence that names it.

From http://vision.cs.stonybrook.edu/~lasot. Expected under `root`:

    training_set.txt, testing_set.txt           names of sequences, for the splits `train` and `test`
    airplane/airplane-1/img/00000001.jpg
    airplane/airplane-1/groundtruth.txt         x,y,width,height, a line a frame
    airplane/airplane-1/full_occlusion.txt      0 or 1 for every frame, on one line
    airplane/airplane-1/out_of_view.txt
    airplane/airplane-1/nlp.txt                 a sentence

The object counts as seen where it is neither fully occluded nor out of view. Coordinates are taken from 0, as the
tracking toolkits do. Feeds step 2.2: `video_grounding` (by the sentence), `video_grounding_mark` (by its box in the
first frame), `video_grounded_caption`. For research; the videos are from YouTube under Creative Commons.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from train.data.adapters import _clips as clips
from train.data.adapters import _wording as words
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._dialogue import mention
from train.data.adapters._files import read_lines, read_text, within
from train.data.adapters._frames import frame_paths, read_sequence, uniform
from train.data.adapters._tracks import make_track, mark_first, read_corners, read_flags, sequence_names
from train.data.sample import Sample
from train.data.shapes.wording import pick

_LISTS = {"train": "training_set.txt", "test": "testing_set.txt"}


def _open(opening: Opening) -> Records[str]:
    path = opening.root / _LISTS[opening.split]
    names = sequence_names(read_lines(opening, path, "a list of sequences"))
    for name in names:
        within(opening.root, _place(name), str(path))
    return Records(opening, names, partial(_sample, opening))


def _place(name: str) -> str:
    """Return where a sequence lies: `airplane-1` in the folder of its class."""
    return f"{_class_of(name)}/{name}"


def _class_of(name: str) -> str:
    return name.rpartition("-")[0]


def _sample(opening: Opening, name: str, rng: Rng) -> Sample:
    id, folder = opening.id(name), opening.root / _place(name)
    paths = frame_paths(opening, folder / "img")
    frames = read_sequence(opening, paths, uniform(len(paths), opening.num_frames))
    numbers, (height, width) = frames.numbers, frames.clip.shape[1:3]
    corners = read_corners(opening, folder / "groundtruth.txt", len(paths))
    hidden = [read_flags(opening, folder / file, len(paths)) for file in ("full_occlusion.txt", "out_of_view.txt")]
    track = make_track(corners[numbers], ~(hidden[0] | hidden[1])[numbers], height, width)
    if opening.task == "video_grounding_mark":
        mark = mark_first(track, frames.clip, id)
        return clips.video_grounding(id, rng, frames, pick(words.REGION, rng), track, mark)
    sentence = _sentence(opening, folder / "nlp.txt")
    if opening.task == "video_grounding":
        return clips.video_grounding(id, rng, frames, mention(sentence), track)
    return clips.video_grounded_caption(id, rng, frames, sentence, _class_of(name), track)


def _sentence(opening: Opening, path: Path) -> str:
    text = read_text(opening, path, "a sentence about the object")
    if not text:
        raise ValueError(f"{path}: got an empty file, expected a sentence about the object")
    return text


DATA_SETS = {
    "lasot": DataSet(
        tasks=("video_grounding", "video_grounding_mark", "video_grounded_caption"),
        splits=("train", "test"),
        home="http://vision.cs.stonybrook.edu/~lasot",
        open=_open,
    )
}
