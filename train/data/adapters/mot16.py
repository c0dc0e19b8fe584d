"""MOT16: pedestrians in crowded streets.

From https://motchallenge.net/data/MOT16. Expected under `root`, the unpacked archive:

    train/MOT16-02/seqinfo.ini, train/MOT16-02/img1/000001.jpg, train/MOT16-02/gt/gt.txt, ...

There is one split, `train`: the tracks of `test` are not public. Frames and coordinates count from 1. `_mot.py` says
which lines of gt.txt are used. Feeds step 2.2 (`video_grounding_mark`). CC BY-NC-SA 3.0.
"""

from __future__ import annotations

from functools import partial

from train.data.adapters._dataset import DataSet
from train.data.adapters._mot import open_people

DATA_SETS = {
    "mot16": DataSet(
        tasks=("video_grounding_mark",),
        splits=("train",),
        home="https://motchallenge.net/data/MOT16",
        open=partial(open_people, first_pixel=1),
    )
}
