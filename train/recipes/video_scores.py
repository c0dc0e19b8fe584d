"""Scores of a video generator on held-out Shapes clips: it makes them as it is served, and an oracle reads them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.clips_latents import KINDS, plan
from train.data.shapes.clip_match import match_animated, match_generated
from train.data.shapes.clip_requests import required
from train.data.shapes.motion import Clip
from train.data.shapes.render_clip import film
from train.recipes.specialists import save_grid
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.video_diffusion import VideoDiffusion
from vitron.types import Grounding

Frames = npt.NDArray[np.uint8]
SHOWN = 12
"""Clips on the sheet of samples."""


class _Asked(NamedTuple):
    text: str
    clip: Clip
    frames: Frames
    regions: tuple[Grounding, ...]


class HeldOut:
    """Makes held-out clips from their descriptions, and from their first frames if they begin with a picture."""

    def __init__(self, specialist: VideoDiffusion, kind: str, count: int) -> None:
        self._specialist, self._kind, self._count = specialist, kind, count
        self._made: list[Frames] = []

    @cached_property
    def asked(self) -> list[_Asked]:
        """What is asked for: the last full pair of texts is the clip's whole description; with the clip's own plan."""
        frames = self._specialist.config.num_frames
        drawn = [KINDS[self._kind]("val", index, frames) for index in range(self._count)]
        films = [film(each.clip) for each in drawn]
        return [
            _Asked(each.pairs[-2][0], each.clip, shown.frames, tuple(plan(each, shown)))
            for each, shown in zip(drawn, films, strict=True)
        ]

    def measure(self) -> dict[str, float]:
        """Return the shares of `clip_match` over the clips made."""
        self._made = self._clips()
        judged = [self._judge(made, ask.clip) for made, ask in zip(self._made, self.asked, strict=True)]
        return {name: sum(each[name] for each in judged) / len(judged) for name in judged[0]}

    def draw(self, folder: Path) -> None:
        """Write `samples.png` (real clips, each followed by what was made) and what they should show."""
        assert self._made, "nothing was measured yet"
        pairs = list(zip(self.asked, self._made, strict=True))[:SHOWN]
        save_grid(folder / "samples.png", [list(row) for ask, made in pairs for row in (ask.frames, made)])
        (folder / "samples.txt").write_text("\n".join(ask.text for ask, _ in pairs) + "\n")

    @property
    def _pictured(self) -> bool:
        return self._kind == "animated"

    def _judge(self, made: Frames, clip: Clip) -> dict[str, bool]:
        wanted = [required(mover) for mover in clip.movers]
        if not self._pictured:
            return match_generated(made, wanted, clip.background.color)._asdict()
        moving = next(i for i, mover in enumerate(clip.movers) if mover.path.moves)
        return match_animated(made, wanted, moving)._asdict()

    def _clips(self) -> list[Frames]:
        """Make every clip, each from a seed of its own, on an engine of this thread."""
        engine = self._specialist.make_engine()
        prepared = []
        for seed, ask in enumerate(self.asked):
            image = ask.frames[0] if self._pictured else None
            request = SpecialistRequest(instruction=ask.text, regions=ask.regions, image=image, seed=seed)
            prepared.append(self._specialist.prepare(request))
            for job in prepared[-1].jobs:
                engine.submit(job)
        latents = engine.run()
        made = [each.finish([latents[job.request_id] for job in each.jobs]) for each in prepared]
        return [output.clips[0].frames for output in made]
