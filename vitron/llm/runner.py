"""The model side of the engine: forwards of a transformers Llama over the slot cache.

Everything that depends on how transformers wants its masks, positions and caches is here. It does
not know which request sits in which row.

Shapes: B rows, T positions, S attended positions, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from vitron.llm.cache import SlotCache

_ATTENTION = ("sdpa", "eager")


class ModelRunner:
    """Runs prefill chunks and decode steps.

    Attributes:
        cache: The slots' keys and values.
        device: Where the model is.
        dtype: What it computes in.
        hidden_size: D.
        num_valid_tokens: V, without the padding of the vocabulary.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        *,
        num_rows: int,
        max_length: int,
        num_valid_tokens: int | None,
    ) -> None:
        """Allocate the cache and put the model into evaluation mode."""
        _check_model(model, max_length, num_valid_tokens)
        self._model: LlamaForCausalLM = model.eval()
        self.num_valid_tokens: int = num_valid_tokens or model.config.vocab_size
        weight = model.model.embed_tokens.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.hidden_size = int(model.config.hidden_size)
        self.cache = SlotCache(
            model.config,
            num_rows=num_rows,
            max_length=max_length,
            dtype=self.dtype,
            device=self.device,
        )

    def prefill(self, row: int, embeds_TD: Tensor, start: int) -> Tensor:
        """Compute one row's positions from `start` on; return their final hidden states [T, D]."""
        end = start + embeds_TD.shape[0]
        self.cache.open_prefill(row, start, end - start)
        positions_T = torch.arange(start, end, device=self.device)
        visible_TS = torch.arange(end, device=self.device)[None] <= positions_T[:, None]
        return self._forward(embeds_TD[None], positions_T[None], visible_TS[None])[0]

    def decode(self, token_ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Feed one token to each of the first B rows, at positions of their own.

        Returns:
            The final hidden states at these tokens, [B, D].
        """
        ids_B = torch.tensor(token_ids, device=self.device)
        positions_B = torch.tensor(positions, device=self.device)
        kv_length = max(positions) + 1
        self.cache.open_decode(positions_B, kv_length)
        visible_BS = torch.arange(kv_length, device=self.device)[None] <= positions_B[:, None]
        with torch.inference_mode():
            embeds_BD = self._model.model.embed_tokens(ids_B)
        return self._forward(embeds_BD[:, None], positions_B[:, None], visible_BS[:, None])[:, 0]

    def logits(self, hidden_BD: Tensor) -> Tensor:
        """Return the logits of the valid tokens, [B, V]."""
        with torch.inference_mode():
            logits_BV: Tensor = self._model.lm_head(hidden_BD)
        return logits_BV[:, : self.num_valid_tokens]

    def _forward(self, embeds_BTD: Tensor, positions_BT: Tensor, visible_BTS: Tensor) -> Tensor:
        # A ready 4-D mask passes through transformers untouched: rows differ in length, which its
        # own mask code cannot know.
        mask = visible_BTS[:, None]
        if self._model.config._attn_implementation == "eager":  # adds the mask to the scores
            floor = torch.finfo(self.dtype).min
            mask = torch.zeros_like(mask, dtype=self.dtype).masked_fill(~mask, floor)
        with torch.inference_mode():
            hidden_BTD: Tensor = self._model.model(
                inputs_embeds=embeds_BTD,
                position_ids=positions_BT,
                attention_mask=mask,
                past_key_values=self.cache.model_cache,
                use_cache=True,
            ).last_hidden_state
        return hidden_BTD


def _check_model(model: LlamaForCausalLM, max_length: int, num_valid_tokens: int | None) -> None:
    config = model.config
    if config._attn_implementation not in _ATTENTION:
        raise ValueError(
            f"the model's attention is {config._attn_implementation!r}, allowed: {_ATTENTION}, "
            "which honour a mask per row"
        )
    if max_length > config.max_position_embeddings:
        raise ValueError(
            f"max_length is {max_length}, allowed: up to the model's "
            f"max_position_embeddings = {config.max_position_embeddings}"
        )
    if num_valid_tokens is not None and not 1 <= num_valid_tokens <= config.vocab_size:
        raise ValueError(f"num_valid_tokens is {num_valid_tokens}, allowed: 1 to {config.vocab_size}, or None")
