"""LAION-400M, or any subset of LAION: pictures of the web with their alternative texts.

From https://laion.ai/blog/laion-400-open-dataset, lists of addresses; the pictures are fetched with img2dataset.
Expected under `root`, the output folder of img2dataset, one of

    00000.tar           webdataset shards; the .parquet and _stats.json beside them are not read
    00000/000000000.jpg and .txt

There is one split, `train`. Pairs with an empty caption are left out. Filter by the flags of the list (`NSFW`,
`similarity`) before fetching: nothing is filtered here. Feeds steps 1.2 and 1.3 (`generate`) and 1.1 (`caption`). The
list is CC BY 4.0; each picture has its owner's terms.
"""

from __future__ import annotations

from functools import partial

from train.data.adapters._dataset import DataSet, Opening, Records
from train.data.adapters._pairs import Pair, find_pairs, pair_sample


def _open(opening: Opening) -> Records[Pair]:
    pairs = find_pairs(opening, opening.root)
    return Records(opening, pairs.found, partial(pair_sample, opening), {"empty captions": pairs.empty})


DATA_SETS = {
    "laion": DataSet(
        tasks=("generate", "caption"),
        splits=("train",),
        home="https://laion.ai/blog/laion-400-open-dataset",
        open=_open,
    )
}
