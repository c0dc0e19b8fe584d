"""Teach the tiny text encoder the words of clips: `python -m train clip_text`, between `clip` and the generators.

The contrastive loss of `clip` sees pictures, which tell it nothing of "left" or "right", "leaves" or "appears": its
states of two clips that differ in a direction are alike to a hundredth, and no generator can tell them apart. Here
each state has to give back the words up to its own. Captions and edits of pictures keep their states, so that all
that was trained on them is still right.

Shapes: B texts, T tokens, D width, K words that are given back, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from train.data import clips_latents, shapes_latents
from train.data.shapes import captions, edits
from train.data.shapes.edit_invocations import INSTRUCTIONS
from train.data.shapes.scene import scene_at, scene_rng
from train.recipe import Build, Job, Objective, Recipe
from train.recipes.specialists import refuse_stock
from train.settings import Settings
from vitron.presets import preset as configuration
from vitron.specialists.text_condition import TextCondition, tokenized

SETTINGS = Settings(
    steps=1500, batch=64, micro_batch=32, lr=1e-3, warmup=50, ema=0.99, validate_steps=500, save_seconds=120.0
)
WORDS = 12
"""K: a state gives back its own token and those before it."""
NOISE = 0.3
"""Deviation of the noise on states, as a part of theirs: what is given back has to stand out as a generator sees it."""
KEEP = 10.0
"""Weight of how far states of pictures' texts have moved, as a part of their variance."""
FRAMES = 8
"""Length of the clips that texts are of; captions do not tell it."""
NUM_HELD_OUT = 128
NUM_DRAWN = 16
STREAM = 46


class Batch(NamedTuple):
    """Token ids of texts on pictures and of texts on clips, each `[B / 2, T]`."""

    pictures: Tensor
    clips: Tensor


class Texts:
    """Makes the micro-batch of any number; it depends on number and seed alone."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, length: int, *, size: int, split: str = "train", seed: int = 0
    ) -> None:
        """Refer to the tokenizer.

        Args:
            tokenizer: of the encoder.
            length: T.
            size: B, even.
            split: of the Shapes world.
            seed: of all that is drawn.
        """
        self._tokenizer, self._length, self._size = tokenizer, length, size // 2
        self._split, self._seed = split, seed

    def __call__(self, number: int) -> Batch:
        """Return a micro-batch."""
        rng = np.random.default_rng([STREAM, self._seed, number])
        indices = range(number * self._size, (number + 1) * self._size)
        clips = [_of_clip(self._split, index, rng) for index in indices]
        pictures = [_of_picture(self._split, index, rng) for index in indices]
        return Batch(*(tokenized(self._tokenizer, texts, self._length) for texts in (pictures, clips)))


def _of_clip(split: str, index: int, rng: np.random.Generator) -> str:
    draw = (clips_latents.generated, clips_latents.animated)[int(rng.integers(2))]
    pairs = draw(split, index, FRAMES).pairs
    return pairs[int(rng.integers(len(pairs)))][int(rng.integers(2))]


def _of_picture(split: str, index: int, rng: np.random.Generator) -> str:
    scene = scene_at(split, index, STREAM)
    if rng.random() < 0.4:
        made = edits.edit(scene, scene_rng(split, index, 0, STREAM), split)
        if made is not None:
            what = "" if made.target is None else f"the {captions.name(scene.objects[made.target])}"
            return INSTRUCTIONS[made.kind].format(what=what, **made.words)
    if rng.random() < 0.1:
        return shapes_latents.PHRASES[int(rng.integers(len(shapes_latents.PHRASES)))]
    pairs = shapes_latents.text_pairs(scene, rng)
    return pairs[int(rng.integers(len(pairs)))][int(rng.integers(2))]


class Recalling(Objective):
    """The encoder, and heads that only training needs."""

    def __init__(self, encoder: CLIPTextModel, before: CLIPTextModel, pad: int) -> None:
        """Refer to the encoder that learns and to a frozen copy of it; `pad` is the token behind a text."""
        heads = nn.Linear(encoder.config.hidden_size, WORDS * encoder.config.vocab_size)
        super().__init__({"clip_text": encoder, "clip_text_heads": heads})
        self.before, self._pad = before.requires_grad_(False), pad

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return how far states of pictures' texts have moved, and the cross-entropy of clips' words."""
        recalled = self.states(batch.clips)
        noisy = recalled + NOISE * recalled.detach().std() * torch.randn_like(recalled)
        logits, target = self.words(noisy), self.spoken(batch.clips)
        return {
            "keep": KEEP * self.moved(batch.pictures),
            "recall": F.cross_entropy(logits.flatten(0, 2), target.flatten(), ignore_index=-1),
        }

    def words(self, states_BTD: Tensor) -> Tensor:
        """Return logits [B, T, K, V] of the words up to each position, its own first."""
        logits: Tensor = self.parts["clip_text_heads"](states_BTD)
        return logits.float().unflatten(-1, (WORDS, -1))

    def spoken(self, ids_BT: Tensor) -> Tensor:
        """Return those words, [B, T, K]; -1 where there is none. The first position behind a text closes it."""
        columns = [F.pad(ids_BT, (k, 0), value=-1)[:, : ids_BT.shape[1]] for k in range(WORDS)]
        padding_BT = ids_BT == self._pad
        behind_BT = padding_BT & F.pad(padding_BT, (1, 0))[:, :-1]
        return torch.stack(columns, dim=-1).masked_fill(behind_BT[..., None], -1)

    def moved(self, ids_BT: Tensor) -> Tensor:
        """Return how far the states of texts are from those before, as a part of their variance."""
        with torch.no_grad():
            before = self.before(input_ids=ids_BT).last_hidden_state.float()
        return F.mse_loss(self.states(ids_BT), before) / before.var()

    def states(self, ids_BT: Tensor) -> Tensor:
        """Return the last states [B, T, D]."""
        states: Tensor = self.parts["clip_text"](input_ids=ids_BT).last_hidden_state
        return states.float()


