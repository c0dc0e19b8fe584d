"""Reading the files of a data set: what is missing or malformed is an error that says which file and record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from train.data.adapters._dataset import Opening
from train.data.sample import Image
from vitron.media import ImageLimits, MediaError, decode_image, open_picture

T = TypeVar("T")
_LIMITS = ImageLimits(max_bytes=100 * 2**20)


class Slice(NamedTuple):
    """Bytes inside a larger file, such as a member of a tar."""

    path: Path
    start: int
    size: int
    name: str


Blob = Path | Slice


def existing(opening: Opening, path: Path, what: str) -> Path:
    """Return `path`, or raise FileNotFoundError saying what is expected there and where to get it."""
    if not path.exists():
        raise FileNotFoundError(f"{opening.name}: expected {what} at {path}; get it from {opening.home}")
    return path


def within(folder: Path, name: str, where: str) -> Path:
    """Return `folder / name`; ValueError if `name`, which comes from the data, leads out of `folder`."""
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{where}: got the file name {name!r}, expected one inside {folder}")
    return folder / name


def read_json(opening: Opening, path: Path, what: str) -> Any:
    """Return what a JSON file holds; ValueError naming the file if it is broken."""
    try:
        return json.loads(existing(opening, path, what).read_text(encoding="utf-8"))
    except ValueError as error:  # broken JSON, or no UTF-8
        raise ValueError(f"{path}: not JSON ({error})") from error


def read_text(opening: Opening, path: Path, what: str, encoding: str = "utf-8-sig") -> str:
    """Return a text file without white space around it; ValueError naming the file if it is in another encoding."""
    try:
        return existing(opening, path, what).read_text(encoding=encoding).strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not {encoding} text ({error})") from error


def read_lines(opening: Opening, path: Path, what: str, encoding: str = "utf-8-sig") -> list[str]:
    """Return the lines of a text file without line ends and without empty lines at its ends."""
    text = read_text(opening, path, what, encoding)
    # Not `splitlines`, which also cuts at signs that stand inside captions, such as U+2028.
    return text.replace("\r\n", "\n").split("\n") if text else []


def read_ini(opening: Opening, path: Path, section: str) -> Mapping[str, str]:
    """Return a section of an .ini file, its keys in lower case; ValueError naming the file if there is none."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(opening, path, f"a file with a section [{section}]"))
    except ConfigError as error:
        raise ValueError(f"{path}: {error}") from error
    if section not in parser:
        raise ValueError(f"{path}: got sections {parser.sections()}, expected [{section}]")
    return parser[section]


def read_table(opening: Opening, path: Path, what: str, columns: int) -> npt.NDArray[np.float64]:
    """Return a file of comma-separated numbers as `[rows, columns or more]`; ValueError if there are fewer."""
    lines = read_lines(opening, path, what)
    try:
        table = np.loadtxt(lines, delimiter=",", ndmin=2, dtype=np.float64) if lines else np.zeros((0, columns))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if table.shape[1] < columns:
        raise ValueError(f"{path}: got {table.shape[1]} columns, expected {columns} or more")
    return table


def read_bytes(opening: Opening, blob: Blob, what: str) -> bytes:
    """Return the bytes of a file or of a part of one."""
    if isinstance(blob, Path):
        return existing(opening, blob, what).read_bytes()
    with existing(opening, blob.path, what).open("rb") as file:
        file.seek(blob.start)
        data = file.read(blob.size)
    if len(data) != blob.size:
        raise ValueError(f"{describe(blob)}: got {len(data)} bytes, expected {blob.size}; the file is cut short")
    return data


def read_image(opening: Opening, blob: Blob) -> Image:
    """Decode a picture to RGB; ValueError naming the file if it is broken (it is never left out silently)."""
    try:
        return decode_image(read_bytes(opening, blob, "a picture"), _LIMITS)
    except MediaError as error:
        raise ValueError(f"{describe(blob)}: {error}") from error


def read_raw_image(opening: Opening, path: Path) -> PillowImage.Image:
    """Decode a picture in its own colour mode: indices of a palette, or an alpha channel."""
    try:
        return open_picture(read_bytes(opening, path, "a mask picture"), _LIMITS)
    except MediaError as error:
        raise ValueError(f"{path}: {error}") from error


def describe(blob: Blob) -> str:
    """Name a file, or a member of a file, for messages."""
    return str(blob) if isinstance(blob, Path) else f"{blob.path}:{blob.name}"


def get(record: object, key: str, kind: type[T], where: str) -> T:
    """Return a field of a record; ValueError naming `where` unless it is there and of type `kind`."""
    if not isinstance(record, Mapping) or key not in record:
        raise ValueError(f"{where}: got no {key}, expected {kind.__name__}")
    value = record[key]
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ValueError(f"{where}: got {key} = {value!r}, expected {kind.__name__}")
    return value


def get_text(record: object, key: str, where: str) -> str:
    """Return a text field of a record; ValueError if it is missing or empty."""
    value = get(record, key, str, where).strip()
    if not value:
        raise ValueError(f"{where}: got {key} = {value!r}, expected text")
    return value


def get_numbers(record: object, key: str, count: int, where: str) -> list[float]:
    """Return a field that is a list of `count` finite numbers."""
    value = get(record, key, list, where)
    if len(value) != count or not all(_is_number(item) for item in value):
        raise ValueError(f"{where}: got {key} = {value!r}, expected {count} numbers")
    return [float(item) for item in value]


def get_number(record: object, key: str, where: str) -> float:
    """Return a field that is a finite number."""
    value = get(record, key, object, where)
    if not isinstance(value, int | float) or not _is_number(value):
        raise ValueError(f"{where}: got {key} = {value!r}, expected a number")
    return float(value)


def as_list(value: object, where: str) -> list[Any]:
    """Return a list, or raise ValueError."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: got {type(value).__name__}, expected a list")
    return value


def as_mapping(value: object, where: str) -> dict[str, Any]:
    """Return a JSON object, or raise ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: got {type(value).__name__}, expected an object")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
