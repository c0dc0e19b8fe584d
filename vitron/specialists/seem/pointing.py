"""Following what is pointed at on frames of a clip: which pointers mean one object, and its trail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from vitron.regions import to_mask
from vitron.specialists.base import SpecialistError
from vitron.specialists.seem.memory import iou
from vitron.specialists.seem.prompts import Prompts
from vitron.specialists.seem.tracking import SAME_OBJECT_IOU, FrameFeatures, Seed, Tracker, Trail
from vitron.specialists.seem.video_request import Pointer

Objects = list[list[int]]
"""Places in the sequence of pointers, those of each object together."""


def follow_pointers(
    tracker: Tracker, frames: FrameFeatures, pointed: Sequence[Pointer], tick: Callable[[], None]
) -> tuple[list[str], list[Trail]]:
    """Follow every object that is pointed at, first those of the first frame; return labels and trails.

    Args:
        tracker: follows.
        frames: of the clip.
        pointed: at least one pointer.
        tick: called after each frame of each of `most_passes`.

    Raises:
        SpecialistError: nothing is found where a drawing points, or where any of the LLM's boxes does.
    """
    pointed, seeds = _shown(tracker, frames, pointed)
    objects: Objects = []
    for i, pointer in enumerate(pointed):
        if pointer.frame == pointed[0].frame:
            hit = next((each for each in objects if _same(seeds[i].mask, seeds[each[0]].mask)), None)
            if hit is None:
                objects.append([i])
            else:
                hit.append(i)
    trails = _follow(tracker, frames, seeds, objects, tick)
    if _add_later(objects, trails, pointed, seeds):
        trails = _follow(tracker, frames, seeds, objects, tick)
    return [pointed[each[0]].label for each in objects], trails


def most_passes(pointed: Sequence[Pointer]) -> int:
    """How often all frames are looked at, at most: once for the objects of one frame, again for pointers elsewhere."""
    return 1 if len({pointer.frame for pointer in pointed}) == 1 else 3


def _shown(tracker: Tracker, frames: FrameFeatures, pointed: Sequence[Pointer]) -> tuple[list[Pointer], list[Seed]]:
    """Return the pointers that show an object, in the order of frames, and those objects.

    A drawing has to show one. A box of the LLM's may come too early: it waits for a later frame, and is left out where
    none shows anything, if other boxes do.
    """
    found: dict[int, Seed] = {}
    for i, pointer in enumerate(pointed):
        tried = [pointer.frame] if pointer.exact else range(pointer.frame, len(frames))
        seed = next((seed for frame in tried if (seed := _seed(tracker, frames, pointer, frame))), None)
        if seed is not None:
            found[i] = seed
        elif pointer.exact:
            raise _nothing(pointer)
    if not found:
        raise _nothing(pointed[0])
    order = sorted(found, key=lambda i: found[i].frame)
    places: dict[int | None, int] = {old: new for new, old in enumerate(order)}
    kept = [pointed[i]._replace(frame=found[i].frame, follows=places.get(pointed[i].follows)) for i in order]
    return kept, [found[i] for i in order]


def _nothing(pointer: Pointer) -> SpecialistError:
    return SpecialistError("seem_video", f"{pointer.name}: nothing was found where it points")


def _seed(tracker: Tracker, frames: FrameFeatures, pointer: Pointer, frame: int) -> Seed | None:
    """Return the object that a pointer is on in a frame; None if there is none."""
    features, side = frames[frame], tracker.config.image_size
    marks = tracker.marks([to_mask(pointer.region, side, side)], tracker.config.max_spatial)
    offered = tracker.point(features, Prompts(1, spatial=marks))
    queries = offered.match[0].argsort(descending=True).tolist()
    return next((seed for q in queries if (seed := tracker.seed(features, frame, offered, 0, q))), None)


def _follow(
    tracker: Tracker, frames: FrameFeatures, seeds: Sequence[Seed], objects: Objects, tick: Callable[[], None]
) -> list[Trail]:
    return tracker.follow(frames, [[seeds[i] for i in each] for each in objects], tick)


def _add_later(objects: Objects, trails: Sequence[Trail], pointed: Sequence[Pointer], seeds: Sequence[Seed]) -> bool:
    """Give pointers on later frames to the objects that they correct, or to new ones; tell whether any was of use."""
    useful = False
    for i, pointer in enumerate(pointed):
        if pointer.frame == pointed[0].frame:
            continue
        here = [trail.masks[pointer.frame] for trail in trails]
        hit = next((o for o, mask in enumerate(here) if mask is not None and _same(seeds[i].mask, mask)), None)
        if hit is not None and not pointer.exact:
            continue  # the track says the same, and says it better
        if hit is None and pointer.follows is not None:
            hit = next((o for o, each in enumerate(objects) if pointer.follows in each), None)
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
