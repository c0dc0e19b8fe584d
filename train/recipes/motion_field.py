"""Teach the video encoder where things go: `python -m train motion_field`, after the image encoder is trained.

Questions about directions are few among all that is asked of clips, and an answer says nothing of how it is to be
found. Shapes knows the way of every patch, so that is learned from first, in a minute; the LLM then reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PilImage
from PIL import ImageDraw
from torch import Tensor

from train.data.shapes.clip_vectors import vectors
from train.data.shapes.motion import clip_at
from train.data.shapes.render_clip import film
from train.recipe import Build, Job, NotForPreset, Objective, Recipe, start
from train.settings import Settings
from vitron.encoders.image import ImageEncoder, load_image_encoder
from vitron.encoders.motion_field import UNIT, MotionField
from vitron.encoders.video_projector import PART, VideoProjector, make_video_projector
from vitron.presets import preset as configuration
from vitron.types import Image

SETTINGS = Settings(
    steps=500, batch=6, micro_batch=3, lr=3e-3, warmup=30, floor=0.02, ema=0.98, validate_steps=250, save_seconds=120.0
)
EMPTY = 0.05
"""Weight of a patch without an object beside one with."""
MOVES, RESTS = 0.5, 0.3
"""Lengths: what is longer moves, what is shorter rests; in between is not judged."""
POINTS_RIGHT = 0.9
"""Cosine from which on a direction is right: an eighth of a turn is the least by which two named ones differ."""
NUM_HELD_OUT = 48
NUM_DRAWN = 4
STREAM = 77


class Batch(NamedTuple):
    """C clips: their frames one after another `[F, 3, S, S]`, vectors `[F, N, 2]`, shown `[F, N]`, C lengths."""

    pixels: Tensor
    vectors: Tensor
    shown: Tensor
    lengths: tuple[int, ...]


class Clips:
    """Makes the micro-batch of any number; it depends on number and seed alone."""

    def __init__(self, image: ImageEncoder, *, size: int, split: str = "train", seed: int = 0) -> None:
        """Refer to the encoder, which says how large patches are; `size` clips make a micro-batch."""
        with torch.device("meta"):  # only what it does to pictures is needed, here and in loader processes
            self._image = ImageEncoder(image.config)
        self._side = image.config.grid
        self._size, self._split, self._seed = size, split, STREAM + seed

    def __call__(self, number: int) -> Batch:
        """Return a micro-batch."""
        films = [film(clip_at(self._split, number * self._size + i, self._seed)) for i in range(self._size)]
        known = [vectors(each, self._side) for each in films]
        return Batch(
            pixels=self._image.preprocess([frame for each in films for frame in each.frames]),
            vectors=torch.from_numpy(np.concatenate([each.vectors for each in known])),
            shown=torch.from_numpy(np.concatenate([each.shown for each in known])),
            lengths=tuple(each.clip.frames for each in films),
        )


class Following(Objective):
    """The image encoder as it is, and the field of the video projector, which learns."""

    def __init__(self, image: ImageEncoder, video: VideoProjector) -> None:
        super().__init__({"clip_vision": image, PART: video})
        video.requires_grad_(False)
        self._field.requires_grad_(True)

    @property
    def _field(self) -> MotionField:
        field = self.parts[PART].field
        assert isinstance(field, MotionField)
        return field

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return how far vectors are from the true ones."""
        weights = batch.shown.float() + EMPTY
        errors = F.smooth_l1_loss(self.found(batch), batch.vectors, beta=0.2, reduction="none").sum(dim=-1)
        return {"vectors": (errors * weights).sum() / weights.sum()}

    def found(self, batch: Batch) -> Tensor:
        """Return the vectors that are seen, [F, N, 2]."""
        with torch.no_grad():
            features = self.parts["clip_vision"](batch.pixels)
        return torch.cat([self._field(clip).float() for clip in features.float().split(list(batch.lengths))])


class HeldOut:
    """Measures one fixed micro-batch of held-out clips."""

    def __init__(self, objective: Following, batch: Batch, device: torch.device) -> None:
        self._objective = objective
        self._batch = batch._replace(
            pixels=batch.pixels.to(device), vectors=batch.vectors.to(device), shown=batch.shown.to(device)
        )

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the shares of objects' patches that point the right way, and that rest; as "score" their mean."""
        batch, found = self._batch, self._objective.found(self._batch)
        true = batch.vectors.norm(dim=-1)
        moving, resting = batch.shown & (true > MOVES), batch.shown & (true == 0)
        points = F.cosine_similarity(found[moving], batch.vectors[moving], dim=-1) > POINTS_RIGHT
        rests = found[resting].norm(dim=-1) < RESTS
        shares = {"directions": float(points.float().mean()), "rests": float(rests.float().mean())}
        return {**shares, "score": sum(shares.values()) / len(shares)}

    @torch.no_grad()
    def draw(self, folder: Path) -> None:
        """Write `vectors.png`: the middle frames of some clips with what is seen in them."""
        batch, found = self._batch, self._objective.found(self._batch)
        starts = np.cumsum([0, *batch.lengths])[:NUM_DRAWN]
        middles = [int(start) + length // 2 for start, length in zip(starts, batch.lengths, strict=False)]
        picture = np.concatenate([_drawn(batch.pixels[at], found[at]) for at in middles], axis=1)
        PilImage.fromarray(picture).save(folder / "vectors.png")


def _drawn(pixels: Tensor, found: Tensor, scale: int = 4) -> Image:
    spread = (pixels - pixels.amin()) / (pixels.amax() - pixels.amin())
    shown = PilImage.fromarray((spread * 255).byte().permute(1, 2, 0).cpu().numpy())
    shown = shown.resize((shown.width * scale, shown.height * scale))
    pen, side = ImageDraw.Draw(shown), round(len(found) ** 0.5)
    for number, (x, y) in enumerate(found.cpu().tolist()):
        left, top = ((place + 0.5) / side * shown.width for place in (number % side, number // side))
        pen.line((left, top, left + x * UNIT * shown.width / 2, top + y * UNIT * shown.height / 2), "white", 2)
    return np.asarray(shown)


def make(build: Build) -> Job:
    """Build the job; the weights must have the image encoder."""
    new: set[str] = set()
    image, video = load_image_encoder(build.config, build.weights), make_video_projector(build.config)
    start(video, PART, build.weights, new)
    objective = Following(image.requires_grad_(False), video).to(build.device)
    shown = Clips(image, size=build.settings.measured(NUM_HELD_OUT), split="val")(0)
    held_out = HeldOut(objective, shown, build.device)
    return Job(
        objective=objective,
        batches=Clips(image, size=build.settings.micro_batch, seed=build.settings.seed),
        validate=held_out.measure,
        score="score",
        draw=held_out.draw,
        adam_names=(PART,),
        new=frozenset(new),
    )


def motion_field(preset: str) -> Recipe:
    """Return the recipe that teaches the motion field.

    Raises:
        NotForPreset: the preset's video encoder has none.
    """
    if not configuration(preset).video.motion_field:
        raise NotForPreset(f"preset: {preset!r} has no motion field; 'alignment' trains the rest of its video encoder")
    return Recipe(
        name="motion_field",
        about="pre-training: the video encoder sees where things go",
        preset=preset,
        settings=SETTINGS,
        make=make,
        rates={"clip_vision": 0.0, PART: 1.0},
    )
