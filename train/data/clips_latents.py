"""Shapes clips as the training of video generators reads them: latents and texts, computed once.

Kept as memory-mapped arrays in a folder whose name says what they were made from, as pictures are (`shapes_latents`).
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from train.data import shapes_latents
from train.data.caches import filled
from train.data.shapes import captions, clip_captions, clip_plans, clip_requests, geometry
from train.data.shapes.clip_animate import Animation, animate
from train.data.shapes.clip_dialogues import MAX_GENERATED
from train.data.shapes.motion import CLIP_STREAM, Clip, sample_clip
from train.data.shapes.render_clip import Footage, film
from train.data.shapes.scene import scene_rng
from train.data.shapes.wording import pick
from train.order import load
from train.precision import mixed_precision
from vitron.clip_plan import PlannedTrack, planned_tracks
from vitron.diffusion.latents import LatentCodec, to_pixels
from vitron.specialists.text_condition import TextCondition
from vitron.types import Grounding

VERSION = 4
"""Of what is computed: a change of the Shapes world, of the texts or of the arrays raises it."""

NUM_FULL = 3
"""Text pairs of a clip whose instruction says all; the pair after them says too little."""

COVERED = 0.25
"""Share of a latent position's pixels that makes it part of an object."""
CHUNK = 32
SAY_SECONDS = 10.0
_WORD_STREAM = 17

Rng = np.random.Generator
Pairs = list[tuple[str, str]]


class Described(NamedTuple):
    """A clip with (what the instruction says, what is meant) pairs, the underspecified one last.

    `moving` is the one mover of a clip that begins with a picture.
    """

    clip: Clip
    pairs: Pairs
    moving: int | None = None


Draw = Callable[[str, int, int], Described]
"""(split, index, frames) -> the clip of that number, always the same one."""


def generated(split: str, index: int, frames: int) -> Described:
    """Return a clip that can be asked for in words alone: at most `MAX_GENERATED` objects."""
    rng = scene_rng(split, index, 0, CLIP_STREAM)
    clip = sample_clip(rng, split, frames)
    while len(clip.movers) > MAX_GENERATED:
        clip = sample_clip(rng, split, frames)
    words = scene_rng(split, index, 0, _WORD_STREAM)
    asked = [clip_requests.ask(clip, words, relative=bool(words.integers(2))) for _ in range(NUM_FULL - 1)]
    whole = clip_captions.canonical_caption(clip)
    pairs = [*((ask.text, ask.canonical) for ask in asked), (whole, whole)]
    vague = ("a video like this one", "the same again", f"a {clip.movers[0].looks.shape}", "what i have in mind")
    return Described(clip, [*pairs, (pick(vague, words), whole)])


def animated(split: str, index: int, frames: int) -> Described:
    """Return a clip that begins with a picture, one object of which starts to move."""
    rng = scene_rng(split, index, 1, CLIP_STREAM)
    made = None
    while made is None:
        made = animate(rng, split, frames)
    return Described(made.clip, _animations(made, scene_rng(split, index, 1, _WORD_STREAM)), made.index)


def _animations(made: Animation, rng: Rng) -> Pairs:
    """What is said and meant of a picture set in motion; the instruction may name the object too loosely."""
    mover = made.clip.movers[made.index]
    action = clip_captions.action(made.clip, mover)
    meant = f"{captions.full_description(made.scene, made.index)} {action}"

    def said(noun: str) -> str:
        spoken = (action, action, clip_captions.spoken_action(made.clip, mover, rng, captions.name))
        return f"{noun} {pick(spoken, rng)}"

    whole = captions.full_description(made.scene, made.index)
    looks = mover.looks
    alike = sum(captions.name(obj) == captions.name(looks) for obj in made.scene.objects)
    name = captions.name(looks) if alike == 1 else whole
    full = [said(name), said(pick((whole, captions.describe(looks) if alike == 1 else whole, made.said), rng)), meant]
    loose = pick(("object", looks.shape, captions.name(looks)), rng)
    return [*((each, meant) for each in full), (said(loose), meant)]


