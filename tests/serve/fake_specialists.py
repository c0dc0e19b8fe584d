"""Stand-ins for the specialists: what they make is simple, exact and made in a moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitron.specialists.base import Cancelled, SpecialistError, SpecialistRequest, check_options
from vitron.types import BoolMask, Clip, Detection, SpecialistOutput, Track

STEPS = 4
BLUE = (0, 0, 255)


class FakeSpecialist:
    """Does in a moment what the specialist of this name would: the left half of everything is what was meant.

    Pictures and clips are painted by seed; the signal's mean is the score. The option "step_s" makes each of the
    `STEPS` steps take so long, "fake_steps" makes them more, and "log" names a file that gets a character for each.
    `steps` counts all that were ever taken.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps = 0

    def run(self, request: SpecialistRequest, *, on_progress: Any = None, cancelled: Any = None) -> SpecialistOutput:
        if request.instruction == "fail":
            raise SpecialistError("fake", "it would not")
        options = request.options
        total = int(options.get("fake_steps", STEPS))
        for done in range(total):
            if cancelled is not None and cancelled():
                raise Cancelled
            time.sleep(float(options.get("step_s", 0)))
            self.steps += 1
            if "log" in options:
                with Path(str(options["log"])).open("a") as log:
                    log.write("x")
            if on_progress is not None:
                on_progress(done + 1, total)
        made: SpecialistOutput = getattr(self, f"_{self.name}")(request)
        return made

    def _gligen(self, request: SpecialistRequest) -> SpecialistOutput:
        allowed = {"steps": (1, 100), "guidance_scale": (0, 20), "num_images": (1, 4), "step_s": (0, 5)}
        check_options(request.options, allowed)
        count = int(request.options.get("num_images", 1))
        value = (request.seed + 10 * len(request.regions)) % 256
        return SpecialistOutput(images=tuple(np.full((8, 8, 3), value, np.uint8) for _ in range(count)))

    def _seem(self, request: SpecialistRequest) -> SpecialistOutput:
        check_options(request.options, {"threshold": (0, 1), "multiple": (0, 1)})
        assert request.image is not None
        mask = _left(request.image.shape[:2])
        score = 1.0 if request.signal is None else float(request.signal.mean() > 0) / 2
        return SpecialistOutput(detections=(Detection(mask, (0.0, 0.0, 0.5, 1.0), score),))

    def _gligen_edit(self, request: SpecialistRequest) -> SpecialistOutput:
        assert request.image is not None
        left = _left(request.image.shape[:2])[..., None]
        return SpecialistOutput(images=(np.where(left, BLUE, request.image).astype(np.uint8),))

    def _zeroscope(self, request: SpecialistRequest) -> SpecialistOutput:
        frames = np.full((8, 16, 16, 3), request.seed % 256, np.uint8)
        return SpecialistOutput(clips=(Clip(frames=frames, fps=8.0),))

    def _i2vgen(self, request: SpecialistRequest) -> SpecialistOutput:
        assert request.image is not None
        frames = np.stack([np.roll(request.image, shift, 1) for shift in range(8)])
        return SpecialistOutput(clips=(Clip(frames=frames, fps=8.0),))

    def _seem_video(self, request: SpecialistRequest) -> SpecialistOutput:
        clip = request.clip
        assert clip is not None
        masks = np.repeat(_left(clip.frames.shape[1:3])[None], len(clip.frames), 0)
        masks[0] = False
        scores = tuple(1.0 for _ in clip.numbers)
        return SpecialistOutput(tracks=(Track(id=7, masks=masks, numbers=clip.numbers, scores=scores, label="it"),))

    def _stablevideo(self, request: SpecialistRequest) -> SpecialistOutput:
        clip = request.clip
        assert clip is not None
        frames = np.where(_left(clip.frames.shape[1:3])[None, ..., None], BLUE, clip.frames).astype(np.uint8)
        return SpecialistOutput(clips=(Clip(frames=frames, fps=clip.fps),))

    def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
        return [self.run(request) for request in requests]


def _left(shape: tuple[int, ...]) -> BoolMask:
    mask = np.zeros(shape[:2], np.bool_)
    mask[:, : max(1, mask.shape[1] // 2)] = True
    return mask
