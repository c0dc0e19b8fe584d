"""The edits of a clip, each from its atlases and a few painted keyframes: pixels that an edit does not touch stay.

Shapes: T frames, H and W their size. Frames are uint8 [T, H, W, 3], masks bool [T, H, W].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitron.frames import sample_numbers
from vitron.regions import box_of
from vitron.specialists.gligen_edit_pixels import (
    core_of,
    fill,
    ground_of,
    grow,
    inner_weight,
    main_color,
    own_colors,
    tint,
    to_image,
    uncover,
)
from vitron.specialists.gligen_edit_request import FULL
from vitron.specialists.placing import free_box
from vitron.specialists.stablevideo.layers import Lattice, Layers, bake, robust_bake
from vitron.specialists.stablevideo.painting import Painter, keyframes
from vitron.specialists.stablevideo.paths import Floats, shifts_of
from vitron.types import Box, Grounding, Track

Frames = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]
SOFT = 0.03
"""Width of an object's soft edge, as a part of the frame's side."""
MAX_BAKED = 16
"""Frames that an atlas is averaged from."""
HIDDEN = 0.9
"""How sure the atlas must be that an object covers a place."""
KNOWN = 0.02
"""Least weight of a place in an atlas that some frame has shown."""


@dataclass(frozen=True, eq=False)
class Footage:
    """A clip with its layers.

    Attributes:
        frames: The clip.
        masks: Its foreground.
        layers: Fitted to both, at the frames' size.
    """

    frames: Frames
    masks: Masks
    layers: Layers

    @property
    def margin(self) -> int:
        """Pixels of a soft edge."""
        return max(round(SOFT * min(self.frames.shape[1:3])), 1)

    @property
    def baked(self) -> npt.NDArray[np.int64]:
        """Numbers of the frames that atlases are averaged from."""
        return np.array(sample_numbers(range(len(self.frames)), MAX_BAKED))


def remove(footage: Footage, painter: Painter) -> Frames:
    """Show the background where the foreground is; what no frame shows of it is painted in a keyframe."""
    return _without(footage, background_of(footage, painter))


def background_of(footage: Footage, painter: Painter) -> Lattice:
    """Return the background's atlas, complete wherever the foreground hides it."""
    frames, masks, layers = footage.frames, footage.masks, footage.layers
    holes = np.stack([grow(mask, footage.margin) for mask in masks])
    at = footage.baked
    # Who is in front of the object is no background either, though it is seen where the object is.
    free = (~(holes | hidden_parts(footage)))[at].astype(np.float32)
    shown = frames[at].astype(np.float32)
    atlas, weight = robust_bake(shown, free, layers.background[at])
    unknown = holes & np.stack([atlas.known(uv) < KNOWN for uv in layers.background])
    if not unknown.any():
        return atlas.filled()
    key = int(unknown.sum(axis=(1, 2)).argmax())
    # Filled in the atlas and not in the frame: there, what passes by would run into the hole.
    start = _revealed(footage, atlas.filled(), key, holes[key])
    painted = painter.erase(to_image(start), unknown[key]).astype(np.float32)
    again = np.concatenate([shown, painted[None]])
    more = np.concatenate([weight, unknown[key].astype(np.float32)[None]])
    return bake(again, more, np.concatenate([layers.background[at], layers.background[key][None]])).filled()


def hidden_parts(footage: Footage) -> Masks:
    """Return where the foreground is hidden, [T, H, W]: its atlas says it is there, and its mask that it isn't."""
    masks, mapping = footage.masks, footage.layers.foreground
    key = keyframes(masks, 1)[0]
    everywhere = np.ones(masks.shape[1:], np.float32)
    shape = bake(masks[key][None, ..., None].astype(np.float32), everywhere[None], mapping[key][None])
    hidden = np.zeros_like(masks)
    for frame in np.flatnonzero(masks.any(axis=(1, 2))):
        covered = shape.look_up(mapping[frame])[..., 0] * shape.known(mapping[frame])
        hidden[frame] = (covered > HIDDEN) & ~grow(masks[frame], 1)
    return hidden


