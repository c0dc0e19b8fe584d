"""SEEM's decoder: object queries that look at the picture and at every kind of prompt.

Each layer is masked cross-attention to one of three scales, self-attention over queries and prompt tokens, and a
feed-forward layer; prediction heads run before the first layer and after each. Self-attention goes by this table:

| who looks at whom | object | text, signal | spatial | visual |
|-------------------|--------|--------------|---------|--------|
| object queries    | yes    | yes          | yes     | yes    |
| text, signal      | yes    | yes          | no      | no     |

Spatial and visual tokens are read afresh from the picture at each layer and only ever looked at; memory tokens are
visual ones of earlier frames, kept from then. Parameter names are
those of the published checkpoints; `signal_class`, `visual_class` and `match_bias` are this project's own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitron.config import SeemConfig
from vitron.specialists.seem.attention import Attention
from vitron.specialists.seem.pixel_decoder import NUM_SCALES, PixelFeatures, sine_positions
from vitron.specialists.seem.prompts import Marks, Prompts, sample


class Prediction(NamedTuple):
    """What the heads say of the object queries.

    Attributes:
        masks: logits `[rows, Q, h, w]`.
        mask_embeds: `[rows, Q, hidden]`, whose product with the mask features `masks` is.
        captions: `[rows, Q, hidden]`, to be compared with class embeddings.
    """

    masks: Tensor
    mask_embeds: Tensor
    captions: Tensor


class CrossAttentionLayer(nn.Module):
    """Post-norm attention from queries to the picture."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.multihead_attn = Attention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, place: Tensor, memory: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """Update `[B, Q, D]` from `memory [B, K, D]`, with positions `place` and `at`."""
        out: Tensor = self.norm(x + self.multihead_attn(x + place, memory + at, memory, mask))
        return out


class SelfAttentionLayer(nn.Module):
    """Post-norm attention among queries and tokens."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, place: Tensor, looked_at: Tensor, mask: Tensor) -> Tensor:
        """Update `x` from itself and from tokens that are only looked at, which are their own positions."""
        key = torch.cat([x + place, looked_at + looked_at.detach()], dim=1)
        value = torch.cat([x, looked_at], dim=1)
        out: Tensor = self.norm(x + self.self_attn(x + place, key, value, mask))
        return out


class FeedForwardLayer(nn.Module):
    """Post-norm two-layer perceptron."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., D]` to the same shape."""
        out: Tensor = self.norm(x + self.linear2(functional.relu(self.linear1(x))))
        return out


class MaskMlp(nn.Module):
    """Three linear layers from a query to its mask embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., D]` to the same shape."""
        first, second, third = self.layers
        out: Tensor = third(functional.relu(second(functional.relu(first(x)))))
        return out


