"""Keyframes: which frames the image editor paints, and what it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vitron.regions import box_of, to_mask
from vitron.specialists.base import IsCancelled, Option, SpecialistRequest
from vitron.specialists.gligen_edit import GligenEdit
from vitron.specialists.gligen_edit_area import segment
from vitron.specialists.gligen_edit_pixels import grow
from vitron.specialists.gligen_edit_request import BACKGROUND, FULL, is_full
from vitron.types import BoolMask, Box, Clip, DrawnRegion, Grounding, Image

Masks = npt.NDArray[np.bool_]
ERASE, ERASE_STRENGTH = "remove", 0.4
"""The instruction of erasing, and how far the filling is painted over."""
CHANGED, CLEAR = 14.0, 0.4
"""What was painted differs by at least this many channel values, and by this part of what most of it differs by."""
TRIES = 4
"""Times that an object is painted; the one that the segmenter knows best by its name is taken."""
LEAST_PAINTED = 0.1
"""Part of its box that something fills at least."""


@dataclass(frozen=True, eq=False)
class Painter:
    """The image editor at work on frames of one clip.

    Attributes:
        editor: Paints.
        request: The request to edit the clip: instruction, signal, seed.
        options: Of the editor.
        on_step: Called after each of its steps.
        cancelled: Asked at each of its steps.
    """

    editor: GligenEdit
    request: SpecialistRequest
    options: dict[str, Option]
    on_step: Callable[[], None]
    cancelled: IsCancelled

    @property
    def clip(self) -> Clip:
        """The clip."""
        assert self.request.clip is not None
        return self.request.clip

    def paint(self, frame: Image, regions: Sequence[Grounding], area: BoolMask | None = None) -> Image:
        """Return a frame edited as the request says, in these regions; `area`: exactly there."""
        # As if drawn: where things go has been decided for the clip as a whole.
        boxes = tuple(DrawnRegion(kind="box", box=region.box) for region in regions if not is_full(region))
        drawn = boxes if area is None else (DrawnRegion(kind="mask", mask=area),)
        asked = SpecialistRequest(
            instruction=self.request.instruction,
            regions=tuple(regions),
            signal=self.request.signal,
            image=frame,
            drawn=drawn,
            seed=self.request.seed,
            options={**self.options, "num_images": 1, "exact_mask": int(area is not None)},
        )

        def report(done: int, total: int) -> None:
            self.on_step()

        return self.editor.run(asked, on_progress=report, cancelled=self.cancelled).images[0]

    def paint_object(self, frame: Image, place: Grounding, without: Image | None = None) -> tuple[Image, BoolMask]:
        """Return a frame with a new object, and the mask of it: where it differs from the frame `without` any.

        A clip shows it in every frame, so it is painted several times, and the segmenter chooses: it looks for what the
        label says, and is to find just what was painted, and to be sure of it.
        """
        best, found = -1.0, None
        for number in range(TRIES):
            seeded = replace(self, request=replace(self.request, seed=(self.request.seed + number) % 2**63))
            painted = seeded.paint(frame, [place])
            shape = self.cut_out(frame if without is None else without, painted, place.box)
            seen = self.editor.seem.run(SpecialistRequest(instruction=place.label, image=painted)).detections[0]
            likeness = seen.score * float((seen.mask & shape).sum()) / max(int((seen.mask | shape).sum()), 1)
            if likeness > best:
                best, found = likeness, (painted, shape)
        assert found is not None
        return found

    def erase(self, frame: Image, area: BoolMask) -> Image:
        """Return a frame with an area, filled roughly already, painted as what is around it.

        Without the signal: that tells of objects, and here is to be none.
        """
        silent = replace(self.request, signal=None, instruction=ERASE)
        eraser = replace(self, request=silent, options={"strength": ERASE_STRENGTH, **self.options})
        return eraser.paint(frame, [Grounding(box=box_of(area), label=BACKGROUND)], area)

    def ground(self, frame: Image, label: str, stays: Sequence[tuple[str, BoolMask]]) -> Image:
        """Return a frame with another background; each object that stays has a label and a mask."""
        kept = [Grounding(box=box_of(mask), label=name) for name, mask in stays if mask.any()]
        return self.paint(frame, [Grounding(box=FULL, label=label), *kept])

    def cut_out(self, before: Image, after: Image, box: Box) -> BoolMask:
        """Return the mask of what was painted in a box: what differs clearly from the same frame without it.

        Where nothing does, the segmenter is asked: what was painted looks as what was there.
        """
        height, width = after.shape[:2]
        inside = to_mask(DrawnRegion(kind="box", box=box), height, width)
        room = grow(inside, max(round(0.03 * min(height, width)), 1))
        difference = np.abs(after.astype(np.float32) - before.astype(np.float32)).max(axis=2) * room
        clear = max(CHANGED, CLEAR * float(np.quantile(difference[inside], 0.9)))
        painted: BoolMask = difference > clear
        if painted[inside].mean() < LEAST_PAINTED:
            return segment(self.editor.seem, after, [DrawnRegion(kind="box", box=box)])[0]
        return painted


def keyframes(masks: Masks, count: int) -> list[int]:
    """Return at most `count` frames that show most of an object, apart from each other in time, best first."""
    areas = masks.reshape(len(masks), -1).sum(axis=1).astype(np.float64)
    chosen: list[int] = []
    apart = max(len(masks) // (count + 1), 1)
    for frame in np.argsort(-areas, kind="stable"):
        if areas[frame] < 0.5 * areas.max() or len(chosen) == count:
            break
        if all(abs(int(frame) - other) >= apart for other in chosen):
            chosen.append(int(frame))
    return chosen
