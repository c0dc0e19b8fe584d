"""Masks of the objects of an edit, from the video segmenter."""

from __future__ import annotations

from vitron.specialists.base import IsCancelled, OnProgress, Specialist, SpecialistRequest
from vitron.specialists.stablevideo.request import ClipEdit
from vitron.types import Clip, Track


def find_objects(
    segmenter: Specialist,
    clip: Clip,
    edit: ClipEdit,
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    cancelled: IsCancelled | None = None,
) -> tuple[Track, ...]:
    """Return the track of each object that an edit points at.

    Args:
        segmenter: A specialist for Video Segmentation.
        clip: The clip.
        edit: Its regions and drawings point; none gives no object.
        seed: Of the segmenter.
        on_progress: Of the segmenter.
        cancelled: Of the segmenter.
    """
    if not edit.regions and not edit.drawn:
        return ()
    request = SpecialistRequest(instruction="", clip=clip, regions=edit.regions, drawn=edit.drawn, seed=seed)
    return segmenter.run(request, on_progress=on_progress, cancelled=cancelled).tracks
