"""Shapes scenes as the generation training reads them: latents, texts and boxes, computed once.

Kept as memory-mapped arrays in a folder whose name says what they were made from.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from train.data.caches import filled
from train.data.shapes import captions, requests
from train.data.shapes.render import boxes, render
from train.data.shapes.scene import COLORS, HEIGHT, MAX_OBJECTS, SHAPES, SIZES, WIDTH, Scene, scene_at
from train.order import load
from train.precision import mixed_precision
from vitron.diffusion.latents import LatentCodec, to_pixels
from vitron.specialists.text_condition import TextCondition
from vitron.types import Image

VERSION = 1
"""Of what is computed: a change of the Shapes world, of the texts or of the arrays raises it."""

PHRASES: tuple[str, ...] = tuple(
    " ".join(words)
    for size in (*SIZES, "")
    for color in COLORS
    for shape in SHAPES
    if (words := [word for word in (size, color, shape) if word])
)
"""Every name of an object, with and without its size: what boxes are labelled with."""

NUM_FULL = 3
"""Text pairs of a scene whose instruction says all; the pair after them says too little."""

CHUNK = 64
SAY_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentCache:
    """K scenes; every array is indexed by scene. Crosses to another process by its folder's name.

    Attributes:
        folder: where the arrays are kept.
        latents: float16 [K, C, h, w], scaled.
        texts: int16 [K, NUM_FULL + 1, 2, T], token ids of (instruction, full description) pairs.
        boxes: float32 [K, MAX_OBJECTS, 4], zeros where there is no object.
        phrases: int16 [K, MAX_OBJECTS, 2], rows of `PHRASES` with and without the size; -1: no object.
    """

    folder: Path
    latents: npt.NDArray[np.float16]
    texts: npt.NDArray[np.int16]
    boxes: npt.NDArray[np.float32]
    phrases: npt.NDArray[np.int16]

    @classmethod
    def open(cls, folder: Path) -> LatentCache:
        """Map the arrays of a folder into memory."""
        names = ("latents", "texts", "boxes", "phrases")
        return cls(folder=folder, **{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names})

    def __reduce__(self) -> tuple[Callable[[Path], LatentCache], tuple[Path]]:
        return LatentCache.open, (self.folder,)

    def __len__(self) -> int:
        """Return K."""
        return len(self.latents)


def text_pairs(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return (what the instruction says, what is meant) for a scene, the underspecified pair last."""
    asked = [requests.ask(scene, rng) for _ in range(NUM_FULL - 1)]
    pairs = [(ask.text, ask.canonical) for ask in asked]
    pairs.append((captions.caption(scene, rng), captions.canonical_caption(scene)))
    return [*pairs, _underspecified(scene, rng)]


