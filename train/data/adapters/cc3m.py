"""CC3M (Conceptual Captions): pictures of the web with their cleaned alternative texts.

From https://ai.google.com/research/ConceptualCaptions/download, a list of addresses; the pictures are fetched with
img2dataset. Expected under `root`, for each split one of

    train/chat.json, train/images/*.jpg         LLaVA-CC3M-Pretrain-595K as it is published (images.zip unpacked)
    train/00000/000000000.jpg and .txt          img2dataset, files
    train/00000.tar                             img2dataset, webdataset shards

and the same under `validation`. Of `chat.json` the caption is the first reply. Pairs with an empty caption are left
out. Feeds step 1.1 (`caption`), 1.2 and 1.3 (`generate`). The list may be used freely; each picture has its owner's
terms.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from train.data.adapters._dataset import DataSet, Opening, Records
from train.data.adapters._files import as_list, existing, get, get_text, read_json, within
from train.data.adapters._pairs import Pair, Pairs, find_pairs, pair_sample


def _open(opening: Opening) -> Records[Pair]:
    folder = existing(opening, opening.root / opening.split, "a folder of the split")
    chat = folder / "chat.json"
    pairs = Pairs(_from_chat(opening, chat), 0) if chat.exists() else find_pairs(opening, folder)
    return Records(opening, pairs.found, partial(pair_sample, opening), {"empty captions": pairs.empty})


def _from_chat(opening: Opening, path: Path) -> list[Pair]:
    pairs: dict[str, Pair] = {}
    for number, record in enumerate(as_list(read_json(opening, path, "conversations"), str(path))):
        where = f"{path}: [{number}]"
        key = get_text(record, "id", where)
        if key in pairs:
            raise ValueError(f"{where}: got id = {key!r} a second time, expected every id once")
        image = within(path.parent / "images", get_text(record, "image", where), where)
        turns = get(record, "conversations", list, where)
        replies = [get_text(turn, "value", where) for turn in turns if get(turn, "from", str, where) == "gpt"]
        if not replies:
            raise ValueError(f"{where}: got no turn from 'gpt', expected one with the caption")
        pairs[key] = Pair(key, image, replies[0])
    return list(pairs.values())


DATA_SETS = {
    "cc3m": DataSet(
        tasks=("caption", "generate"),
        splits=("train", "validation"),
        home="https://ai.google.com/research/ConceptualCaptions/download",
        open=_open,
    )
}