class HeldOut:
    """Measures one fixed micro-batch of held-out texts."""

    def __init__(
        self, objective: Recalling, tokenizer: PreTrainedTokenizerBase, batch: Batch, device: torch.device
    ) -> None:
        self._objective, self._tokenizer = objective, tokenizer
        self._batch = Batch(*(ids.to(device) for ids in batch))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the share of words given back without noise, how far pictures' states moved, and both as "score"."""
        objective, batch = self._objective, self._batch
        target = objective.spoken(batch.clips)
        known = target >= 0
        right = (objective.words(objective.states(batch.clips)).argmax(-1) == target)[known].float().mean()
        moved = objective.moved(batch.pictures)
        return {"words": float(right), "moved": float(moved), "score": float(right - moved)}

    @torch.no_grad()
    def draw(self, folder: Path) -> None:
        """Write `words.txt`: texts, and what their last states give back of them."""
        objective, ids = self._objective, self._batch.clips[:NUM_DRAWN]
        chosen = objective.words(objective.states(ids)).argmax(-1)
        ends = (objective.spoken(ids)[..., 0] >= 0).sum(dim=1) - 1
        lines = [
            f"{self._tokenizer.decode(text, skip_special_tokens=True)} | {self._tokenizer.decode(words[end].flip(0))}"
            for text, words, end in zip(ids, chosen, ends, strict=True)
        ]
        (folder / "words.txt").write_text("text | its last words, given back\n" + "\n".join(lines) + "\n")


def make(build: Build) -> Job:
    """Build the encoder from the weights, which must have it."""
    config, weights = build.config.gligen.text, build.weights
    tokenizer = weights.tokenizer("clip_tokenizer")
    text, before = (TextCondition.from_config(config, tokenizer) for _ in range(2))
    for each in (text, before):
        weights.load("clip_text", each.encoder)
    pad = int(tokenizer.pad_token_id)
    objective = Recalling(text.encoder.requires_grad_(True), before.encoder, pad).to(build.device)
    batch = Texts(tokenizer, text.length, size=2 * build.settings.measured(NUM_HELD_OUT), split="val")(0)
    held_out = HeldOut(objective, tokenizer, batch, build.device)
    return Job(
        objective=objective,
        batches=Texts(tokenizer, text.length, size=build.settings.micro_batch, seed=build.settings.seed),
        validate=held_out.measure,
        score="score",
        draw=held_out.draw,
        adam_names=("clip_text_heads",),
        new=frozenset({"clip_text_heads"}),
    )


def clip_text(preset: str) -> Recipe:
    """Return the recipe that teaches the text encoder the words of clips."""
    refuse_stock("clip_text", preset, configuration(preset).clip.pretrained, "alignment")
    return Recipe(
        name="clip_text",
        about="pre-training: the text encoder learns the words of clips",
        preset=preset,
        settings=SETTINGS,
        make=make,
        rates={"clip_text": 1.0, "clip_text_heads": 1.0},
    )
