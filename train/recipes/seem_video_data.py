"""What the memory of the video segmenter learns from: Shapes clips as the frozen segmenter sees them, computed once.

Every mover of a clip is pointed at in a frame and followed in both directions, by the truth instead of by the reader:
the candidate that overlaps it most is what a perfect reader would choose. What the reader then sees in each frame, and
what it should say, is an observation. Words come with the tracks of all movers of their clip.

Shapes: K observations, Q candidates, L width of a look, G measures of geometry; W texts, S tokens, N movers at most, M
measures of a track.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from train.data.caches import filled
from train.data.shapes import clip_captions, clip_referring, clip_words, wording
from train.data.shapes.clip_invocations import mark, mark_frame
from train.data.shapes.motion import MAX_MOVERS, clip_at
from train.data.shapes.render_clip import Footage, film
from train.data.shapes.scene import scene_rng
from vitron.specialists.seem.memory import Candidates, ObjectMemory, iou, remembered
from vitron.specialists.seem.model import to_square
from vitron.specialists.seem.network import upsample
from vitron.specialists.seem.pixel_decoder import PixelFeatures
from vitron.specialists.seem.prompts import Prompts
from vitron.specialists.seem.track_words import MEASURES, measure
from vitron.specialists.seem.tracking import LEAST_CELLS, Tracker

VERSION = 1
"""Of what is computed: a change of the Shapes world, of looks, geometry or measures raises it."""
STREAM = 43
LEAST_IOU = 0.5
"""A candidate that overlaps the object less is not the object."""
SEEN_SHARES = (0.15, 0.4)
"""A tracker may lose what is half hidden sooner or later; tracks are measured for both."""
MAX_ACTIONS = 3
SAY_SECONDS = 20.0

Rng = np.random.Generator


class Observation(NamedTuple):
    """A frame as the reader sees it; `target` is the right candidate, -1 where there is none."""

    looks: Tensor
    anchor: Tensor
    recent: Tensor
    measured: Tensor
    target: int


class Words(NamedTuple):
    """A text about a clip; a `described` one is what a signal stands for. `tracks [N, 2, M]`, of all movers."""

    text: str
    described: bool
    target: int
    tracks: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Observations:
    """All observations, as arrays that are indexed by observation or by text."""

    looks: npt.NDArray[np.float16]
    anchor: npt.NDArray[np.float16]
    recent: npt.NDArray[np.float16]
    measured: npt.NDArray[np.float16]
    target: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    described: npt.NDArray[np.bool_]
    tracks: npt.NDArray[np.float16]
    movers: npt.NDArray[np.int64]
    meant: npt.NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path) -> Observations:
        """Map the arrays of a folder into memory."""
        return cls(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in cls.__annotations__})

    @classmethod
    def of(cls, seen: Sequence[Observation], words: Sequence[Words], tracker: Tracker) -> Observations:
        """Lay observations and texts out as arrays."""
        ids, lengths = tracker.network.lang_encoder.tokenize([each.text for each in words])
        tracks = np.zeros((len(words), MAX_MOVERS, len(SEEN_SHARES), len(MEASURES)), np.float16)
        for row, each in zip(tracks, words, strict=True):
            row[: len(each.tracks)] = each.tracks
        return cls(
            looks=_half([each.looks for each in seen]),
            anchor=_half([each.anchor for each in seen]),
            recent=_half([each.recent for each in seen]),
            measured=_half([each.measured for each in seen]),
            target=np.array([each.target for each in seen]),
            ids=ids.cpu().numpy(),
            lengths=lengths.cpu().numpy(),
            described=np.array([each.described for each in words]),
            tracks=tracks,
            movers=np.array([len(each.tracks) for each in words]),
            meant=np.array([each.target for each in words]),
        )

    def save(self, folder: Path) -> None:
        """Write the arrays into a folder."""
        for name in type(self).__annotations__:
            np.save(folder / f"{name}.npy", getattr(self, name))


def build(cache: Path, key: str, tracker: Tracker, num_clips: int) -> Observations:
    """Open what was computed of `num_clips` training clips with the weights that `key` stands for, or compute it."""
    fill = functools.partial(_fill, tracker=tracker, num_clips=num_clips)
    return Observations.open(filled(cache, f"tracks-v{VERSION}-{num_clips}-{key}", fill))


def _fill(folder: Path, tracker: Tracker, num_clips: int) -> None:
    collect(tracker, "train", range(num_clips), print).save(folder)


@torch.no_grad()
def collect(tracker: Tracker, split: str, indices: range, say: Callable[[str], object]) -> Observations:
    """Watch clips of a split."""
    seen: list[Observation] = []
    words: list[Words] = []
    said = time.monotonic()
    for index in indices:
        rng = scene_rng(split, index, 0, STREAM)
        footage = film(clip_at(split, index))
        seen += observe(tracker, footage, rng)
        words += spoken(footage, rng)
        if time.monotonic() - said > SAY_SECONDS:
            say(f"{index + 1 - indices.start} of {len(indices)} clips watched")
            said = time.monotonic()
    return Observations.of(seen, words, tracker)


def observe(tracker: Tracker, footage: Footage, rng: Rng) -> list[Observation]:
    """Follow every mover by the truth, from a frame in which it can be pointed at."""
    side = tracker.config.image_size
    frames = [tracker.network.features(to_square(frame, side).to(tracker.device)) for frame in footage.frames]
    starts = [mark_frame(footage, i, rng) if footage.seen[i].any() else -1 for i in range(len(footage.masks))]
    drawn = [mark(footage, i, start, rng) if start >= 0 else None for i, start in enumerate(starts)]
    seen: list[Observation] = []
    for order in (range(len(frames)), range(len(frames) - 1, -1, -1)):
        known: dict[int, ObjectMemory] = {}
        for frame in order:
            seen += _watch(tracker, footage, frames[frame], frame, known)
            for i, start in enumerate(starts):
                begun = start == frame and _begin(tracker, footage, frames[frame], frame, i, drawn[i])
                if begun:
                    known[i] = begun
    return seen


def _begin(
    tracker: Tracker,
    footage: Footage,
    features: PixelFeatures,
    frame: int,
    i: int,
    drawn: npt.NDArray[np.bool_] | None,
) -> ObjectMemory | None:
    assert drawn is not None
    offered = tracker.point(features, Prompts(1, spatial=tracker.marks([drawn], tracker.config.max_spatial)))
    query = best(offered, 0, footage.masks[i, frame])
    seed = None if query < 0 else tracker.seed(features, frame, offered, 0, query)
    return None if seed is None else remembered(frame, seed.look, seed.mask > 0, seed.tokens)


def _watch(
    tracker: Tracker, footage: Footage, features: PixelFeatures, frame: int, known: dict[int, ObjectMemory]
) -> list[Observation]:
    """Observe the known movers in a frame, and update their memories by the truth."""
    if not known:
        return []
    memories = list(known.values())
    offered, measured = tracker.look(features, frame, memories)
    seen = []
    for row, (i, memory) in enumerate(known.items()):
        query = best(offered, row, footage.masks[i, frame])
        seen.append(Observation(offered.looks[row], memory.anchor, memory.recent, measured[row], query))
        if query < 0:
            memory.miss()
        else:
            tracker.update(memory, features, frame, offered, row, query)
    return seen


def best(offered: Candidates, row: int, truth: npt.NDArray[np.bool_]) -> int:
    """Return the candidate that is the object; -1 if none is."""
    full = upsample(offered.masks[row].float(), truth.shape) > 0
    overlaps = iou(full, torch.from_numpy(truth).to(full.device))
    overlaps[(offered.masks[row] > 0).flatten(1).sum(1) < LEAST_CELLS] = 0
    query = int(overlaps.argmax())
    return query if float(overlaps[query]) > LEAST_IOU else -1


def spoken(footage: Footage, rng: Rng) -> list[Words]:
    """What can be said of each mover of a clip with several: by its action, by its looks, and in full."""
    clip = footage.clip
    if len(clip.movers) < 2:
        return []
    tracks = np.stack([_measured(footage, i) for i in range(len(clip.movers))])
    found = []
    for i in range(len(clip.movers)):
        actions = clip_referring.by_action(clip, rng, i)
        chosen = rng.permutation(len(actions))[:MAX_ACTIONS]
        looks = clip_referring.by_looks(clip, i)
        texts = [actions[int(n)].text for n in chosen]
        texts += [wording.command(clip_words.SEGMENT, rng, what=text) for text in texts[:1]]
        texts += [looks[int(rng.integers(len(looks)))].text] if looks else []
        found += [Words(text, False, i, tracks) for text in texts]
        found.append(Words(clip_captions.full_description(footage, i), True, i, tracks))
    return found


def _measured(footage: Footage, i: int) -> npt.NDArray[np.float32]:
    areas = footage.masks[i].sum(axis=(1, 2))
    whole = footage.amodal[i].sum(axis=(1, 2)).max()
    return np.stack(
        [
            measure(
                [mask if area >= share * whole else None for mask, area in zip(footage.masks[i], areas, strict=True)]
            )
            for share in SEEN_SHARES
        ]
    )


def _half(tensors: Sequence[Tensor]) -> npt.NDArray[np.float16]:
    return torch.stack(list(tensors)).half().cpu().numpy()
