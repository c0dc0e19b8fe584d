"""SEEM's language encoder: a causal CLIP-like Transformer giving token states and a class embedding.

Parameter names are those of the published checkpoints. It tokenizes too, so that nothing outside needs to know how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from vitron.config import SeemConfig
from vitron.specialists.seem.attention import Attention

NORM_EPSILON = 1e-12


class TextStates(NamedTuple):
    """Texts as the decoder reads them: `tokens [B, L, hidden]`, `valid [B, L]`, `classes [B, hidden]`."""

    tokens: Tensor
    valid: Tensor
    classes: Tensor


class ResidualBlock(nn.Module):
    """A pre-norm causal Transformer layer with QuickGELU."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attn = Attention(dim, num_heads)
        self.ln_1 = nn.LayerNorm(dim, eps=NORM_EPSILON)
        self.mlp = nn.Module()
        self.mlp.c_fc = nn.Linear(dim, 4 * dim)
        self.mlp.c_proj = nn.Linear(4 * dim, dim)
        self.ln_2 = nn.LayerNorm(dim, eps=NORM_EPSILON)

    def forward(self, x: Tensor, causal: Tensor) -> Tensor:
        """Map `[B, L, D]` to the same shape; `causal` is bool `[1, L, L]`."""
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, causal)
        wide = self.mlp.get_submodule("c_fc")(self.ln_2(x))
        out: Tensor = x + self.mlp.get_submodule("c_proj")(wide * torch.sigmoid(1.702 * wide))
        return out


class TextTransformer(nn.Module):
    """Token and position embeddings, the blocks, a final norm."""

    def __init__(self, config: SeemConfig, vocab_size: int) -> None:
        super().__init__()
        dim = int(config.text["hidden_size"])
        self.token_embedding = nn.Embedding(vocab_size, dim)
        self.positional_embedding = nn.Parameter(torch.empty(int(config.text["max_position_embeddings"]), dim))
        self.resblocks = nn.ModuleList(
            ResidualBlock(dim, int(config.text["num_attention_heads"]))
            for _ in range(int(config.text["num_hidden_layers"]))
        )
        self.ln_final = nn.LayerNorm(dim, eps=NORM_EPSILON)
        nn.init.trunc_normal_(self.positional_embedding, std=0.02)
        nn.init.trunc_normal_(self.token_embedding.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Map token ids `[B, L]` to states `[B, L, D]`."""
        length = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[:length]
        causal = torch.ones(1, length, length, dtype=torch.bool, device=ids.device).tril()
        for block in self.resblocks:
            x = block(x, causal)
        out: Tensor = self.ln_final(x)
        return out


class LanguageEncoder(nn.Module):
    """Texts to states of the decoder's width.

    Args:
        config: sizes.
        tokenizer: adds begin and end tokens and has a padding token; the class embedding is read at the end token.
    """

    def __init__(self, config: SeemConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_length = int(config.text["max_position_embeddings"])
        dim = int(config.text["hidden_size"])
        self.lang_encoder = TextTransformer(config, vocabulary_size(config, tokenizer))
        self.lang_proj = nn.Parameter(torch.empty(dim, config.hidden))
        self.logit_scale = nn.Parameter(torch.ones([]))
        nn.init.trunc_normal_(self.lang_proj, std=0.02)

    def forward(self, texts: Sequence[str]) -> TextStates:
        """Encode texts, padded to the longest of them and cut at the longest the encoder takes."""
        return self.encode(*self.tokenize(texts))

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids `[B, L]` and how many of each row are real `[B]`."""
        encoded = self.tokenizer(
            list(texts),
            padding="longest",
            padding_side="right",
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        device = self.lang_proj.device
        lengths = encoded["attention_mask"].sum(dim=1)
        return encoded["input_ids"].to(device), lengths.to(device)

    def encode(self, ids: Tensor, lengths: Tensor) -> TextStates:
        """Encode token ids; the padding behind a text cannot change it, as the encoder is causal."""
        tokens = self.lang_encoder(ids) @ self.lang_proj
        valid = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        classes = tokens[torch.arange(len(ids), device=ids.device), lengths - 1]
        return TextStates(tokens, valid, classes)

    def fixed_states(self, texts: Sequence[str], length: int) -> Tensor:
        """Encode texts as exactly `length` tokens `[B, length, hidden]`: cut, or the last state repeated."""
        states = self(texts)
        tokens: Tensor = states.tokens
        last = states.valid.sum(dim=1).clamp(max=length) - 1
        place = torch.arange(length, device=tokens.device).expand(len(tokens), -1)
        index = torch.minimum(place, last[:, None])
        return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def vocabulary_size(config: SeemConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """The embedding rows: the configuration's number if it states one, else the tokenizer's."""
    return int(config.text.get("vocab_size", len(tokenizer)))


def similarity(states: Tensor, classes: Tensor) -> Tensor:
    """Cosine of `[B, Q, D]` with one vector `[B, D]` each: `[B, Q]`."""
    return (functional.normalize(states, dim=-1) * functional.normalize(classes, dim=-1)[:, None]).sum(-1)
