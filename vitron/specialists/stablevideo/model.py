"""StableVideo as a specialist: a request and a clip in, an edited clip of the same size and length out.

The video segmenter finds the objects, the atlas is fitted around them (or taken from the cache), the image editor
paints keyframes, and the atlas carries the paint through all frames. Fitting works on a smaller clip where the clip is
large; keyframes and result have the clip's own size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from vitron.config import AtlasConfig, VitronConfig
from vitron.specialists.base import (
    IsCancelled,
    OnProgress,
    Option,
    Specialist,
    SpecialistError,
    SpecialistRequest,
    check_options,
)
from vitron.specialists.denoising import check_whole
from vitron.specialists.gligen import OPTIONS as GENERATION_OPTIONS
from vitron.specialists.gligen_edit import GligenEdit, load_gligen_edit
from vitron.specialists.seem.video import load_seem_video
from vitron.specialists.stablevideo import edits
from vitron.specialists.stablevideo.cache import LayersCache, key_of
from vitron.specialists.stablevideo.edits import Footage
from vitron.specialists.stablevideo.fit import fit
from vitron.specialists.stablevideo.layers import Layers
from vitron.specialists.stablevideo.motion import camera_shifts
from vitron.specialists.stablevideo.painting import TRIES, Painter
from vitron.specialists.stablevideo.progress import Progress
from vitron.specialists.stablevideo.request import ClipEdit, Kind, read_clip_edit
from vitron.specialists.stablevideo.tracks import find_objects
from vitron.types import Clip, Module, SpecialistOutput
from vitron.weights import Weights

OPTIONS: dict[str, tuple[float, float]] = {
    **{name: limits for name, limits in GENERATION_OPTIONS.items() if name != "num_images"},
    "keyframes": (1, 8),
}
"""Inclusive ranges of a request's options."""
SEARCH = 20
"""Steps of progress that finding the objects counts as."""
Frames = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]


