"""Draws clips and gives their exact masks, boxes, tracks and frame spans."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes import geometry
from train.data.shapes.motion import Clip, frame_scene, present
from train.data.shapes.render import amodal_masks, mask_box, masks, render
from train.data.shapes.scene import Object
from vitron.types import Box

Span = tuple[int, int]
# An object is seen in a frame when at least this share of its whole area shows.
SEEN_SHARE = 0.3


class Footage(NamedTuple):
    """A clip with what is rendered from it once; n movers, T frames.

    Attributes:
        clip: the graph.
        frames: uint8 [T, H, W, 3].
        masks: bool [n, T, H, W], the visible pixels; every pixel belongs to one mover at most.
        amodal: bool [n, T, H, W], whole masks within the picture, as if nothing hid anything.
        seen: bool [n, T], whether at least SEEN_SHARE of the whole object shows.
        tracks: float32 [n, T, 4], boxes of the visible masks, (x1, y1, x2, y2) in [0, 1]; zeros where not seen.
        spans: per mover the contiguous runs of frames in which it is seen, both ends inclusive.
    """

    clip: Clip
    frames: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    amodal: npt.NDArray[np.bool_]
    seen: npt.NDArray[np.bool_]
    tracks: npt.NDArray[np.float32]
    spans: tuple[tuple[Span, ...], ...]

    def box(self, i: int, frame: int) -> Box:
        """The box of mover `i` in a frame in which it is seen."""
        assert self.seen[i, frame]
        return mask_box(self.masks[i, frame])


def render_clip(clip: Clip) -> npt.NDArray[np.uint8]:
    """Paints a clip as RGB frames [T, H, W, 3], anti-aliased."""
    return np.stack([render(frame_scene(clip, t)) for t in range(clip.frames)])


def clip_masks(clip: Clip) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Visible and whole masks, both [n, T, H, W]; empty where a mover does not exist or is outside."""
    shape = (len(clip.movers), clip.frames, clip.height, clip.width)
    visible, whole = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    for t in range(clip.frames):
        scene, who = frame_scene(clip, t), present(clip, t)
        visible[who, t] = masks(scene)
        whole[who, t] = amodal_masks(scene)
    return visible, whole


def film(clip: Clip) -> Footage:
    """Renders a clip with all that is derived from its masks."""
    visible, whole = clip_masks(clip)
    area = np.array([_whole_area(mover.looks, clip) for mover in clip.movers], dtype=np.float64)
    seen = visible.sum(axis=(2, 3)) >= SEEN_SHARE * area[:, None]
    tracks = np.zeros((*seen.shape, 4), dtype=np.float32)
    for i, t in np.argwhere(seen):
        tracks[i, t] = mask_box(visible[i, t])
    return Footage(clip, render_clip(clip), visible, whole, seen, tracks, tuple(spans(row) for row in seen))


def spans(seen: npt.NDArray[np.bool_]) -> tuple[Span, ...]:
    """Runs of True in [T], as inclusive (start, end)."""
    steps = np.diff(np.concatenate([[0], seen.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    return tuple((int(a), int(b)) for a, b in zip(starts, ends, strict=True))


def _whole_area(obj: Object, clip: Clip) -> int:
    """Pixels of the object when nothing cuts it off."""
    middle = dataclasses.replace(obj, x=clip.width / 2, y=clip.height / 2)
    return int(np.count_nonzero(geometry.amodal_mask(middle, clip.width, clip.height)))
