"""Following objects through a clip, frame by frame, by what is remembered of them.

Each frame is decoded once for every object, prompted by the object's memory: tokens of earlier frames, and the last
mask moved on to where the object should be. The reader then says which candidate is the object, if any; an object that
nobody claims is hidden or gone, and its memory waits. Frames before the one that was pointed at are followed backwards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitron.config import SeemConfig
from vitron.specialists.seem.memory import (
    Candidates,
    MemoryReader,
    ObjectMemory,
    candidates,
    geometry,
    iou,
    remembered,
)
from vitron.specialists.seem.network import SeemNetwork
from vitron.specialists.seem.pixel_decoder import PixelFeatures
from vitron.specialists.seem.prompts import Marks, Memory, Prompts, marks_of, to_device
from vitron.types import BoolMask

SAME_OBJECT_IOU = 0.5
"""Two masks of a frame that overlap more than this show one object."""
KEPT_FRAMES = 64
"""Frames whose features are kept: a clip is read twice or three times. About 45 MB each at full size in fp32."""
LEAST_CELLS = 2
"""Cells of the smallest mask that is an object."""


class Seen(NamedTuple):
    """An object in a frame: mask logits `[h, w]`, and the probability that it is the object."""

    mask: Tensor
    score: float


class Seed(NamedTuple):
    """An object as it was pointed at: index of the frame, its look, mask logits, and tokens."""

    frame: int
    look: Tensor
    mask: Tensor
    tokens: tuple[Tensor, ...]


class Trail(NamedTuple):
    """An object through T frames.

    Attributes:
        masks: logits `[h, w]` a frame, None where it is not seen.
        scores: probability a frame that it is seen.
    """

    masks: list[Tensor | None]
    scores: list[float]


class FrameFeatures:
    """Features of a clip's frames, read when they are asked for."""

    def __init__(self, count: int, read: Callable[[int], PixelFeatures]) -> None:
        """Keep how a frame is read.

        Args:
            count: of frames.
            read: index -> features of that frame, a batch of one.
        """
        self._count, self._read = count, read
        self._kept: OrderedDict[int, PixelFeatures] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._count

    def __getitem__(self, index: int) -> PixelFeatures:
        """Return the features of a frame."""
        if index in self._kept:
            self._kept.move_to_end(index)
        else:
            self._kept[index] = self._read(index)
            if len(self._kept) > KEPT_FRAMES:
                self._kept.popitem(last=False)
        return self._kept[index]


