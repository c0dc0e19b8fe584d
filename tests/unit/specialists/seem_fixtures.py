"""A very small SEEM with a word tokenizer, for tests that need no trained weights."""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from vitron.config import ProjectionConfig, SeemConfig, SignalConfig
from vitron.specialists.seem import Seem
from vitron.types import Image

WORDS = ("red", "blue", "circle", "star", "the", "this", "one", "at", "top", "left")
SIGNAL = SignalConfig(num_tokens=3, specific=4, shared=4)


def small_config() -> SeemConfig:
    """Every part there is, as small as the group norms allow."""
    return SeemConfig(
        image_size=32,
        embed_dim=8,
        depths=(1, 1, 1, 1),
        focal_levels=(2, 2, 2, 2),
        stem_stride=2,
        stem_kernel=3,
        stem_padding=1,
        hidden=32,
        num_heads=4,
        feedforward=32,
        encoder_layers=1,
        decoder_layers=3,
        num_queries=5,
        max_spatial=6,
        text={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 12},
        projection=ProjectionConfig(hidden=16, num_layers=1, num_heads=2, feedforward=16, num_queries=4),
    )


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Words to ids between a begin and an end token."""
    vocabulary = {word: i for i, word in enumerate(("<bos>", "<eos>", "<unk>", *WORDS))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>", unk_token="<unk>"
    )


def small_seem(seed: int = 0) -> Seem:
    """A model whose weights depend on the seed only."""
    torch.manual_seed(seed)
    return Seem(small_config(), SIGNAL, word_tokenizer()).eval()


def picture(height: int, width: int, seed: int = 0) -> Image:
    """A random picture."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def signal(seed: int = 0) -> torch.Tensor:
    """A random signal embedding."""
    return torch.randn(SIGNAL.num_tokens, SIGNAL.width, generator=torch.Generator().manual_seed(seed))
