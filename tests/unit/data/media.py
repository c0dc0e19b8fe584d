"""Small pictures, videos and files for tests of data sets."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

HEIGHT, WIDTH = 24, 32
"""Size of the pictures."""
STEP = 12
"""Frame `n` of a video is gray of brightness `STEP * (n + 1)`: it tells its number."""


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    """Return a noisy picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, image: npt.NDArray[np.uint8], mode: str | None = None) -> None:
    """Write a picture in the format of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(image)
    if mode == "P":
        made.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    made.save(path)


def load(path: Path) -> npt.NDArray[np.uint8]:
    """Read a picture, by Pillow alone."""
    return np.asarray(Image.open(path).convert("RGB"))


def encoded(image: npt.NDArray[np.uint8], format_: str = "PNG") -> bytes:
    """Return the bytes of a picture file."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format_)
    return buffer.getvalue()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    write(path, json.dumps(content))


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, BytesIO(data))


def gray(number: int, height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    """Return frame `number` of a test video."""
    return np.full((height, width, 3), STEP * (number + 1), dtype=np.uint8)


def save_frames(folder: Path, count: int, first: int = 1, digits: int = 8) -> None:
    """Write frames as numbered JPEGs."""
    for number in range(count):
        save(folder / f"{number + first:0{digits}d}.jpg", gray(number))


def save_video(path: Path, count: int, codec: str = "libx264", height: int = HEIGHT, width: int = WIDTH) -> None:
    """Write a video; its encoder may reorder frames, as real ones do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(gray(number, height, width), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def numbers_of(clip: npt.NDArray[np.uint8]) -> list[int]:
    """Return the numbers that the frames of a clip tell."""
    return [round(float(frame.mean()) / STEP) - 1 for frame in clip]
