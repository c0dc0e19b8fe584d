"""WebVid: short stock videos with their captions.

From https://github.com/m-bain/webvid, lists of addresses. Expected under `root`:

    results_2M_train.csv, results_2M_val.csv            of `webvid`
    results_10M_train.csv, results_10M_val.csv          of `webvid_10m`
    videos/<page_dir>/<videoid>.mp4                     as its download.py stores them

The columns are videoid, contentUrl, duration, page_dir and name, which is the caption. Videos disappear from the web:
rows without a file, and rows without a `page_dir`, are left out and counted. Feeds steps 1.1 (`video_caption`), 1.2 and
1.3 (`video_generate`). The list was published for non-commercial research and withdrawn later; the videos belong to
their owners.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from train.data.adapters import _clips as clips
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._files import existing, get_text, within
from train.data.adapters._video import read_video
from train.data.sample import Sample

_FILES = {"webvid": "results_2M", "webvid_10m": "results_10M"}
_COLUMNS = {"videoid", "page_dir", "name"}


class _Captioned(NamedTuple):
    """A video and its caption."""

    key: str
    path: Path
    caption: str


def _open(opening: Opening) -> Records[_Captioned]:
    folder = existing(opening, opening.root / "videos", "a folder of videos")
    present: dict[str, frozenset[str]] = {}
    left_out: Counter[str] = Counter()
    records = []
    for where, row in _rows(opening, opening.root / f"{_FILES[opening.name]}_{opening.split}.csv"):
        page, video = (row["page_dir"] or "").strip(), get_text(row, "videoid", where)
        if not page:
            left_out["rows without page_dir"] += 1
            continue
        path = within(folder, f"{page}/{video}.mp4", where)
        # One listing a folder: a look-up for each of millions of files takes hours on a network's storage.
        if page not in present:
            present[page] = frozenset(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else frozenset()
        if path.name in present[page]:
            records.append(_Captioned(f"{page}/{video}", path, get_text(row, "name", where)))
        else:
            left_out["videos that are not there"] += 1
    return Records(opening, records, partial(_sample, opening), left_out)


def _rows(opening: Opening, path: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    with existing(opening, path, "a list of videos").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        try:
            missing = _COLUMNS - set(rows.fieldnames or ())
            if missing:
                raise ValueError(f"{path}: got columns {rows.fieldnames}, expected {', '.join(sorted(_COLUMNS))}")
            for row in rows:
                yield f"{path}: line {rows.line_num}", row
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: line {rows.line_num}: {error}") from error


def _sample(opening: Opening, record: _Captioned, rng: Rng) -> Sample:
    id, frames = opening.id(record.key), read_video(opening, record.path)
    if opening.task == "video_caption":
        return clips.video_caption(id, rng, frames, [record.caption])
    return clips.video_generate(id, rng, frames, record.caption)


DATA_SETS = {
    name: DataSet(
        tasks=("video_caption", "video_generate"),
        splits=("train", "val"),
        home="https://github.com/m-bain/webvid",
        open=_open,
    )
    for name in _FILES
}
