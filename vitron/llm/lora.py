"""LoRA on the LLM through peft: the adapters and the rows of new tokens, nothing else.

The public VITRON scripts attach adapters and then freeze the whole model, adapters included; here what trains is
decided in one place and returned.
"""

from __future__ import annotations

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

from vitron.config import LanguageConfig

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def add_lora(llama: LlamaForCausalLM, config: LanguageConfig, token_ids: list[int]) -> PeftModel:
    """Return `llama` with trainable adapters and trainable embedding rows `token_ids`; all else is frozen.

    Raises:
        ValueError: the configuration has no LoRA rank.
    """
    if config.lora_rank < 1:
        raise ValueError(f"lora_rank: got {config.lora_rank}, expected 1 or more")
    # Untied models need the output rows of the new tokens too, or they could be read but never produced.
    tables = ["embed_tokens"] if llama.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
    return get_peft_model(
        llama,
        LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            target_modules=list(TARGETS),
            trainable_token_indices=dict.fromkeys(tables, token_ids),
            task_type="CAUSAL_LM",
        ),
    )


def continue_lora(llama: LlamaForCausalLM, folder: Path) -> PeftModel:
    """Return `llama` with a saved adapter that trains on; what else the adapter was made for stays frozen."""
    return PeftModel.from_pretrained(llama, folder, is_trainable=True)


def save_lora(model: PeftModel, folder: Path) -> None:
    """Write the adapter alone: without this flag peft would store the whole embedding table beside it."""
    model.save_pretrained(str(folder), save_embedding_layers=False)


def merge_lora(llama: LlamaForCausalLM, folder: Path) -> LlamaForCausalLM:
    """Return `llama` with a saved adapter merged in, as it is served."""
    merged: LlamaForCausalLM = PeftModel.from_pretrained(llama, folder).merge_and_unload()
    return merged
