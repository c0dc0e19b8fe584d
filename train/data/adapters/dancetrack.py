"""DanceTrack: dancers who look alike and move together.

From https://github.com/DanceTrack/DanceTrack. Expected under `root`, the unpacked archives:

    train/dancetrack0001/seqinfo.ini, train/dancetrack0001/img1/00000001.jpg, train/dancetrack0001/gt/gt.txt, ...

Splits are `train` and `val`: the tracks of `test` are not public. Frames count from 1; coordinates are taken from 0, as
its own converter does. Every line of gt.txt is a dancer (flag, class and visibility are 1). Feeds step 2.2
(`video_grounding_mark`). Annotations are CC BY 4.0; the videos are for non-commercial research.
"""

from __future__ import annotations

from functools import partial

from train.data.adapters._dataset import DataSet
from train.data.adapters._mot import open_people

DATA_SETS = {
    "dancetrack": DataSet(
        tasks=("video_grounding_mark",),
        splits=("train", "val"),
        home="https://github.com/DanceTrack/DanceTrack",
        open=partial(open_people, first_pixel=0),
    )
}
