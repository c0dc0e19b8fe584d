"""GOT-10k: one object of one of 563 classes in a short video.

From http://got-10k.aitestunion.com. Expected under `root`:

    train/list.txt                                      names of sequences; `val` likewise
    train/GOT-10k_Train_000001/00000001.jpg
    train/GOT-10k_Train_000001/groundtruth.txt          x,y,width,height, a line a frame
    train/GOT-10k_Train_000001/absence.label            1 where the object is absent, a line a frame
    train/GOT-10k_Train_000001/meta_info.ini            [METAINFO] with object_class and more

Splits are `train` and `val`: of `test` only the first boxes are public. Coordinates are taken from 0, as its toolkit
does. Feeds step 2.2: `video_grounding` (the object by its class), `video_grounding_mark` (by its box in the first frame
in which it is seen). CC BY-NC-SA 4.0.
"""

from __future__ import annotations

from functools import partial

from train.data.adapters import _clips as clips
from train.data.adapters import _wording as words
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._dialogue import mention
from train.data.adapters._files import get_text, read_ini, read_lines, within
from train.data.adapters._frames import frame_paths, read_sequence, uniform
from train.data.adapters._tracks import make_track, mark_first, read_corners, read_flags, sequence_names
from train.data.sample import Sample
from train.data.shapes.wording import pick


def _open(opening: Opening) -> Records[str]:
    path = opening.root / opening.split / "list.txt"
    names = sequence_names(read_lines(opening, path, "a list of sequences"))
    for name in names:
        within(path.parent, name, str(path))
    return Records(opening, names, partial(_sample, opening))


def _sample(opening: Opening, name: str, rng: Rng) -> Sample:
    id, folder = opening.id(name), opening.root / opening.split / name
    paths = frame_paths(opening, folder)
    frames = read_sequence(opening, paths, uniform(len(paths), opening.num_frames))
    numbers, (height, width) = frames.numbers, frames.clip.shape[1:3]
    corners = read_corners(opening, folder / "groundtruth.txt", len(paths))
    absent = read_flags(opening, folder / "absence.label", len(paths))
    track = make_track(corners[numbers], ~absent[numbers], height, width)
    if opening.task == "video_grounding_mark":
        mark = mark_first(track, frames.clip, id)
        return clips.video_grounding(id, rng, frames, pick(words.REGION, rng), track, mark)
    path = folder / "meta_info.ini"
    what = get_text(read_ini(opening, path, "METAINFO"), "object_class", str(path))
    return clips.video_grounding(id, rng, frames, f"the {mention(what)}", track)


DATA_SETS = {
    "got10k": DataSet(
        tasks=("video_grounding", "video_grounding_mark"),
        splits=("train", "val"),
        home="http://got-10k.aitestunion.com/downloads",
        open=_open,
    )
}
