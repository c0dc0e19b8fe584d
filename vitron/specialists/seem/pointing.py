"""Following what is pointed at on frames of a clip: which pointers mean one object, and its trail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from vitron.regions import to_mask
from vitron.specialists.base import SpecialistError
from vitron.specialists.seem.memory import iou
from vitron.specialists.seem.prompts import Prompts
from vitron.specialists.seem.tracking import SAME_OBJECT_IOU, FrameFeatures, Seed, Tracker, Trail
from vitron.specialists.seem.video_request import Pointer

Objects = list[list[int]]
"""Places in the sequence of pointers, those of each object together."""


class Shown(NamedTuple):
    """A pointer, at the frame in which it shows an object, and that object."""

    pointer: Pointer
    seed: Seed


def find_shown(
    tracker: Tracker, frames: FrameFeatures, pointed: Sequence[Pointer], check: Callable[[], None]
) -> list[Shown]:
    """Return what pointers show, in the order of frames.

    A drawing has to show something. A box of the LLM's may come too early: it waits for a later frame of its span, and
    is left out where none shows anything, if other boxes do.

    Args:
        tracker: follows.
        frames: of the clip.
        pointed: at least one pointer.
        check: called before each frame that is looked at; may raise.

    Raises:
        SpecialistError: nothing is found where a drawing points, or where none of the LLM's boxes shows anything.
    """
    found: list[Shown] = []
    for pointer in pointed:
        for frame in range(pointer.frame, pointer.until + 1):
            check()
            seed = _seed(tracker, frames, pointer, frame)
            if seed is not None:
                found.append(Shown(pointer._replace(frame=frame), seed))
                break
        else:
            if pointer.exact:
                raise _nothing(pointer)
    if not found:
        raise _nothing(pointed[0])
    return sorted(found, key=lambda shown: shown.pointer.frame)


def follow_shown(
    tracker: Tracker, frames: FrameFeatures, found: Sequence[Shown], tick: Callable[[], None]
) -> tuple[list[str], list[Trail]]:
    """Follow every object that is pointed at, first those of the first frame; return labels and trails.

    Args:
        tracker: follows.
        frames: of the clip.
        found: what pointers show, at least one, in the order of frames.
        tick: called after each frame of each of `most_passes`.
    """
    objects: Objects = []
    for i, (pointer, seed) in enumerate(found):
        if pointer.frame == found[0].pointer.frame:
            hit = next((each for each in objects if _same(seed.mask, found[each[0]].seed.mask)), None)
            if hit is None:
                objects.append([i])
            else:
                hit.append(i)
    trails = _follow(tracker, frames, found, objects, tick)
    if _add_later(objects, trails, found):
        trails = _follow(tracker, frames, found, objects, tick)
    return [found[each[0]].pointer.label for each in objects], trails


def most_passes(found: Sequence[Shown]) -> int:
    """How often all frames are looked at, at most: once for the objects of one frame, again for pointers elsewhere."""
    return 1 if len({shown.pointer.frame for shown in found}) == 1 else 3


def _nothing(pointer: Pointer) -> SpecialistError:
    return SpecialistError("seem_video", f"{pointer.name}: nothing was found where it points")


def _seed(tracker: Tracker, frames: FrameFeatures, pointer: Pointer, frame: int) -> Seed | None:
    """Return the object that a pointer is on in a frame; None if there is none."""
    features, side = frames[frame], tracker.config.image_size
    marks = tracker.marks([to_mask(pointer.region, side, side)], tracker.config.max_spatial)
    offered = tracker.point(features, Prompts(1, spatial=marks))
    for query in offered.match[0].argsort(descending=True).tolist():
        seed = tracker.seed(features, frame, offered, 0, query)
        if seed is not None:
            return seed
    return None


def _follow(
    tracker: Tracker, frames: FrameFeatures, found: Sequence[Shown], objects: Objects, tick: Callable[[], None]
) -> list[Trail]:
    return tracker.follow(frames, [[found[i].seed for i in each] for each in objects], tick)


def _add_later(objects: Objects, trails: Sequence[Trail], found: Sequence[Shown]) -> bool:
    """Give pointers on later frames to the objects that they correct, or to new ones; tell whether any was of use."""
    useful = False
    for i, (pointer, seed) in enumerate(found):
        if pointer.frame == found[0].pointer.frame:
            continue
        here = [trail.masks[pointer.frame] for trail in trails]
        hit = next((o for o, mask in enumerate(here) if mask is not None and _same(seed.mask, mask)), None)
        if hit is not None and not pointer.exact:
            continue  # the track says the same, and says it better
        if hit is None and pointer.group is not None:
            runs = [[found[j].pointer.group for j in each] for each in objects]
            hit = next((o for o, groups in enumerate(runs) if pointer.group in groups), None)
            if hit is not None and hit < len(here) and here[hit] is not None:
                continue  # the LLM's box is less exact than a track that goes on
        if hit is None:
            objects.append([i])
        else:
            objects[hit].append(i)
        useful = True
    return useful


def _same(a: Tensor, b: Tensor) -> bool:
    """Tell whether two masks, as logits `[h, w]` of one frame, show one object."""
    return float(iou(a[None] > 0, b > 0)) > SAME_OBJECT_IOU