def _revealed(footage: Footage, atlas: Lattice, frame: int, hole: npt.NDArray[np.bool_]) -> Floats:
    """Return a frame with the background's atlas in a hole."""
    found = atlas.look_up(footage.layers.background[frame])
    return np.where(hole[..., None], found, footage.frames[frame].astype(np.float32))


def _without(footage: Footage, atlas: Lattice) -> Frames:
    out = footage.frames.copy()
    for frame in np.flatnonzero(footage.masks.any(axis=(1, 2))):
        source = footage.frames[frame].astype(np.float32)
        mask = footage.masks[frame]
        behind = _revealed(footage, atlas, int(frame), grow(mask, footage.margin))
        out[frame] = to_image(uncover(source, grow(mask, 1), behind, behind))
    return out


def recolor(footage: Footage, painter: Painter, label: str, count: int) -> Frames:
    """Give the foreground's atlas the colour that the keyframes were painted in, and show it in every frame."""
    frames, masks = footage.frames, footage.masks
    keys = keyframes(masks, count)
    old, new = [], []
    for key in keys:
        painted = painter.paint(frames[key], [Grounding(box=box_of(masks[key]), label=label)])
        core = core_of(masks[key], 2)
        old.append(main_color(frames[key].astype(np.float32), core))
        new.append(main_color(painted.astype(np.float32), core))
    before, after = np.median(old, axis=0), np.median(new, axis=0)
    out = frames.copy()
    for frame in np.flatnonzero(masks.any(axis=(1, 2))):
        source = frames[frame].astype(np.float32)
        behind = fill(source, grow(masks[frame], footage.margin))
        out[frame] = to_image(tint(source, masks[frame], behind, after, before))
    return out


def replace(footage: Footage, painter: Painter, label: str) -> Frames:
    """Put another object into the foreground's atlas; the mapping carries it, and what hid the old one hides it."""
    frames, masks, layers = footage.frames, footage.masks, footage.layers
    plain = _without(footage, background_of(footage, painter))
    key = keyframes(masks, 1)[0]
    box = box_of(masks[key])
    painted, shape = painter.paint_object(frames[key], Grounding(box=box, label=label), plain[key])
    sprite = Sprite.of(painted.astype(np.float32), shape, layers.foreground[key])
    out, hidden = plain.copy(), hidden_parts(footage)
    for frame in np.flatnonzero(masks.any(axis=(1, 2))):
        uv = layers.foreground[frame]
        out[frame] = sprite.over(plain[frame], uv, hidden[frame])
    return out


@dataclass(frozen=True, eq=False)
class Sprite:
    """An object cut out of a painted frame, as a part of an atlas."""

    colors: Lattice
    part: Lattice

    @classmethod
    def of(cls, painted: Floats, shape: npt.NDArray[np.bool_], uv: Floats) -> Sprite:
        """Cut an object out; its colours go on beyond it, so that its edge is not mixed with what was there."""
        core = core_of(shape)
        colors = fill(painted, ~core)
        near = grow(shape, 6).astype(np.float32)
        part = 0.5 * (inner_weight(shape, 1) + shape)
        return cls(bake(colors[None], near[None], uv[None]), bake(part[None, ..., None], near[None], uv[None]))

    def over(self, frame: Frames, uv: Floats, hidden: npt.NDArray[np.bool_] | None = None) -> Frames:
        """Return a frame [H, W, 3] with the object where the mapping [H, W, 2] has it."""
        part = self.part.look_up(uv) * self.part.known(uv)[..., None]
        if hidden is not None:
            part = part * ~hidden[..., None]
        under = frame.astype(np.float32)
        return np.where(part > 0.02, to_image(under + part * (self.colors.look_up(uv) - under)), frame)


