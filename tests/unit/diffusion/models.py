"""Random tiny models of the real classes, as the diffusion tests share them."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from vitron.config import GligenConfig, ProjectionConfig
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.gligen import Gligen

WIDTH = 32
LENGTH = 24
SIGNAL_WIDTH = 12
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
}


def tokenizer() -> CLIPTokenizer:
    """Return a tokenizer whose tokens are bytes."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=LENGTH)


def text_config() -> dict[str, object]:
    """Return keyword arguments of the text encoder."""
    return {
        "vocab_size": 514,
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": LENGTH,
        "bos_token_id": 512,
        "eos_token_id": 513,
        "pad_token_id": 513,
    }


def unet_config(in_channels: int = 4) -> dict[str, object]:
    """Return keyword arguments of the UNet."""
    return {
        "sample_size": 8,
        "in_channels": in_channels,
        "out_channels": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
        "attention_type": "gated",
    }


def vae_config() -> dict[str, object]:
    """Return keyword arguments of the VAE: 4 pixels a side become one latent position."""
    return {
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 32,
    }


def config(*, in_channels: int = 4, max_objects: int = 30, fuser_fraction: float = 0.4) -> GligenConfig:
    """Return the configuration of a specialist of these sizes."""
    return GligenConfig(
        unet=unet_config(in_channels),
        vae=vae_config(),
        scheduler=SCHEDULER,
        text=text_config(),
        projection=ProjectionConfig(hidden=16, num_layers=1, num_heads=2, feedforward=32, num_queries=6),
        max_objects=max_objects,
        fuser_fraction=fuser_fraction,
        image_size=32,
        num_steps=4,
        guidance_scale=3.0,
        max_rows=8,
    )


def open_gates(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Give the gates of the grounded layers a value: at zero, as made, boxes change nothing."""
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if name.endswith(("alpha_attn", "alpha_dense")):
                parameter.fill_(0.7)
    return unet


def parts(in_channels: int = 4) -> dict[str, object]:
    """Return a pipeline's parts with random weights."""
    torch.manual_seed(0)
    return {
        "unet": open_gates(UNet2DConditionModel(**unet_config(in_channels))).eval(),
        "vae": AutoencoderKL(**vae_config()).eval(),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**text_config())).eval(),
        "tokenizer": tokenizer(),
    }


def gligen(in_channels: int = 9, *, max_objects: int = 4, fuser_fraction: float = 1.0) -> Gligen:
    """Return a specialist with random weights."""
    torch.manual_seed(0)
    made = Gligen.from_config(
        config(in_channels=in_channels, max_objects=max_objects, fuser_fraction=fuser_fraction),
        signal_width=SIGNAL_WIDTH,
        tokenizer=tokenizer(),
    )
    open_gates(made.denoiser.unet)
    return made


def request(text: str, **fields: object) -> SpecialistRequest:
    """Return a request for a few cheap steps."""
    options = fields.pop("options", {"steps": 2})
    return SpecialistRequest(instruction=text, options=options, **fields)
