"""Real data sets by name. Knows their names and modules; `train.data.adapters` knows their files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol

from train.data.adapters._dataset import DataSet, Opening
from train.data.sample import Sample

_PACKAGE = "train.data.adapters"
# Imported when opened: reading pictures must not need what reading videos needs.
MODULES: dict[str, str] = {
    "llava": "llava",
    "cc3m": "cc3m",
    "laion": "laion",
    "coco": "coco",
    "refcoco": "refcoco",
    "refcoco+": "refcoco",
    "refcocog": "refcoco",
    "refcoco_google": "refcoco",
    "refcocog_google": "refcoco",
    "grefcoco": "refcoco",
    "flickr30k_entities": "flickr30k_entities",
    "visual_genome": "visual_genome",
    "okvqa": "okvqa",
    "gqa": "gqa",
    "magicbrush": "magicbrush",
    "webvid": "webvid",
    "webvid_10m": "webvid",
    "activitynet_qa": "activitynet_qa",
    "lasot": "lasot",
    "got10k": "got10k",
    "dancetrack": "dancetrack",
    "mot16": "mot16",
    "davis": "davis",
}
"""Data set to the module of `train.data.adapters` that reads it (docs/data.md)."""


class Source(Protocol):
    """Samples by index. The same index gives the same sample, whatever was read before.

    Attributes:
        left_out: what of the data set cannot become a sample, with its number (docs/data.md).
    """

    left_out: dict[str, int]

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Read one sample; media are decoded now.

        Raises:
            IndexError: beyond the last sample.
            FileNotFoundError: a file that the index names is missing.
            ValueError: a record or a file is malformed.
        """
        ...


def data_set(name: str) -> DataSet:
    """Return what a data set offers.

    Raises:
        ValueError: nothing here reads it.
    """
    if name not in MODULES:
        raise ValueError(f"name: got {name!r}, expected one of {', '.join(MODULES)}")
    found: DataSet = import_module(f"{_PACKAGE}.{MODULES[name]}").DATA_SETS[name]
    return found


def open_source(
    name: str, root: str | Path, split: str, *, task: str | None = None, seed: int = 0, num_frames: int | None = 8
) -> Source:
    """Open one split of a data set.

    Args:
        name: a key of `MODULES`.
        root: the folder of the data set; its module says which files it expects.
        split: one of `data_set(name).splits`; if there are none, a name that the data set's module explains.
        task: one of `data_set(name).tasks`; None: the first of them.
        seed: draws the wording of requests and replies.
        num_frames: frames of a clip, spread evenly over the video; None: all of them.

    Raises:
        ValueError: an unknown name, split or task, or a malformed index.
        FileNotFoundError: a file of the index is missing.
    """
    offered = data_set(name)
    task = offered.tasks[0] if task is None else task
    for field, given, allowed in (("split", split, offered.splits), ("task", task, offered.tasks)):
        if allowed and given not in allowed:
            raise ValueError(f"{field}: got {given!r} for {name}, expected one of {', '.join(allowed)}")
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{name}: expected a folder at {root}; get the data from {offered.home}")
    opening = Opening(
        name=name, root=Path(root), split=split, task=task, home=offered.home, seed=seed, num_frames=num_frames
    )
    return offered.open(opening)
