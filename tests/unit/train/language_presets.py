"""Twins of both presets with an LLM that costs nothing: one that is trained in full, one with LoRA on a stock LLM."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from train.recipes import language_recipe, language_scores
from vitron.config import LanguageConfig, Pretrained, VitronConfig
from vitron.presets import PRESETS, preset
from vitron.weights import ASSETS, Weights

LLAMA = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
NEW = ("language_model", "region_encoder", "video_projector", "gligen_projection", "seem_projection")
"""What weights to start from lack; the rest is the tiny preset's."""
QUICK = {"steps": "2", "batch": "6", "micro_batch": "3", "ema": "0", "warmup": "1", "validate_steps": "0",
         "loader_workers": "0"}  # fmt: skip


def register(patch: pytest.MonkeyPatch, stock: Path) -> None:
    """Let recipes find the twins by name, and validate on next to nothing."""
    twin = adapted(stock)
    patch.setitem(PRESETS, "whole", whole)
    patch.setitem(PRESETS, "adapted", lambda: twin)
    patch.setattr(language_recipe, "REPLIES", 3)
    patch.setattr(language_scores, "LONGEST_REPLY", 6)
    patch.setattr(language_scores, "DRAWN", 2)


def weights_folder(folder: Path, *, without: tuple[str, ...] = NEW) -> Path:
    """Make a folder of weights of links to the embedded ones."""
    folder.mkdir(parents=True)
    for path in (ASSETS / "tiny").iterdir():
        if path.stem not in (*without, "manifest"):
            (folder / path.name).symlink_to(path)
    (folder / "manifest.json").write_text(json.dumps({"revision": "begin", "runs": {"clip": {"step": 1}}}))
    return folder


def whole() -> VitronConfig:
    """The tiny preset with a smaller LLM."""
    config = preset("tiny")
    llama = {**config.language.llama, **LLAMA, "num_key_value_heads": 2}
    return replace(config, name="whole", language=replace(config.language, llama=llama))


def adapted(stock: Path) -> VitronConfig:
    """The same with an LLM that is stock and learns by LoRA, as the full-size preset's.

    It is written to `stock`, unless it is there.
    """
    config = whole()
    llama = {**config.language.llama, "tie_word_embeddings": False}
    if not stock.exists():
        # The tokens that are added are the last ones: placeholders and signal tokens.
        known = len(Weights(ASSETS / "tiny").tokenizer()) - 3 - config.signal.num_tokens
        torch.manual_seed(5)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=known, bos_token_id=1, eos_token_id=2, **llama))
        model.bfloat16().save_pretrained(stock)  # as it is served, so that nothing is rounded on the way
    language = LanguageConfig(
        llama=llama,
        merge=config.language.merge,
        pretrained=Pretrained(repository=str(stock)),
        lora_rank=4,
        lora_alpha=8,
    )
    return replace(config, name="adapted", language=language)