class StableVideo(nn.Module):
    """Consistent video editing as a `Specialist`.

    Attributes:
        editor: Paints keyframes.
        segmenter: A specialist for Video Segmentation.
        cache: The last fits.
    """

    module = Module.VIDEO_EDITING

    def __init__(self, config: AtlasConfig, *, editor: GligenEdit, segmenter: Specialist) -> None:
        super().__init__()
        self.config = config
        self.editor = editor
        self.segmenter = segmenter
        self.cache = LayersCache(config.cache)
        self.eval()

    def run(
        self,
        request: SpecialistRequest,
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> SpecialistOutput:
        """Edit one clip; see `Specialist.run`. Progress counts frames segmented, steps of the fit and of painting."""
        options = _check_options(request.options)
        clip = request.clip
        if clip is None:
            raise ValueError("clip: got None, expected a clip to edit")
        if not request.instruction.strip() and request.signal is None:
            raise ValueError("instruction: got '' and no signal, expected at least one of them")
        edit = read_clip_edit(request)
        count = int(request.options.get("keyframes", self.config.keyframes))
        progress = Progress(self._total(options, count), on_progress)
        try:
            frames = self._edit(request, clip, edit, options, count, progress, cancelled or (lambda: False))
        # RuntimeError is what torch raises for all that can go wrong in a forward, memory included.
        except (RuntimeError, FloatingPointError) as error:
            raise SpecialistError(self.module.value, str(error)) from error
        progress.finish()
        return SpecialistOutput(clips=(Clip(frames=frames, numbers=clip.numbers, fps=clip.fps),))

    def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
        """Edit several clips, one after another; see `Specialist.run_batch`."""
        return [self.run(request) for request in requests]

    def _edit(
        self,
        request: SpecialistRequest,
        clip: Clip,
        edit: ClipEdit,
        options: dict[str, Option],
        count: int,
        progress: Progress,
        cancelled: IsCancelled,
    ) -> Frames:
        painter = Painter(self.editor, request, options, progress.step, cancelled)
        if edit.kind is Kind.ADD:
            assert edit.place is not None
            progress.step(self.config.steps)
            return edits.add(painter, self._camera(clip.frames), edit.place, edit.label)
        found = find_objects(
            self.segmenter, clip, edit, seed=request.seed, on_progress=progress.part(SEARCH), cancelled=cancelled
        )
        if edit.kind is Kind.BACKGROUND and edit.tint:
            progress.step(self.config.steps)
            return edits.recolor_ground(clip.frames, found, painter, edit.label, count)
        masks = np.any([np.zeros(clip.frames.shape[:3], np.bool_), *(track.masks for track in found)], axis=0)
        if edit.kind is not Kind.BACKGROUND and not masks.any():
            raise SpecialistError(self.module.value, "the object to be edited was not found in any frame")
        footage = Footage(clip.frames, masks, self._layers(clip.frames, masks, progress, cancelled))
        if edit.kind is Kind.BACKGROUND:
            return edits.replace_ground(footage, found, painter, edit.label, count)
        if edit.kind is Kind.REMOVE:
            return edits.remove(footage, painter)
        if edit.kind is Kind.RECOLOR:
            return edits.recolor(footage, painter, edit.label, count)
        return edits.replace(footage, painter, edit.label)

    def _layers(self, frames: Frames, masks: Masks, progress: Progress, cancelled: IsCancelled) -> Layers:
        """Return the clip's layers at its own size, from the cache or fitted."""
        key = key_of(frames, masks)
        layers = self.cache.find(key)
        if layers is None:
            small, mask = self._reduced(frames, masks)
            before = progress.done
            layers = fit(
                small,
                mask,
                self.config,
                seed=0,  # a fit is kept for later requests, whatever their seeds
                on_step=lambda done: progress.up_to(before + done),
                cancelled=cancelled,
            )
            self.cache.store(key, layers)
        else:
            progress.step(self.config.steps)
        return layers.resized(frames.shape[1], frames.shape[2])

    def _camera(self, frames: Frames) -> npt.NDArray[np.float32]:
        """Return the shift of the background, [T, 2] in the clip's pixels."""
        small, masks = self._reduced(frames, np.zeros(frames.shape[:3], np.bool_))
        scale = np.array([frames.shape[2] / small.shape[2], frames.shape[1] / small.shape[1]], np.float32)
        return camera_shifts(small, masks) * scale

    def _reduced(self, frames: Frames, masks: Masks) -> tuple[npt.NDArray[np.float32], Masks]:
        """Return a clip in [0, 1] and masks at the size of the fit."""
        height, width = masks.shape[1:]
        scale = min(1.0, self.config.max_side / max(height, width), (self.config.max_pixels / masks.size) ** 0.5)
        size = max(round(height * scale), 8), max(round(width * scale), 8)
        if scale == 1.0:
            return frames.astype(np.float32) / np.float32(255.0), masks
        small = np.stack([_shrunk(torch.from_numpy(f).permute(2, 0, 1).float(), size) for f in frames])
        marks = np.stack([_shrunk(torch.from_numpy(m)[None].float(), size)[..., 0] > 0.5 for m in masks])
        return small / np.float32(255.0), marks

    def _total(self, options: Mapping[str, Option], count: int) -> int:
        painting = int(options.get("steps", self.editor.config.num_steps)) * (max(count, TRIES) + 1)
        return SEARCH + self.config.steps + painting


def _shrunk(plane_CHW: Tensor, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    scaled = functional.interpolate(plane_CHW[None], size=size, mode="bilinear", antialias=True)[0]
    return np.asarray(scaled.permute(1, 2, 0).numpy(), dtype=np.float32)


def _check_options(options: Mapping[str, Option]) -> dict[str, Option]:
    """Return the options of the image editor."""
    check_options(options, OPTIONS)
    check_whole(options, ("steps", "keyframes"))
    return {name: value for name, value in options.items() if name != "keyframes"}


def load_stablevideo(config: VitronConfig, weights: Weights) -> StableVideo:
    """Return the video editor: the image editor's parts and the video segmenter's."""
    editor = load_gligen_edit(config, weights)
    return StableVideo(config.atlas, editor=editor, segmenter=load_seem_video(config, weights))