def _underspecified(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """The wordings of requests that point at a picture: only the signal can say what is meant."""
    if len(scene.objects) > 1 or rng.random() < 0.15:
        return "a picture like this one", captions.canonical_caption(scene)
    obj = scene.objects[0]
    alone = captions.with_background(captions.article(captions.describe(obj)), scene)
    name = captions.article(captions.name(obj))
    options = (
        ("another one like it", alone),
        (f"{obj.shape} in the same color", name),
        (f"{obj.color} object of the same shape", name),
    )
    return options[int(rng.integers(len(options)))]


def build(
    cache: Path,
    num_scenes: int,
    codec: LatentCodec,
    text: TextCondition,
    workers: int = 0,
    say: Callable[[str], None] | None = None,
) -> LatentCache:
    """Open what was computed of `num_scenes` training scenes with these weights, computing it first if nobody has.

    Args:
        cache: folder that holds such caches, each in a folder named by a hash of what it was made from.
        num_scenes: how many.
        codec: makes the latents.
        text: its tokenizer makes the token ids.
        workers: processes that draw scenes; 0: this one.
        say: takes lines of progress; default: standard output.
    """
    fill = functools.partial(_fill, num_scenes=num_scenes, codec=codec, text=text, workers=workers, say=say or _print)
    return LatentCache.open(filled(cache, f"shapes-latents-{key(num_scenes, codec, text)}", fill))


def key(num_scenes: int, codec: LatentCodec, text: TextCondition) -> str:
    """Return a short hash of all that a cache is made from."""
    digest = hashlib.sha256(f"{VERSION} {num_scenes} {text.length}".encode())
    digest.update(json.dumps(text.tokenizer.get_vocab(), sort_keys=True).encode())
    for name, value in sorted(codec.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _print(line: str) -> None:
    print(line, flush=True)


def _fill(
    folder: Path, num_scenes: int, codec: LatentCodec, text: TextCondition, workers: int, say: Callable[[str], None]
) -> None:
    sizes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "latents": (np.float16, codec_shape(codec)),
        "texts": (np.int16, (NUM_FULL + 1, 2, text.length)),
        "boxes": (np.float32, (MAX_OBJECTS, 4)),
        "phrases": (np.int16, (MAX_OBJECTS, 2)),
    }
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(num_scenes, *rest))
        for name, (dtype, rest) in sizes.items()
    }
    said = time.monotonic()
    for drawn in load(_Draws(num_scenes), range(-(-num_scenes // CHUNK)), workers):
        rows = slice(drawn.indices.start, drawn.indices.stop)
        arrays["latents"][rows] = _latents(codec, drawn.pictures)
        arrays["boxes"][rows], arrays["phrases"][rows] = drawn.boxes, drawn.phrases
        ids = text.tokenize(drawn.texts).numpy().astype(np.int16)
        arrays["texts"][rows] = ids.reshape(len(drawn.indices), NUM_FULL + 1, 2, text.length)
        if rows.stop == num_scenes or time.monotonic() - said > SAY_SECONDS:
            say(f"latents of {rows.stop} of {num_scenes} scenes computed")
            said = time.monotonic()
    for array in arrays.values():
        array.flush()


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """Some scenes: what needs no weights."""

    indices: range
    pictures: list[Image]
    boxes: npt.NDArray[np.float32]
    phrases: npt.NDArray[np.int16]
    texts: list[str]


class _Draws(NamedTuple):
    """Draws scenes, `CHUNK` at a time. Goes to loader processes."""

    num_scenes: int

    def __call__(self, number: int) -> _Drawn:
        indices = range(number * CHUNK, min((number + 1) * CHUNK, self.num_scenes))
        scenes = [scene_at("train", index) for index in indices]
        places, names = _objects(scenes)
        texts: list[str] = []
        for scene, index in zip(scenes, indices, strict=True):
            for pair in text_pairs(scene, np.random.default_rng([11, index])):
                texts += pair
        pictures = [render(scene) for scene in scenes]
        return _Drawn(indices=indices, pictures=pictures, boxes=places, phrases=names, texts=texts)


def codec_shape(codec: LatentCodec) -> tuple[int, int, int]:
    """Return the shape of a Shapes picture's latent."""
    return codec.channels, HEIGHT // codec.downscale, WIDTH // codec.downscale


@torch.no_grad()
def _latents(codec: LatentCodec, pictures: list[Image]) -> npt.NDArray[np.float32]:
    device = codec.scaling_factor.device
    pixels = to_pixels(pictures).to(device)
    with mixed_precision(device.type):
        latents = codec.encode(pixels)
    return latents.float().cpu().numpy()


def _objects(scenes: list[Scene]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int16]]:
    places = np.zeros((len(scenes), MAX_OBJECTS, 4), np.float32)
    names = np.full((len(scenes), MAX_OBJECTS, 2), -1, np.int16)
    for row, scene in enumerate(scenes):
        places[row, : len(scene.objects)] = boxes(scene)
        for column, obj in enumerate(scene.objects):
            both = (captions.describe(obj), captions.name(obj))
            names[row, column] = [PHRASES.index(name) for name in both]
    return places, names
