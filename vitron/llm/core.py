"""The core LLM with its own input projection and signal head (paper §3.2).

It takes token ids and features and gives hidden states; it writes no prompts and knows no specialist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from vitron.config import VitronConfig
from vitron.encoders.projector import Projector
from vitron.llm.signal import Signal, SignalHead
from vitron.prompt import IGNORE
from vitron.tokens import IMAGE, REGION, VIDEO, signal_ids, token_id


class Learned(NamedTuple):
    """What a training step needs of the LLM.

    Attributes:
        logits: `[K, V]` at the K positions that have a label.
        targets: `[K]` token ids.
        signal: v at the signal tokens of each row that has them, `[R, n, ...]`.
        rows: `[R]` which rows of the batch those are.
        cut_off: v^s of those rows, whose gradient ends at the signal head.
    """

    logits: Tensor
    targets: Tensor
    signal: Signal
    rows: Tensor
    cut_off: Tensor


class LanguageModel(nn.Module):
    """Llama, the projector in front of it and the signal head behind it."""

    def __init__(
        self, config: VitronConfig, tokenizer: PreTrainedTokenizerBase, llama: LlamaForCausalLM | None = None
    ) -> None:
        super().__init__()
        self.config = config
        width = config.language.width
        self.llama: LlamaForCausalLM = llama or LlamaForCausalLM(_llama_config(config, tokenizer))
        self.projector = Projector(
            feature_width=config.clip.width, grid=config.clip.grid, merge=config.language.merge, width=width
        )
        self.signal_head = SignalHead(config.signal, width)
        self.image_id, self.region_id = token_id(tokenizer, IMAGE), token_id(tokenizer, REGION)
        self.video_id = token_id(tokenizer, VIDEO)
        self.signal_ids = signal_ids(tokenizer, config.signal.num_tokens)

    @property
    def embedding(self) -> nn.Embedding:
        """The input embedding table."""
        table: nn.Embedding = self.llama.model.embed_tokens
        return table

    def embed(
        self, ids: Tensor, features: Tensor | None, regions: Tensor | None, clips: Tensor | None = None
    ) -> Tensor:
        """Embed ids `[..., T]` and write visual embeddings over the placeholders, in order.

        Args:
            features: `[P, N, D]` patch features of all pictures in reading order.
            regions: `[R, 2, width]` region embeddings in reading order.
            clips: `[C, width]`, what stands at the `<video>` positions in reading order: the projector's tokens of the
                temporal means and those of the frames, as `VideoProjector` joins them.

        Raises:
            ValueError: the number of placeholders does not fit the features.
        """
        embedded: Tensor = self.embedding(ids)
        if features is not None:
            embedded = _write(embedded, ids == self.image_id, self.projector(features.to(embedded.dtype)), "images")
        if regions is not None:
            embedded = _write(embedded, ids == self.region_id, regions.to(embedded.dtype), "regions")
        if clips is not None:
            embedded = _write(embedded, ids == self.video_id, clips.to(embedded.dtype), "clips")
        return embedded

    def forward(
        self,
        ids: Tensor,
        labels: Tensor,
        features: Tensor | None,
        regions: Tensor | None,
        clips: Tensor | None = None,
    ) -> Learned:
        """Run a right-padded training batch.

        Padding needs no mask: attention is causal, so nothing that is learned can look at what stands behind it.

        Args:
            ids, labels: `[B, T]`; labels are IGNORE where nothing is learned and on padding.
            features, regions, clips: as in `embed`.
        """
        embedded = self.embed(ids, features, regions, clips)
        states = self.llama.model(inputs_embeds=embedded, use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != IGNORE
        logits = self.llama.lm_head(states[:, :-1][wanted])
        rows, states_RnW, embedded_RnW = self._invoking(ids, states, embedded)
        return Learned(
            logits=logits,
            targets=labels[:, 1:][wanted],
            signal=self.signal_head(states_RnW, embedded_RnW),
            rows=rows,
            cut_off=self.signal_head.shared_alone(states_RnW, embedded_RnW),
        )

    def signal(self, states: Tensor) -> Signal:
        """Return the signal embedding from the hidden states `[n, width]` at the n signal tokens."""
        ids = torch.tensor(self.signal_ids, device=states.device)
        found: Signal = self.signal_head(states, self.embedding(ids).to(states.dtype))
        return found

    def _invoking(self, ids: Tensor, states: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows that invoke, and what the signal head reads of them."""
        # Packed conversations invoke at most once, so a row holds the n signal tokens once or not at all.
        rows, starts = (ids == self.signal_ids[0]).nonzero(as_tuple=True)
        span = starts[:, None] + torch.arange(len(self.signal_ids), device=ids.device)
        return rows, states[rows[:, None], span], embedded[rows[:, None], span]


def _write(embedded: Tensor, where: Tensor, values: Tensor, name: str) -> Tensor:
    flat = values.reshape(-1, values.shape[-1])
    if int(where.sum()) != len(flat):
        raise ValueError(f"{name}: {len(flat)} embeddings for {int(where.sum())} placeholder positions")
    return embedded.masked_scatter(where[..., None], flat.to(embedded.dtype))


def _llama_config(config: VitronConfig, tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return LlamaConfig(vocab_size=len(tokenizer), **special, **config.language.llama)


@torch.no_grad()
def order_coordinates(model: LanguageModel, tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> None:
    """Initialise the embeddings of number tokens from Fourier features of their values, in place.

    Neighbouring coordinates then start out similar; with random rows the order of 101 numbers has to be learned from
    scratch, and boxes come much later.
    """
    table = model.embedding.weight
    width = table.shape[1]
    frequencies = math.pi * torch.arange(1, width // 2 + 1) / 4
    scale = table.std() * math.sqrt(2) * (width // 2 + 1) / torch.arange(1, width // 2 + 1).sqrt()
    for word in words:
        angles = frequencies * float(word)
        waves = torch.cat([angles.sin(), angles.cos()])
        amplitude = (scale / scale.mean()).repeat(2)
        row = waves * amplitude
        table[token_id(tokenizer, word), : len(row)] = row / row.std() * table.std()
