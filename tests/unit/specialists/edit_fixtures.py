"""A very small image editor with random weights, and segmenters that look at colours: tests need no trained weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from tests.unit.diffusion import models
from vitron.regions import to_mask
from vitron.specialists.base import Cancelled, IsCancelled, OnProgress, SpecialistRequest
from vitron.specialists.gligen_edit import GligenEdit
from vitron.types import BoolMask, Detection, DrawnRegion, Image, Module, SpecialistOutput, Track

GROUND, OBJECT, OTHER = (90, 110, 130), (200, 40, 30), (30, 60, 200)
SIDE = 32


def picture(height: int = SIDE, width: int = SIDE) -> Image:
    """A plain ground with a red square in the upper left and a blue one in the lower right."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = GROUND
    image[height // 8 : height * 3 // 8, width // 8 : width * 3 // 8] = OBJECT
    image[height * 5 // 8 : height * 7 // 8, width * 5 // 8 : width * 7 // 8] = OTHER
    return image


def object_mask(image: Image, color: tuple[int, int, int] = OBJECT) -> BoolMask:
    """Where a picture has exactly a colour."""
    return (image == np.array(color, np.uint8)).all(axis=2)


def color_at(image: Image, mark: BoolMask) -> BoolMask:
    """Everything of the colour that is most frequent in a marked part, the ground left out."""
    colors, counts = np.unique(image[mark].reshape(-1, 3), axis=0, return_counts=True)
    for i in np.argsort(-counts):
        if tuple(int(value) for value in colors[i]) != GROUND:
            found: BoolMask = (image == colors[i]).all(axis=2)
            return found
    return np.zeros(image.shape[:2], np.bool_)


class ColorSegmenter(nn.Module):
    """Finds the object of one colour that is drawn on; counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[SpecialistRequest] = []

    def run(
        self,
        request: SpecialistRequest,
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> SpecialistOutput:
        """Segment a picture."""
        self.asked.append(request)
        assert request.image is not None
        height, width = request.image.shape[:2]
        marks = [to_mask(region, height, width) for region in request.drawn] or [object_mask(request.image)]
        masks = [color_at(request.image, mark) for mark in marks]
        return SpecialistOutput(detections=tuple(Detection(mask, (0.0, 0.0, 1.0, 1.0), 1.0) for mask in masks))


class ColorTracker(nn.Module):
    """Follows the colour that is drawn on through a clip."""

    module = Module.VIDEO_SEGMENTATION

    def run(
        self,
        request: SpecialistRequest,
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> SpecialistOutput:
        """Segment a clip."""
        assert request.clip is not None
        clip, tracks = request.clip, []
        boxes = tuple(
            DrawnRegion(kind="box", box=region.box, frame=region.span[0] if region.span else 0)
            for region in request.regions
        )
        for number, region in enumerate(request.drawn or boxes):
            at = clip.numbers.index(region.frame)
            frame = clip.frames[at]
            mark = color_at(frame, to_mask(region, *frame.shape[:2]))
            color = frame[mark][0] if mark.any() else np.array(OBJECT, np.uint8)
            masks = []
            for done, each in enumerate(clip.frames):
                if cancelled is not None and cancelled():
                    raise Cancelled
                masks.append((each == color).all(axis=2))
                if on_progress is not None:
                    on_progress(done + 1, len(clip.frames))
            stacked = np.stack(masks)
            tracks.append(Track(id=number, masks=stacked, numbers=clip.numbers, scores=(1.0,) * len(masks)))
        return SpecialistOutput(tracks=tuple(tracks))

    def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
        """Segment several clips."""
        return [self.run(request) for request in requests]


def editor(in_channels: int = 9) -> GligenEdit:
    """An editor whose segmenter looks at colours."""
    made = models.gligen(in_channels)
    return GligenEdit(
        made.config,
        denoiser=made.denoiser,
        codec=made.codec,
        text=made.text,
        projection=made.projection,
        seem=ColorSegmenter(),  # type: ignore[arg-type]
    )