def add(painter: Painter, camera: Floats, place: Grounding, label: str) -> Frames:
    """Paint something new in the first frame of its span and carry it along: with the camera, and as the words say.

    Where the user drew nothing, it begins where it hides nothing on its way, as near to its place as possible.

    Args:
        painter: Paints, in its clip.
        camera: float32 [T, 2], the shift of the background in pixels.
        place: Where it begins, and when.
        label: What it is.
    """
    frames, numbers = painter.clip.frames, np.array(painter.clip.numbers)
    begin, end = place.span or (numbers[0], numbers[-1])
    first = min(int(np.searchsorted(numbers, begin)), len(frames) - 1)
    last = max(int(np.searchsorted(numbers, end, side="right")) - 1, first)
    height, width = frames.shape[1:3]
    carried = (camera[first : last + 1] - camera[first]) / np.array([width, height], np.float32)

    def way(start: Box) -> Floats:
        return shifts_of(painter.request.instruction, start, last - first + 1) + carried

    box = place.box if painter.request.drawn else free_box(frames[first : last + 1], place.box, way)
    painted, shape = painter.paint_object(frames[first], Grounding(box=box, label=label))
    unit = 2.0 / max(height, width)
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    grid = np.stack([x + 0.5 - width / 2, y + 0.5 - height / 2], axis=-1).astype(np.float32) * unit
    sprite = Sprite.of(painted.astype(np.float32), shape, grid)
    moved = way(box) * (width, height)
    out = frames.copy()
    for frame in range(first, last + 1):
        out[frame] = sprite.over(frames[frame], (grid - moved[frame - first] * unit).astype(np.float32))
    return out


def recolor_ground(frames: Frames, stays: Sequence[Track], painter: Painter, label: str, count: int) -> Frames:
    """Give the background another colour; its texture stays."""
    objects = ~np.stack([ground_of(frame, [track.masks[t] for track in stays]) for t, frame in enumerate(frames)])
    old, new = [], []
    if objects.all():
        return frames  # nothing of the background is seen
    for key in keyframes(~objects, count):
        painted = painter.ground(frames[key], label, [(track.label, track.masks[key]) for track in stays])
        area = core_of(~objects[key], 2)
        old.append(main_color(frames[key].astype(np.float32), area))
        new.append(main_color(painted.astype(np.float32), area))
    before, after = np.median(old, axis=0), np.median(new, axis=0)
    out = frames.copy()
    for frame, ground in enumerate(~objects):
        source = frames[frame].astype(np.float32)
        out[frame] = to_image(tint(source, ground, own_colors(source, ~ground, before), after, before))
    return out


def replace_ground(footage: Footage, stays: Sequence[Track], painter: Painter, label: str, count: int) -> Frames:
    """Paint another background into its atlas, from one keyframe after another until all of it is known."""
    frames, layers, objects = footage.frames, footage.layers, footage.masks
    seen: list[tuple[int, Floats, Floats]] = []
    atlas = bake(frames[:1].astype(np.float32), np.zeros_like(objects[:1], np.float32), layers.background[:1])
    for _ in range(count):
        unknown = np.stack([atlas.known(uv) < KNOWN for uv in layers.background]) & ~objects
        key = int(unknown.sum(axis=(1, 2)).argmax())
        if unknown[key].mean() < 0.02:
            break
        if not seen:
            made = painter.ground(frames[key], label, [(track.label, track.masks[key]) for track in stays])
        else:
            ground = [Grounding(box=FULL, label=label)]
            made = painter.paint(_composed(footage, atlas, key), ground, unknown[key])
        painted = made.astype(np.float32)
        seen.append((key, painted, unknown[key].astype(np.float32)))
        keys = np.array([number for number, _, _ in seen])
        atlas = bake(np.stack([p for _, p, _ in seen]), np.stack([w for _, _, w in seen]), layers.background[keys])
    return np.stack([_composed(footage, atlas, frame) for frame in range(len(frames))])


def _composed(footage: Footage, atlas: Lattice, frame: int) -> Frames:
    source, ground = footage.frames[frame].astype(np.float32), ~footage.masks[frame]
    uv = footage.layers.background[frame]
    unknown = atlas.known(uv) < KNOWN
    new = fill(np.where(unknown[..., None], source, atlas.look_up(uv)), unknown & ground)
    if not ground.any():
        return footage.frames[frame]
    return to_image(uncover(source, ground, own_colors(source, ~ground, main_color(source, ground)), new))
