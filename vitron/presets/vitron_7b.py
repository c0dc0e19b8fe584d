"""`vitron-7b`: the paper's model. Frozen parts are stock checkpoints, trained parts come from `train/`."""

from __future__ import annotations

from vitron.config import (
    ClipConfig,
    GligenConfig,
    LanguageConfig,
    Pretrained,
    ProjectionConfig,
    RegionConfig,
    SeemConfig,
    SignalConfig,
    SynergyConfig,
    VitronConfig,
)


def vitron_7b() -> VitronConfig:
    """Return the configuration of the full-size preset (paper Appendix C)."""
    return VitronConfig(
        name="vitron-7b",
        clip=ClipConfig(
            vision={
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "image_size": 336,
                "patch_size": 14,
                "projection_dim": 768,
            },
            pretrained=Pretrained(repository="openai/clip-vit-large-patch14-336"),
        ),
        region=RegionConfig(geometry_size=112, hidden=1024),
        language=LanguageConfig(
            llama={
                "hidden_size": 4096,
                "intermediate_size": 11008,
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 32,
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-5,
                "tie_word_embeddings": False,
            },
            pretrained=Pretrained(repository="lmsys/vicuna-7b-v1.5"),
            lora_rank=128,
            lora_alpha=256,
        ),
        signal=SignalConfig(num_tokens=8, specific=2048, shared=2048),
        synergy=SynergyConfig(hidden=768, num_layers=4, num_heads=12, feedforward=3072),
        gligen=_gligen(),
        seem=_seem(),
    )


def _gligen() -> GligenConfig:
    # The generation and the inpainting checkpoints differ in the UNet's input channels; this is generation.
    return GligenConfig(
        unet={
            "sample_size": 64,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (320, 640, 1280, 1280),
            "layers_per_block": 2,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
            "attention_type": "gated",
        },
        vae={
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "block_out_channels": (128, 256, 512, 512),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
            "sample_size": 512,
            "scaling_factor": 0.18215,
        },
        scheduler={
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": "epsilon",
            "steps_offset": 1,
        },
        text={
            "vocab_size": 49408,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 77,
            "projection_dim": 768,
        },
        projection=ProjectionConfig(num_queries=77),
        max_objects=30,
        fuser_fraction=0.3,
        pretrained=Pretrained(repository="masterful/gligen-1-4-generation-text-box"),
    )


def _seem() -> SeemConfig:
    return SeemConfig(
        text={
            "vocab_size": 49408,
            "hidden_size": 512,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "max_position_embeddings": 77,
        },
        projection=ProjectionConfig(num_queries=16),
        pretrained=Pretrained(repository="xdecoder/SEEM"),
    )
