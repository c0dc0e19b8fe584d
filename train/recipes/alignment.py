"""What signal embeddings are aligned with: the frozen condition encoders of the specialists (paper step 1.3).

Each specialist's output projection has to meet the text states of `Sample.condition_text`: a full description of what
must be drawn or segmented, which the instruction often leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

from train.data.sample import Sample
from train.recipes.clip import TOKENIZER
from vitron.config import VitronConfig
from vitron.llm.core import Learned
from vitron.losses import condition_distance
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.seem.language import LanguageEncoder

Encode = Callable[[list[str]], tuple[Tensor, Tensor]]
"""Texts -> states `[B, T, D]` and which of them count `[B, T]`."""
GENERATE = ("generate", "generate_like")
SEGMENT = ("segment_text", "segment_mark", "segment_reference")


class Target(nn.Module):
    """One specialist's output projection and the frozen text states that it has to meet."""

    def __init__(self, projection: OutputProjection, encode: Encode, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.projection, self.tasks = projection, tasks
        self._encode = encode

    def loss(self, learned: Learned, samples: Sequence[Sample]) -> Tensor | None:
        """Return the distance over the rows of this specialist's tasks; None if the batch has none."""
        rows = learned.rows.tolist()
        mine = [k for k, row in enumerate(rows) if samples[row].task in self.tasks]
        if not mine:
            return None
        states, mask = self._encode([samples[rows[k]].condition_text or "" for k in mine])
        with torch.autocast("cpu", enabled=False):
            projected = self.projection(learned.signal.joined[mine].float())
            return condition_distance(projected[:, : states.shape[1]], states, mask)


class ClipStates:
    """Text states of GLIGEN's condition encoder, padded to its length as the denoiser sees them."""

    def __init__(self, text: CLIPTextModel) -> None:
        self.text = text.eval().requires_grad_(False)
        self.tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return states `[B, T, D]` and a mask of ones: padding conditions the denoiser too."""
        ids = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        states = self.text(input_ids=ids).last_hidden_state
        return states, torch.ones(states.shape[:2], dtype=torch.bool)


class SeemStates:
    """Token states of SEEM's language encoder at the length of its signal segment."""

    def __init__(self, language: LanguageEncoder, length: int) -> None:
        self.language, self.length = language.eval().requires_grad_(False), length

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return states `[B, length, D]` and a mask of ones."""
        states = self.language.fixed_states(texts, self.length)
        return states, torch.ones(states.shape[:2], dtype=torch.bool)


def make_targets(config: VitronConfig, clip_run: Path, seem_run: Path | None) -> dict[str, Target]:
    """Return the targets of the specialists that are trained already."""
    gligen = OutputProjection(config.signal.width, int(config.gligen.text["hidden_size"]), config.gligen.projection)
    targets = {"gligen": Target(gligen, ClipStates(load_text(config, clip_run)), GENERATE)}
    if seem_run:
        seem = OutputProjection(config.signal.width, config.seem.hidden, config.seem.projection)
        states = SeemStates(load_seem_language(config, seem_run), config.seem.projection.num_queries)
        targets["seem"] = Target(seem, states, SEGMENT)
    return targets


def load_text(config: VitronConfig, run: Path) -> CLIPTextModel:
    """Return the text tower of a CLIP run."""
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    special = {"bos_token_id": 0, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    text = CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), **special, **config.clip.text))
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)["parts"]["clip"]
    text.load_state_dict({k.removeprefix("text."): v for k, v in state.items() if k.startswith("text.")})
    return text


def load_seem_language(config: VitronConfig, run: Path) -> LanguageEncoder:
    """Return the language encoder of a SEEM run."""
    encoder = LanguageEncoder(config.seem, AutoTokenizer.from_pretrained(TOKENIZER))
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)["ema"]
    prefix = "lang_encoder."
    encoder.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return encoder
