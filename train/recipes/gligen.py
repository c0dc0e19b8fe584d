"""Pre-train the layout-conditioned generator of the tiny preset on Shapes scenes.

    python -m train.recipes.gligen --minutes 45 --vae runs/vae/vae.safetensors \
        --text runs/clip/text.safetensors --out runs/gligen

There is no LLM yet, so the signal segment of the condition is simulated: it holds the text states of what is
meant, while the text segment holds those of an instruction, which may say too little. Alignment later trains
an output projection to put the same states there. Boxes are given in half of the batches; in some rows part
of the picture is kept, so that editing starts warm.

Resumes from `last.pt`; writes `samples.png` with `samples.txt` at checkpoints and `unet.safetensors` (the
state of a `GligenDenoiser`, averaged) at every checkpoint as well, so that it may be used at any time.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from train.data.shapes import captions, oracle
from train.data.shapes.render import boxes, render
from train.data.shapes.scene import Scene, scene_at
from train.data.shapes_latents import NUM_FULL, PHRASES, LatentCache, build
from train.precision import mixed_precision
from train.recipes.support import Budget, Run, save_grid
from vitron.diffusion.engine import DenoiseEngine
from vitron.diffusion.latents import LatentCodec, to_images
from vitron.diffusion.losses import denoising_loss
from vitron.diffusion.request import DenoiseRequest
from vitron.presets import preset
from vitron.specialists.gligen_denoiser import GligenCondition, GligenDenoiser, pad_tokens
from vitron.specialists.text_condition import TextCondition
from vitron.types import Box, Image

logger = logging.getLogger(__name__)

TOKENIZER = "vitron/assets/tiny/clip_tokenizer"
MIX = {"full": 0.40, "meant": 0.17, "both": 0.13, "under": 0.20, "none": 0.10}
"""Share of rows whose condition is: the instruction, the signal, both, an instruction that says too little
with the signal, or nothing."""
SIGNAL_NOISE = 0.3
"""Largest deviation of the noise on simulated signal tokens: a projection will not hit the states exactly."""
SAMPLE_SCENES = 16
GRID_COLUMNS = 8


@dataclass(frozen=True, kw_only=True)
class GligenRecipe:
    """Settings of the run."""

    steps: int = 20_000
    minutes: float | None = None
    batch_size: int = 32
    num_scenes: int = 40_000
    muon_lr: float = 0.006
    adam_lr: float = 2e-3
    checkpoint_seconds: float = 300.0
    grounded: float = 0.5
    first: int = 0
    inpainted: float = 0.15


class Batch(NamedTuple):
    """The tensors of one step."""

    latents: Tensor
    tokens: Tensor
    mask: Tensor | None
    grounding: dict[str, Tensor] | None
    source: Tensor


class Batches:
    """Makes the batch of any step; it depends on the step's number alone."""

    def __init__(
        self,
        cache: LatentCache,
        text: TextCondition,
        denoiser: GligenDenoiser,
        recipe: GligenRecipe,
    ) -> None:
        self._cache, self._text = cache, text
        self._denoiser, self._recipe = denoiser, recipe
        self._empty = text.encode([""])[0].tokens
        self._phrases = torch.stack([states.pooled for states in text.encode(PHRASES)])

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step."""
        rng, size = np.random.default_rng([13, self._recipe.first + step]), self._recipe.batch_size
        rows = np.sort(rng.integers(len(self._cache), size=size))
        latents = torch.from_numpy(self._cache.latents[rows].astype(np.float32))
        kinds = rng.choice(list(MIX), size=size, p=list(MIX.values()))
        tokens, mask = pad_tokens(self._tokens(rows, kinds, rng))
        grounding = None
        if rng.random() < self._recipe.grounded:
            grounding = self._grounding(rows, kinds, rng)
        return Batch(latents, tokens, mask, grounding, self._source(latents, rows, rng))

    def _tokens(self, rows: np.ndarray, kinds: np.ndarray, rng: np.random.Generator) -> list[Tensor]:
        """Return each row's condition tokens, [T, D] or [2T, D]."""
        pairs = np.where(kinds == "under", NUM_FULL, rng.integers(NUM_FULL, size=len(rows)))
        ids = torch.from_numpy(self._cache.texts[rows, pairs].astype(np.int64))
        said = [i for i, kind in enumerate(kinds) if kind in ("full", "both", "under")]
        meant = [i for i, kind in enumerate(kinds) if kind in ("meant", "both", "under")]
        states, _ = self._text(torch.cat([ids[said, 0], ids[meant, 1]]))
        texts = dict(zip(said, states[: len(said)].float(), strict=True))
        noise = torch.from_numpy(rng.standard_normal((len(meant), *states.shape[1:]), np.float32))
        level = torch.from_numpy(rng.uniform(0, SIGNAL_NOISE, (len(meant), 1, 1)).astype(np.float32))
        noisy = states[len(said) :].float() + level * noise
        signals = dict(zip(meant, noisy, strict=True))
        return [self._denoiser.join(texts.get(i, self._empty), signals.get(i)) for i in range(len(rows))]

    def _grounding(self, rows: np.ndarray, kinds: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        conditions = []
        for row, kind in zip(rows, kinds, strict=True):
            names, places = self._cache.phrases[row], self._cache.boxes[row]
            found = np.flatnonzero(names[:, 0] >= 0)
            draw = rng.random()
            if kind == "none" or draw < 0.1:
                found = found[:0]
            elif draw < 0.35:
                found = rng.permutation(found)[: rng.integers(1, len(found) + 1)]
            wording = rng.integers(2, size=len(found))
            conditions.append(
                GligenCondition(
                    tokens=self._empty,
                    boxes=tuple(_box(places[i]) for i in found),
                    phrases=self._phrases[names[found, wording].astype(np.int64)],
                    grounded=True,
                )
            )
        return self._denoiser.pack_grounding(conditions)

    def _source(self, latents: Tensor, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Return the inpainting channels: the kept latents and the mask, zero where nothing is kept."""
        keep = torch.zeros(len(rows), 1, *latents.shape[2:])
        for i in np.flatnonzero(rng.random(len(rows)) < self._recipe.inpainted):
            keep[i] = 1.0
            left, top, right, bottom = _hole(self._cache.boxes[rows[i]], latents.shape[-1], rng)
            keep[i, :, top:bottom, left:right] = 0.0
        return torch.cat([latents * keep, keep], dim=1)


def _box(values: np.ndarray) -> Box:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2


def _hole(places: np.ndarray, side: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return a rectangle to paint anew, in latent positions: an object's surroundings, or anywhere."""
    found = places[places.any(axis=1)]
    if len(found) and rng.random() < 0.6:
        margin = int(rng.integers(3))
        x1, y1, x2, y2 = found[rng.integers(len(found))] * side
        low = max(int(x1) - margin, 0), max(int(y1) - margin, 0)
        return *low, min(int(np.ceil(x2)) + margin, side), min(int(np.ceil(y2)) + margin, side)
    width, height = (int(value) for value in rng.integers(side // 4, side - 2, size=2))
    left, top = int(rng.integers(side - width + 1)), int(rng.integers(side - height + 1))
    return left, top, left + width, top + height


class Sampler:
    """Draws held-out scenes from their captions, half of them with boxes, beside the real pictures."""

    def __init__(self, codec: LatentCodec, text: TextCondition, out: Path) -> None:
        config = preset("tiny").gligen
        self._codec, self._text, self._out, self._config = codec, text, out, config
        self._denoiser = make_denoiser().eval()

    def __call__(self, weights: dict[str, Tensor], shape: tuple[int, ...]) -> None:
        """Write `samples.png`: real pictures above those made from words, then those from boxes too."""
        self._denoiser.load_state_dict(weights)
        scenes = [scene_at("val", i) for i in range(SAMPLE_SCENES)]
        real = [render(scene) for scene in scenes]
        made = {name: self._draw(scenes, shape, name == "boxes") for name in ("words", "boxes")}
        rows = [
            pictures[start : start + GRID_COLUMNS]
            for start in range(0, SAMPLE_SCENES, GRID_COLUMNS)
            for pictures in (real, *made.values())
        ]
        save_grid(self._out / "samples.png", rows)
        lines = [captions.canonical_caption(scene) for scene in scenes]
        (self._out / "samples.txt").write_text("\n".join(lines) + "\n")
        for name, pictures in made.items():
            right = sum(map(shows, pictures, scenes))
            logger.info("from %s: %d of %d pictures show exactly the objects", name, right, len(scenes))

    def _draw(self, scenes: list[Scene], shape: tuple[int, ...], grounded: bool) -> list[Image]:
        config = self._config
        engine = DenoiseEngine[GligenCondition](
            self._denoiser,
            lambda: DPMSolverMultistepScheduler(**config.scheduler),
            max_rows=2 * len(scenes),
        )
        empty = self._text.encode([""])[0].tokens
        for i, scene in enumerate(scenes):
            names = [captions.describe(obj) for obj in scene.objects]
            states = self._text.encode([captions.canonical_caption(scene), *names])
            request = DenoiseRequest(
                request_id=str(i),
                shape=shape,
                condition=GligenCondition(
                    tokens=states[0].tokens,
                    boxes=tuple(_box(box) for box in boxes(scene)) if grounded else (),
                    phrases=torch.stack([each.pooled for each in states[1:]]),
                    grounded=grounded,
                ),
                unconditional=GligenCondition(tokens=empty, grounded=grounded),
                num_steps=config.num_steps,
                guidance_scale=config.guidance_scale,
                seed=i,
            )
            engine.submit(request)
        made = engine.run()
        with torch.no_grad():
            pixels = self._codec.decode(torch.stack([made[str(i)] for i in range(len(scenes))]))
        return to_images(pixels)


def shows(picture: Image, scene: Scene) -> bool:
    """Tell whether an oracle reads exactly the scene's objects from a picture, places aside."""
    wanted = [{"shape": obj.shape, "color": obj.color, "size": obj.size} for obj in scene.objects]
    return oracle.matches(oracle.read(picture), wanted)


def make_denoiser() -> GligenDenoiser:
    """Return the tiny preset's denoiser with random weights."""
    config = preset("tiny").gligen
    return GligenDenoiser.from_config(config.unet, max_objects=config.max_objects, fuser_fraction=config.fuser_fraction)


def load_frozen(vae: Path, text: Path) -> tuple[LatentCodec, TextCondition]:
    """Return the trained autoencoder and text encoder."""
    config = preset("tiny").gligen
    codec = LatentCodec.from_config(config.vae).eval().requires_grad_(False)
    codec.load_state_dict(load_file(vae))
    condition = TextCondition.from_config(config.text, AutoTokenizer.from_pretrained(TOKENIZER))
    condition.encoder.load_state_dict(load_file(text))
    return codec, condition


def train(recipe: GligenRecipe, vae: Path, text: Path, out: Path, start: Path | None = None) -> None:
    """Run to the end of the budget, from the weights in `start` if given."""
    torch.manual_seed(0)
    codec, condition = load_frozen(vae, text)
    facts = {"vae": hashlib.sha256(vae.read_bytes()).hexdigest()}
    cache = build(out / "cache", recipe.num_scenes, codec, condition, facts)
    denoiser = make_denoiser()
    if start:
        denoiser.load_state_dict(load_file(start))
    denoiser.unet.to(memory_format=torch.channels_last)  # 7 % faster on a CPU
    scheduler = DPMSolverMultistepScheduler(**preset("tiny").gligen.scheduler)
    batches = Batches(cache, condition, denoiser, recipe)
    run = Run(
        denoiser,
        out,
        Budget(recipe.steps, recipe.minutes),
        muon_lr=recipe.muon_lr,
        adam_lr=recipe.adam_lr,
        adam_names=("conv_in", "unet.conv_out"),
        warmup=100,
    )
    sample = Sampler(codec, condition, out)
    shape = cache.latents.shape[1:]
    while run.budget.progress < 1.0:
        with mixed_precision():
            batch = batches(run.budget.step)
            parts = denoising_loss(
                denoiser.unet,
                scheduler,
                batch.latents,
                batch.tokens,
                mask_BT=batch.mask,
                grounding=batch.grounding,
                extra_channels=batch.source,
            )
        run.update(parts, recipe.batch_size)
        if run.due(recipe.checkpoint_seconds) or run.budget.progress >= 1.0:
            run.save()
            save_file({k: v.contiguous() for k, v in run.averaged().items()}, out / "unet.safetensors")
            sample(run.averaged(), shape)
            logger.info("saved at step %d", run.budget.step)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=GligenRecipe.steps)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--num-scenes", type=int, default=GligenRecipe.num_scenes)
    parser.add_argument("--batch-size", type=int, default=GligenRecipe.batch_size)
    parser.add_argument("--grounded", type=float, default=GligenRecipe.grounded, help="share of batches with boxes")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first batch; a further run goes on counting"
    )
    parser.add_argument("--start", type=Path, default=None, help="unet.safetensors of an earlier run")
    parser.add_argument("--vae", type=Path, default=Path("runs/vae/vae.safetensors"))
    parser.add_argument("--text", type=Path, default=Path("runs/clip/text.safetensors"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    recipe = GligenRecipe(
        steps=arguments.steps,
        minutes=arguments.minutes,
        num_scenes=arguments.num_scenes,
        batch_size=arguments.batch_size,
        grounded=arguments.grounded,
        first=arguments.first,
    )
    train(recipe, arguments.vae, arguments.text, arguments.out, arguments.start)


if __name__ == "__main__":
    main()