KINDS: dict[str, Draw] = {"generated": generated, "animated": animated}
"""Which clips there are, by what they are used for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipCache:
    """K clips; every array is indexed by clip. Crosses to another process by its folder's name.

    Attributes:
        folder: where the arrays are kept.
        latents: float16 [K, C, F, h, w], scaled.
        texts: int16 [K, NUM_FULL + 1, 2, T], token ids of (instruction, full description) pairs.
        boxes: float16 [K, M, F, 4], where the plan's objects are, M = `MAX_GENERATED`; zeros of objects that are not.
        there: bool [K, M, F], in which frames they are.
        phrases: int16 [K, M, T], token ids of what they are.
        source: bool [K, H, W], what is seen of the moving object in the first frame; see `moves`.
        moves: float16 [K, 3, F, h, w]: how far the first frame's place of a position is from it (x, y), in latent
            positions, and 1 where it is covered by what moves; all 0 in clips that do not begin with a picture.
    """

    folder: Path
    latents: npt.NDArray[np.float16]
    texts: npt.NDArray[np.int16]
    boxes: npt.NDArray[np.float16]
    there: npt.NDArray[np.bool_]
    phrases: npt.NDArray[np.int16]
    source: npt.NDArray[np.bool_]
    moves: npt.NDArray[np.float16]

    @classmethod
    def open(cls, folder: Path) -> ClipCache:
        """Map the arrays of a folder into memory."""
        names = (field.name for field in dataclasses.fields(cls) if field.name != "folder")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
        return cls(folder=folder, **arrays)

    def __reduce__(self) -> tuple[Callable[[Path], ClipCache], tuple[Path]]:
        return ClipCache.open, (self.folder,)

    def __len__(self) -> int:
        """Return K."""
        return len(self.latents)


def build(
    cache: Path, kind: str, num_clips: int, frames: int, codec: LatentCodec, text: TextCondition, workers: int = 0
) -> ClipCache:
    """Open what was computed of `num_clips` training clips with these weights, computing it first if nobody has.

    Args:
        cache: folder that holds such caches, each in a folder named by a hash of what it was made from.
        kind: one of `KINDS`.
        num_clips: how many.
        frames: length of each.
        codec: makes the latents.
        text: its tokenizer makes the token ids.
        workers: processes that draw clips; 0: this one.
    """
    name = f"clips-{kind}-v{VERSION}-{frames}-{shapes_latents.key(num_clips, codec, text)}"
    fill = functools.partial(
        _fill, kind=kind, num_clips=num_clips, frames=frames, codec=codec, text=text, workers=workers
    )
    return ClipCache.open(filled(cache, name, fill))


def _fill(
    folder: Path, kind: str, num_clips: int, frames: int, codec: LatentCodec, text: TextCondition, workers: int
) -> None:
    channels, height, width = shapes_latents.codec_shape(codec)
    sizes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "latents": (np.float16, (channels, frames, height, width)),
        "texts": (np.int16, (NUM_FULL + 1, 2, text.length)),
        "boxes": (np.float16, (MAX_GENERATED, frames, 4)),
        "there": (np.bool_, (MAX_GENERATED, frames)),
        "phrases": (np.int16, (MAX_GENERATED, text.length)),
        "source": (np.bool_, (height * codec.downscale, width * codec.downscale)),
        "moves": (np.float16, (3, frames, height, width)),
    }
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(num_clips, *rest))
        for name, (dtype, rest) in sizes.items()
    }
    said = time.monotonic()
    draw = _Draws(kind, num_clips, frames, height, width)
    for drawn in load(draw, range(-(-num_clips // CHUNK)), workers):
        rows = slice(drawn.indices.start, drawn.indices.stop)
        arrays["latents"][rows] = _latents(codec, drawn.frames)
        for name, values in drawn.arrays.items():
            arrays[name][rows] = values
        for name, words in (("phrases", drawn.labels), ("texts", drawn.texts)):
            arrays[name][rows] = text.tokenize(words).numpy().astype(np.int16).reshape(arrays[name][rows].shape)
        if rows.stop == num_clips or time.monotonic() - said > SAY_SECONDS:
            print(f"latents of {rows.stop} of {num_clips} clips computed", flush=True)
            said = time.monotonic()
    for array in arrays.values():
        array.flush()


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """Some clips: what needs no weights.

    Attributes:
        indices: which clips.
        frames: of each clip, uint8 [F, H, W, 3].
        arrays: by the name of the cache's.
        labels: M a clip, empty where its plan has no more objects.
        texts: (NUM_FULL + 1) * 2 a clip.
    """

    indices: range
    frames: list[npt.NDArray[np.uint8]]
    arrays: dict[str, Any]
    labels: list[str]
    texts: list[str]


class _Draws(NamedTuple):
    """Draws clips, `CHUNK` at a time. Goes to loader processes."""

    kind: str
    num_clips: int
    frames: int
    height: int
    width: int

    def __call__(self, number: int) -> _Drawn:
        indices = range(number * CHUNK, min((number + 1) * CHUNK, self.num_clips))
        drawn = [KINDS[self.kind]("train", index, self.frames) for index in indices]
        films = [film(each.clip) for each in drawn]
        tracks = [planned_tracks(plan(each, shown), self.frames) for each, shown in zip(drawn, films, strict=True)]
        boxes, there = _padded(tracks, self.frames)
        return _Drawn(
            indices=indices,
            frames=[shown.frames for shown in films],
            arrays={
                "moves": [moves(each, self.height, self.width) for each in drawn],
                "source": [_source(each, shown) for each, shown in zip(drawn, films, strict=True)],
                "boxes": boxes,
                "there": there,
            },
            labels=[
                label for each in tracks for label in (*(t.label for t in each), *[""] * (MAX_GENERATED - len(each)))
            ],
            texts=[words for each in drawn for pair in each.pairs for words in pair],
        )


def plan(drawn: Described, shown: Footage) -> list[Grounding]:
    """Return the clip's plan: of one that begins with a picture, it says where what moves is."""
    order = range(len(drawn.clip.movers)) if drawn.moving is None else [drawn.moving]
    return clip_plans.plan(shown, list(order))


