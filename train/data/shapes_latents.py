"""Shapes scenes as the generation training reads them: latents, texts and boxes, computed once.

Kept as memory-mapped arrays in a folder, beside a note of what they were made from.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from train.data.shapes import captions, requests
from train.data.shapes.render import boxes, render
from train.data.shapes.scene import COLORS, MAX_OBJECTS, SHAPES, SIZES, Scene, scene_at
from train.precision import mixed_precision
from vitron.diffusion.latents import LatentCodec, to_pixels
from vitron.specialists.text_condition import TextCondition

logger = logging.getLogger(__name__)

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


@dataclass(frozen=True, kw_only=True)
class LatentCache:
    """K scenes; every array is indexed by scene.

    Attributes:
        latents: float16 [K, C, h, w], scaled.
        texts: int16 [K, NUM_FULL + 1, 2, T], token ids of (instruction, full description) pairs.
        boxes: float32 [K, MAX_OBJECTS, 4], zeros where there is no object.
        phrases: int16 [K, MAX_OBJECTS, 2], rows of `PHRASES` with and without the size; -1: no object.
    """

    latents: npt.NDArray[np.float16]
    texts: npt.NDArray[np.int16]
    boxes: npt.NDArray[np.float32]
    phrases: npt.NDArray[np.int16]

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


def build(folder: Path, num_scenes: int, codec: LatentCodec, text: TextCondition, facts: dict[str, Any]) -> LatentCache:
    """Open the cache in `folder`, making it first unless it was made from the same `facts`."""
    note, wanted = folder / "cache.json", {"num_scenes": num_scenes, **facts}
    if not note.exists() or json.loads(note.read_text()) != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        _fill(folder, num_scenes, codec, text)
        note.write_text(json.dumps(wanted))
    return LatentCache(
        **{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("latents", "texts", "boxes", "phrases")}
    )


def _fill(folder: Path, num_scenes: int, codec: LatentCodec, text: TextCondition) -> None:
    shape = codec_shape(codec)
    sizes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "latents": (np.float16, shape),
        "texts": (np.int16, (NUM_FULL + 1, 2, text.length)),
        "boxes": (np.float32, (MAX_OBJECTS, 4)),
        "phrases": (np.int16, (MAX_OBJECTS, 2)),
    }
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(num_scenes, *rest))
        for name, (dtype, rest) in sizes.items()
    }
    for start in range(0, num_scenes, CHUNK):
        indices = range(start, min(start + CHUNK, num_scenes))
        scenes = [scene_at("train", index) for index in indices]
        rows = slice(indices.start, indices.stop)
        arrays["latents"][rows] = _latents(codec, scenes)
        arrays["texts"][rows] = _texts(text, scenes, indices)
        arrays["boxes"][rows], arrays["phrases"][rows] = _objects(scenes)
        if start // CHUNK % 50 == 0:
            logger.info("cached %d of %d scenes", start, num_scenes)
    for array in arrays.values():
        array.flush()


def codec_shape(codec: LatentCodec) -> tuple[int, int, int]:
    """Return the shape of a Shapes picture's latent."""
    side = 64 // codec.downscale
    return codec.channels, side, side


@torch.no_grad()
def _latents(codec: LatentCodec, scenes: list[Scene]) -> npt.NDArray[np.float32]:
    pixels = to_pixels([render(scene) for scene in scenes])
    with mixed_precision():
        latents = codec.encode(pixels)
    return latents.float().numpy()


def _texts(text: TextCondition, scenes: list[Scene], indices: range) -> npt.NDArray[np.int16]:
    texts: list[str] = []
    for scene, index in zip(scenes, indices, strict=True):
        for pair in text_pairs(scene, np.random.default_rng([11, index])):
            texts += pair
    ids = text.tokenize(texts).numpy().astype(np.int16)
    return ids.reshape(len(scenes), NUM_FULL + 1, 2, text.length)


def _objects(scenes: list[Scene]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int16]]:
    places = np.zeros((len(scenes), MAX_OBJECTS, 4), np.float32)
    names = np.full((len(scenes), MAX_OBJECTS, 2), -1, np.int16)
    for row, scene in enumerate(scenes):
        places[row, : len(scene.objects)] = boxes(scene)
        for column, obj in enumerate(scene.objects):
            both = (captions.describe(obj), captions.name(obj))
            names[row, column] = [PHRASES.index(name) for name in both]
    return places, names