class Decoder(nn.Module):
    """From pixel features and prompts to predictions of the object queries."""

    def __init__(self, config: SeemConfig) -> None:
        super().__init__()
        dim, heads = config.hidden, config.num_heads
        layers = range(config.decoder_layers)
        self.transformer_cross_attention_layers = nn.ModuleList(CrossAttentionLayer(dim, heads) for _ in layers)
        self.transformer_self_attention_layers = nn.ModuleList(SelfAttentionLayer(dim, heads) for _ in layers)
        self.transformer_ffn_layers = nn.ModuleList(FeedForwardLayer(dim, config.feedforward) for _ in layers)
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(config.num_queries, dim)
        self.query_embed = nn.Embedding(config.num_queries, dim)
        self.pn_indicator = nn.Embedding(2, dim)
        self.level_embed = nn.Embedding(NUM_SCALES, dim)
        self.mask_embed = MaskMlp(dim)
        self.class_embed = nn.Parameter(torch.empty(dim, dim))
        # The spelling is the checkpoints'.
        self.mask_sptial_embed = nn.ParameterList(torch.empty(dim, dim) for _ in range(NUM_SCALES))
        self.signal_class = nn.Linear(dim, dim)
        self.visual_class = nn.Linear(dim, dim)
        self.match_bias = nn.Parameter(torch.zeros([]))
        for weight in (self.class_embed, *self.mask_sptial_embed):
            nn.init.trunc_normal_(weight, std=0.02)

    def forward(self, features: PixelFeatures, prompts: Prompts, reference: PixelFeatures) -> list[Prediction]:
        """Predict before the first layer and after each one; the last is the result.

        Args:
            features: of the pictures to segment.
            prompts: `prompts.rows` of them, a multiple of the number of pictures.
            reference: of the pictures that `prompts.visual` is drawn on.
        """
        levels = self._levels(features)
        marked = [
            (self._levels(source), marks)
            for source, marks in ((features, prompts.spatial), (reference, prompts.visual))
            if marks is not None
        ]
        looked_at, looked_at_valid = self._looked_at(marked, prompts.rows)
        if prompts.memory is not None:
            kept = zip(looked_at, prompts.memory.tokens, strict=True)
            looked_at = [torch.cat([tokens, older], 1) for tokens, older in kept]
            looked_at_valid = torch.cat([looked_at_valid, prompts.memory.valid], 1)
        x, place, valid = self._tokens(prompts)
        mask = _self_attention_mask(len(self.query_feat.weight), valid, looked_at_valid)
        predictions = [self._predict(x, features)]
        for i in range(len(self.transformer_ffn_layers)):
            level = i % NUM_SCALES
            x = self._look(i, x, place, levels[level], predictions[-1].masks)
            x = self.transformer_self_attention_layers[i](x, place, looked_at[level], mask)
            x = self.transformer_ffn_layers[i](x)
            predictions.append(self._predict(x, features))
        return predictions

    def remember(self, features: PixelFeatures, marks: Marks) -> tuple[Tensor, ...]:
        """Read the tokens that marks on pictures stand for, to be kept as `Prompts.memory`: `[n, K, hidden]` each."""
        return tuple(
            self._mark_tokens(level, i, marks, len(marks.rows)) for i, level in enumerate(self._levels(features))
        )

    def _tokens(self, prompts: Prompts) -> tuple[Tensor, Tensor, Tensor]:
        """Object queries and grounding tokens: states, positions, validity, each `[rows, N, ...]`."""
        rows = prompts.rows
        states = [self.query_feat.weight.expand(rows, -1, -1)]
        places = [self.query_embed.weight.expand(rows, -1, -1)]
        valid = [torch.ones_like(states[0][..., 0], dtype=torch.bool)]
        if prompts.text is not None:
            states.append(prompts.text.tokens)
            places.append(prompts.text.tokens.detach())
            valid.append(prompts.text.valid)
        if prompts.signal is not None and prompts.signal_given is not None:
            states.append(prompts.signal)
            places.append(prompts.signal.detach())
            valid.append(prompts.signal_given[:, None].expand(-1, prompts.signal.shape[1]))
        return torch.cat(states, 1), torch.cat(places, 1), torch.cat(valid, 1)

    def _levels(self, features: PixelFeatures) -> list[Tensor]:
        embeds = self.level_embed.weight[:, :, None, None]
        return [scale + embed for scale, embed in zip(features.scales, embeds, strict=True)]

    def _looked_at(self, marked: list[tuple[list[Tensor], Marks]], rows: int) -> tuple[list[Tensor], Tensor]:
        """Spatial and visual tokens at each level `[rows, K, D]`, and which are real `[rows, K]`."""
        blank = self.class_embed.new_zeros(rows, 0, self.class_embed.shape[0])
        tokens = [
            torch.cat([blank, *(self._mark_tokens(maps[i], i, m, rows) for maps, m in marked)], 1)
            for i in range(NUM_SCALES)
        ]
        valid = [_scatter(marks.signs != 0, marks.rows, rows) for _, marks in marked]
        return tokens, torch.cat([blank[..., 0].bool(), *valid], 1)

    def _mark_tokens(self, level: Tensor, i: int, marks: Marks, rows: int) -> Tensor:
        tokens = sample(level, marks) @ self.mask_sptial_embed[i]
        sign = self.pn_indicator.weight[(marks.signs < 0).long()]
        return _scatter(tokens + sign * (marks.signs != 0)[..., None], marks.rows, rows)

    def _look(self, i: int, x: Tensor, place: Tensor, level: Tensor, masks: Tensor) -> Tensor:
        """Masked cross-attention of the object queries; prompt tokens pass through."""
        pictures, dim, height, width = level.shape
        num_queries = masks.shape[1]
        allowed = _attention_mask(masks.detach(), (height, width))
        # The prompts of a picture share its keys: they are folded into one long list of queries.
        objects = x[:, :num_queries].reshape(pictures, -1, dim)
        updated = self.transformer_cross_attention_layers[i](
            objects,
            place[:, :num_queries].reshape(pictures, -1, dim),
            level.flatten(2).transpose(1, 2),
            sine_positions(height, width, dim, level),
            allowed.reshape(pictures, -1, height * width),
        )
        return torch.cat([updated.reshape(len(x), num_queries, dim), x[:, num_queries:]], dim=1)

    def _predict(self, x: Tensor, features: PixelFeatures) -> Prediction:
        states = self.decoder_norm(x[:, : len(self.query_feat.weight)])
        embeds = self.mask_embed(states)
        pictures, dim, height, width = features.mask_features.shape
        masks = embeds.reshape(pictures, -1, dim) @ features.mask_features.flatten(2)
        return Prediction(masks.reshape(len(x), -1, height, width), embeds, states @ self.class_embed)


def _attention_mask(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Where queries may look `[rows, Q, H * W]`: inside their mask, or everywhere if that is empty."""
    smaller = functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)
    inside = (smaller >= 0).flatten(2)
    return inside | ~inside.any(dim=-1, keepdim=True)


def _self_attention_mask(num_queries: int, valid: Tensor, looked_at: Tensor) -> Tensor:
    """The table of the module docstring as bool `[rows, N, N + K]`; True: may look."""
    length = valid.shape[1]
    mask = torch.cat([valid, looked_at], dim=1)[:, None].repeat(1, length, 1)
    mask[:, num_queries:, length:] = False
    return mask


def _scatter(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Put `values [n, ...]` at `rows` of a tensor of zeros `[count, ...]`."""
    out = values.new_zeros(count, *values.shape[1:])
    return out.index_copy(0, rows, values)
