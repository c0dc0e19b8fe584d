"""The frozen text encoder whose states generators are conditioned on.

Texts are padded to the encoder's full length and not masked, as Stable Diffusion does it: the padding
positions see the whole sentence, and the diffusion model was trained with them.

Shapes: B batch, T positions of the encoder, D its width.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase

CACHE_SIZE = 512


class TextStates(NamedTuple):
    """What the encoder says of one text.

    Attributes:
        tokens: [T, D], the hidden states of the layer that conditions.
        pooled: [D], the state at the end of the text.
    """

    tokens: Tensor
    pooled: Tensor


class _Cache:
    """The last texts' states, least recently used out first; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, TextStates] = OrderedDict()

    def __reduce__(self) -> tuple[type[_Cache], tuple[()]]:
        """Copy as an empty one: the copy's encoder may be given other weights."""
        return type(self), ()

    def find(self, texts: Sequence[str]) -> dict[str, TextStates]:
        """Return what is known of these texts."""
        with self._lock:
            return {text: self._entries[text] for text in texts if text in self._entries}

    def store(self, found: Mapping[str, TextStates]) -> None:
        """Keep these texts as the latest."""
        with self._lock:
            for text, states in found.items():
                self._entries[text] = states
                self._entries.move_to_end(text)
            while len(self._entries) > CACHE_SIZE:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()


def tokenized(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> Tensor:
    """Return token ids [B, T], cut and padded to T = `length`."""
    encoded = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    return ids


class TextCondition(nn.Module):
    """CLIP's text tower with its tokenizer and a cache of the last texts."""

    def __init__(self, encoder: CLIPTextModel, tokenizer: PreTrainedTokenizerBase, layer: int = -1) -> None:
        """Freeze an encoder.

        Args:
            encoder: CLIP's text tower.
            tokenizer: Its tokenizer.
            layer: Whose states are taken, normalised as the last layer's are; -2 is diffusers' "clip_skip" of 1.
        """
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.tokenizer, self.layer = tokenizer, layer
        self._cache = _Cache()

    @classmethod
    def from_pipeline(
        cls, folder: str, *, revision: str = "main", dtype: torch.dtype = torch.float32, layer: int = -1
    ) -> TextCondition:
        """Load the text encoder and the tokenizer of a diffusers pipeline, a folder or a repository."""
        encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", revision=revision, dtype=dtype)
        return cls(encoder, AutoTokenizer.from_pretrained(folder, subfolder="tokenizer", revision=revision), layer)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> TextCondition:
        """Build one with random weights; the vocabulary and special tokens are the tokenizer's."""
        special = {
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        return cls(CLIPTextModel(CLIPTextConfig(**{**special, **config})), tokenizer)

    @property
    def length(self) -> int:
        """T: positions of every text."""
        return int(self.encoder.config.max_position_embeddings)

    @property
    def width(self) -> int:
        """D: channels of a state."""
        return int(self.encoder.config.hidden_size)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return token ids [B, T], cut and padded to the encoder's length."""
        return tokenized(self.tokenizer, texts, self.length)

    @torch.no_grad()
    def forward(self, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states [B, T, D] and the pooled states [B, D] of token ids."""
        if self.layer == -1:
            output = self.encoder(input_ids=ids_BT)
            return output.last_hidden_state, output.pooler_output
        output = self.encoder(input_ids=ids_BT, output_hidden_states=True)
        return self.encoder.final_layer_norm(output.hidden_states[self.layer]), output.pooler_output

    def encode(self, texts: Sequence[str]) -> list[TextStates]:
        """Return the states of each text; texts met lately are not computed again."""
        found = self._cache.find(texts)
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        if missing:
            device = self.encoder.device
            tokens_BTD, pooled_BD = self(self.tokenize(missing).to(device))
            rows = (TextStates(*pair) for pair in zip(tokens_BTD, pooled_BD, strict=True))
            found |= dict(zip(missing, rows, strict=True))
        self._cache.store(found)
        return [found[text] for text in texts]

    def clear_cache(self) -> None:
        """Forget all texts: due whenever the encoder's weights change."""
        self._cache.clear()
