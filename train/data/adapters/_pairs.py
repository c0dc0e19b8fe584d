"""Pairs of a picture and its text, as img2dataset writes them: folders of files, or webdataset shards.

    00000/000000000.jpg, 00000/000000000.txt      `--output_format files`
    00000.tar holding 000000000.jpg, .txt, .json  `--output_format webdataset`

Shards are read in place: opening a data set reads the header of every member once, a sample seeks to its own bytes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from train.data.adapters import _dialogue as dialogue
from train.data.adapters._dataset import Opening, Rng
from train.data.adapters._files import Blob, Slice, describe, existing, read_bytes, read_image
from train.data.sample import Sample

_PICTURES = ("jpg", "jpeg", "png", "webp")


class Pair(NamedTuple):
    """A picture and the file that holds its caption, or the caption itself."""

    key: str
    image: Blob
    text: Blob | str


class Pairs(NamedTuple):
    """What a folder holds, and how many of its captions are empty."""

    found: list[Pair]
    empty: int


def find_pairs(opening: Opening, folder: Path) -> Pairs:
    """Find the pairs under `folder`: in its shards, or if there are none in the folders that it holds.

    Raises:
        FileNotFoundError: there is neither a shard nor a folder.
        ValueError: a shard is broken, or a picture or a text lacks its other half.
    """
    shards = sorted(existing(opening, folder, "a folder of shards (*.tar), or of folders of pictures").glob("*.tar"))
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    if not shards and not folders:
        what = f"shards (*.tar), or folders of pictures, in {folder}"
        raise FileNotFoundError(f"{opening.name}: expected {what}; get it from {opening.home}")
    found: list[Pair] = []
    empty = 0
    for place in shards or folders:
        members = _in_shard(place) if shards else _in_folder(place)
        for key, parts in _by_key(members).items():
            pair = _pair(f"{place.name.removesuffix('.tar')}/{key}", parts, place)
            if _size(parts["txt"]):
                found.append(pair)
            else:
                empty += 1
    return Pairs(found, empty)


def pair_sample(opening: Opening, pair: Pair, rng: Rng) -> Sample:
    """Make a sample of a pair: `caption`, or `generate`."""
    make = dialogue.caption if opening.task == "caption" else dialogue.generate
    return make(opening.id(pair.key), rng, read_image(opening, pair.image), [_caption(opening, pair)])


def _caption(opening: Opening, pair: Pair) -> str:
    if isinstance(pair.text, str):
        return pair.text
    try:
        text = read_bytes(opening, pair.text, "a caption").decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{describe(pair.text)}: not UTF-8 ({error})") from error
    if not text:
        raise ValueError(f"{describe(pair.text)}: got white space, expected a caption")
    return text


def _in_shard(path: Path) -> Iterator[tuple[str, Blob]]:
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                if member.isfile():
                    yield member.name, Slice(path, member.offset_data, member.size, member.name)
    except tarfile.TarError as error:
        raise ValueError(f"{path}: not an uncompressed tar, or cut short ({error})") from error


def _in_folder(folder: Path) -> Iterator[tuple[str, Blob]]:
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path.name, path


def _by_key(members: Iterator[tuple[str, Blob]]) -> dict[str, dict[str, Blob]]:
    """Group files as webdataset does: the key is the name up to the first dot of its last part."""
    groups: dict[str, dict[str, Blob]] = {}
    for name, blob in members:
        folder, slash, base = name.rpartition("/")
        stem, _, suffix = base.partition(".")
        kind = "picture" if suffix.lower() in _PICTURES else suffix.lower()
        if stem and kind in ("picture", "txt"):
            parts = groups.setdefault(f"{folder}{slash}{stem}", {})
            if kind in parts:
                raise ValueError(f"{describe(blob)}: got a second {kind} of this name, expected one")
            parts[kind] = blob
    return groups


def _pair(key: str, parts: dict[str, Blob], place: Path) -> Pair:
    missing = {"picture", "txt"} - set(parts)
    if missing:
        raise ValueError(f"{place}: got {key} without its {missing.pop()}, expected a picture and a .txt")
    return Pair(key, parts["picture"], parts["txt"])


def _size(blob: Blob) -> int:
    return blob.stat().st_size if isinstance(blob, Path) else blob.size
