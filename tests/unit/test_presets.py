"""Both presets are the same code at two sizes; the full one is built without memory, on the meta device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from tests.unit.helpers import byte_tokenizer, small_config
from vitron.config import LanguageConfig, VitronConfig
from vitron.encoders.image import ImageEncoder
from vitron.encoders.region import make_region_encoder
from vitron.llm.core import LanguageModel
from vitron.llm.lora import add_lora, merge_lora, save_lora
from vitron.presets import preset
from vitron.specialists.gligen import Gligen
from vitron.specialists.seem.model import Seem
from vitron.tokens import signal_ids

MILLION = 1_000_000


def size(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / MILLION


@pytest.fixture(scope="module")
def full() -> VitronConfig:
    return preset("vitron-7b")


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="tiny"):
        preset("huge")


def test_the_full_encoders_have_the_papers_sizes(full: VitronConfig) -> None:
    with torch.device("meta"):
        image, region = ImageEncoder(full.clip), make_region_encoder(full)
        features = image(torch.empty(2, 3, 336, 336))
        tokens = region(features, torch.empty(2, 576), torch.empty(2, 112, 112))
    assert features.shape == (2, 576, 1024)
    assert full.num_image_tokens == 576
    assert tokens.shape == (2, 2, 4096)
    assert 300 < size(image) < 310  # CLIP ViT-L/14


def test_the_full_llm_is_vicunas(full: VitronConfig) -> None:
    tokenizer = byte_tokenizer(full.signal.num_tokens)
    with torch.device("meta"):
        model = LanguageModel(full, tokenizer)
    vocabulary = 2 * 4096 * (32000 - len(tokenizer)) / MILLION
    assert 6_730 < size(model.llama) + vocabulary < 6_745
    assert model.projector.linear.weight.shape == (4096, 1024)


def test_the_full_specialists_can_be_built(full: VitronConfig) -> None:
    tokenizer = byte_tokenizer()
    with torch.device("meta"):
        gligen = Gligen.from_config(full.gligen, signal_width=full.signal.width, tokenizer=tokenizer)
        seem = Seem(full.seem, full.signal, tokenizer)
    assert 31 < size(gligen.projection) < 36  # NExT-GPT's mapper has 32 million for this width
    assert 1_280 < size(gligen) < 1_330  # Stable Diffusion 1.4 (1,066), 207 of gated layers, the mapper
    assert 320 < size(seem.network) < 360


def lora_config() -> LanguageConfig:
    return replace(small_config().language, lora_rank=4, lora_alpha=8)


@pytest.mark.parametrize("tied", [True, False])
def test_lora_trains_adapters_and_new_tokens_alone_and_survives_a_round_trip(tmp_path: Path, tied: bool) -> None:
    torch.manual_seed(0)
    config = small_config()
    settings = {**config.language.llama, "tie_word_embeddings": tied}
    config = replace(config, language=replace(config.language, llama=settings))
    tokenizer = byte_tokenizer()
    base = LanguageModel(config, tokenizer).llama
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = add_lora(base, lora_config(), signal_ids(tokenizer, 8))
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name or "trainable_tokens" in name for name in trainable)
    ids = torch.tensor([[5, 6, signal_ids(tokenizer, 8)[0], 7]])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):  # lora_B is zero at first, so lora_A moves from the second step on
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    expected = model(input_ids=ids).logits
    save_lora(model, tmp_path / "lora")
    fresh = LlamaForCausalLM(base.config)
    fresh.load_state_dict(before)
    assert not torch.allclose(fresh(input_ids=ids).logits, expected, atol=1e-4)
    merged = merge_lora(fresh, tmp_path / "lora")
    assert torch.allclose(merged(input_ids=ids).logits, expected, atol=1e-4)