class Tracker:
    """Follows objects with frozen weights; holds no state of a clip.

    Args:
        network: the segmenter.
        reader: recognises objects.
        config: sizes.
    """

    def __init__(self, network: SeemNetwork, reader: MemoryReader, config: SeemConfig) -> None:
        self.network, self.reader, self.config = network, reader, config

    def seed(self, features: PixelFeatures, frame: int, offered: Candidates, row: int, query: int) -> Seed | None:
        """Point at a candidate; None if its mask is empty."""
        mask = offered.masks[row, query].float()
        if int((mask > 0).sum()) < LEAST_CELLS:
            return None
        tokens = self._tokens(features, mask > 0)
        return Seed(frame, offered.looks[row, query], mask, tokens)

    def follow(self, frames: FrameFeatures, seeds: Sequence[Sequence[Seed]], tick: Callable[[], None]) -> list[Trail]:
        """Follow objects together, each from its seeds (at least one, in the order of their frames).

        Later seeds correct the track; before the first it is followed backwards. `tick` is called after each frame.
        """
        count = len(frames)
        trails = [Trail([None] * count, [0.0] * count) for _ in seeds]
        first = [of_object[0].frame for of_object in seeds]
        self._pass(frames, range(min(first), count), seeds, trails, tick)
        self._pass(frames, range(max(first), -1, -1), [of_object[:1] for of_object in seeds], trails, tick)
        return trails

    def _pass(
        self,
        frames: FrameFeatures,
        order: range,
        seeds: Sequence[Sequence[Seed]],
        trails: Sequence[Trail],
        tick: Callable[[], None],
    ) -> None:
        """Go through frames in one direction; objects join at their seeds."""
        memories: list[ObjectMemory | None] = [None] * len(seeds)
        for frame in order:
            pointed = {i: seed for i, of_object in enumerate(seeds) for seed in of_object if seed.frame == frame}
            live = [i for i, memory in enumerate(memories) if memory is not None and i not in pointed]
            known = [memory for i in live if (memory := memories[i]) is not None]
            taken = [seed.mask > 0 for seed in pointed.values()]
            for i, (memory, seen) in zip(live, self._step(frames, frame, known, taken), strict=True):
                memories[i] = memory
                trails[i].masks[frame] = seen.mask if seen.score > 0.5 else None
                trails[i].scores[frame] = seen.score
            for i, seed in pointed.items():
                memories[i] = self._point(memories[i], seed)
                trails[i].masks[frame], trails[i].scores[frame] = seed.mask, 1.0
            tick()

    def _point(self, memory: ObjectMemory | None, seed: Seed) -> ObjectMemory:
        if memory is None:
            return remembered(seed.frame, seed.look, seed.mask > 0, seed.tokens)
        memory.see(seed.frame, seed.look, seed.mask > 0, seed.tokens, self.config.memory_frames)
        return memory

    def _step(
        self, frames: FrameFeatures, frame: int, known: list[ObjectMemory], taken: list[Tensor]
    ) -> list[tuple[ObjectMemory, Seen]]:
        """Look for the known objects in a frame and update their memories."""
        if not known:
            return []
        features = frames[frame]
        offered, measured = self.look(features, frame, known)
        logits = self.recognise(offered, measured, known)
        found = choose(logits, offered.masks > 0, taken)
        best = logits.sigmoid().amax(dim=1)
        results = []
        for row, memory in enumerate(known):
            query = found.get(row)
            if query is None:
                memory.miss()
                results.append((memory, Seen(offered.masks[row, 0], min(float(best[row]), 0.5))))
                continue
            self.update(memory, features, frame, offered, row, query)
            results.append((memory, Seen(offered.masks[row, query].float(), float(logits[row, query].sigmoid()))))
        return results

    def look(self, features: PixelFeatures, frame: int, known: Sequence[ObjectMemory]) -> tuple[Candidates, Tensor]:
        """Decode a frame once for each remembered object, prompted by its memory; return its geometry too."""
        rows = len(known)
        expected = [memory.expected(frame).cpu().numpy() for memory in known]
        spatial = self.marks(expected, self.config.max_spatial)
        offered = self.point(features, Prompts(rows, spatial=spatial, memory=self._memory(known)))
        measured = [geometry(each, frame, offered.masks[row], offered.match[row]) for row, each in enumerate(known)]
        return offered, torch.stack(measured)

    def point(self, features: PixelFeatures, prompts: Prompts, reference: PixelFeatures | None = None) -> Candidates:
        """Return the candidates of a frame for any prompts."""
        return candidates(features, self.network(features, prompts, reference)[-1])

    def recognise(self, offered: Candidates, measured: Tensor, known: Sequence[ObjectMemory]) -> Tensor:
        """Return logits `[N, Q]` that a candidate is the remembered object."""
        anchors, recents = (torch.stack([getattr(m, name) for m in known]) for name in ("anchor", "recent"))
        logits: Tensor = self.reader(offered.looks, anchors, recents, measured)
        areas = (offered.masks > 0).flatten(2).sum(2)
        return logits.masked_fill(areas < LEAST_CELLS, -torch.inf)

    def update(
        self, memory: ObjectMemory, features: PixelFeatures, frame: int, offered: Candidates, row: int, query: int
    ) -> None:
        """Remember what was found in a frame."""
        mask = offered.masks[row, query] > 0
        tokens = self._tokens(features, mask)
        memory.see(frame, offered.looks[row, query], mask, tokens, self.config.memory_frames)

    def _tokens(self, features: PixelFeatures, mask: Tensor) -> tuple[Tensor, ...]:
        marks = self.marks([mask.cpu().numpy()], self.config.memory_points)
        return tuple(scale[0] for scale in self.network.predictor.remember(features, marks))

    def _memory(self, known: Sequence[ObjectMemory]) -> Memory:
        """Lay the tokens of memories out as rows, padded to one length."""
        kept = [[torch.cat(scale) for scale in zip(*memory.tokens, strict=True)] for memory in known]
        lengths = torch.tensor([len(scales[0]) for scales in kept])
        longest = int(lengths.max())
        tokens = tuple(
            torch.nn.utils.rnn.pad_sequence(list(scale), batch_first=True) for scale in zip(*kept, strict=True)
        )
        valid = torch.arange(longest) < lengths[:, None]
        return Memory(tokens, valid.to(tokens[0].device))

    def marks(self, masks: Sequence[BoolMask], limit: int) -> Marks:
        """Return drawings on one frame as prompts, each of a row of its own and of at most `limit` positions."""
        marks = to_device(marks_of(masks, range(len(masks)), [0] * len(masks), limit), self.device)
        assert marks is not None
        return marks

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.predictor.class_embed.device


def choose(logits: Tensor, masks: Tensor, taken: Sequence[Tensor]) -> dict[int, int]:
    """Give candidates to objects, the surest first, so that no two objects get one place.

    Args:
        logits: `[N, Q]`.
        masks: bool `[N, Q, h, w]`.
        taken: bool `[h, w]` of places that are given away.

    Returns:
        Object -> candidate; an object without a positive one is left out.
    """
    found: dict[int, int] = {}
    places = list(taken)
    for place in logits.flatten().argsort(descending=True, stable=True).tolist():
        row, query = divmod(place, logits.shape[1])
        if not logits[row, query] > 0:
            break
        mask = masks[row, query]
        if row not in found and all(float(iou(mask[None], other)) < SAME_OBJECT_IOU for other in places):
            found[row] = query
            places.append(mask)
    return found