def _source(drawn: Described, shown: Footage) -> npt.NDArray[np.bool_]:
    if drawn.moving is None:
        return np.zeros((drawn.clip.height, drawn.clip.width), np.bool_)
    return shown.masks[drawn.moving, 0]


def _padded(
    tracks: Sequence[Sequence[PlannedTrack]], frames: int
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    boxes = np.zeros((len(tracks), MAX_GENERATED, frames, 4), np.float16)
    there = np.zeros((len(tracks), MAX_GENERATED, frames), np.bool_)
    for row, found in enumerate(tracks):
        for i, track in enumerate(found):
            boxes[row, i], there[row, i] = track.boxes, track.there
    return boxes, there


def moves(drawn: Described, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return one clip's part of `ClipCache.moves`, [3, F, height, width]."""
    clip = drawn.clip
    made = np.zeros((3, clip.frames, height, width), np.float32)
    if drawn.moving is None:
        return made
    mover = clip.movers[drawn.moving]
    cell_h, cell_w = clip.height // height, clip.width // width
    for t in range(clip.frames):
        obj = mover.at(t)
        assert obj is not None, "what a picture shows stays in it"
        mask = geometry.amodal_mask(obj, clip.width, clip.height)
        covered = mask.reshape(height, cell_h, width, cell_w).mean(axis=(1, 3)) > COVERED
        made[0, t][covered] = (mover.looks.x - obj.x) / cell_w
        made[1, t][covered] = (mover.looks.y - obj.y) / cell_h
        made[2, t] = covered
    return made


@torch.no_grad()
def _latents(codec: LatentCodec, clips: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    device = codec.scaling_factor.device
    pixels = to_pixels([frame for clip in clips for frame in clip]).to(device)
    with mixed_precision(device.type):
        latents = codec.encode(pixels).float().cpu()
    split = latents.view(len(clips), -1, *latents.shape[1:]).transpose(1, 2)
    numbers: npt.NDArray[np.float32] = split.numpy()
    return numbers
