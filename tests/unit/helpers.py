"""What several unit tests need: a tokenizer and configurations that cost nothing to build."""

from __future__ import annotations

from dataclasses import replace

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vitron.config import VitronConfig
from vitron.presets import preset
from vitron.tokens import add_tokens


def byte_tokenizer(num_signal: int = 8) -> PreTrainedTokenizerFast:
    """Return a tokenizer of single bytes with VITRON's tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(["<unk>", "<s>", "</s>", *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    add_tokens(wrapped, num_signal)
    return wrapped


def small_config() -> VitronConfig:
    """Return the tiny preset with an LLM and a vision tower small enough for a unit test."""
    config = preset("tiny")
    vision = {
        **config.clip.vision,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    llama = {
        **config.language.llama,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    return replace(
        config,
        clip=replace(config.clip, vision=vision),
        language=replace(config.language, llama=llama),
    )
