"""`vitron-7b`: the paper's model. Frozen parts are stock checkpoints, trained parts come from `train/`."""

from __future__ import annotations

from vitron.config import (
    ClipConfig,
    GligenConfig,
    I2VGenConfig,
    LanguageConfig,
    Pretrained,
    ProjectionConfig,
    RegionConfig,
    SeemConfig,
    SignalConfig,
    SynergyConfig,
    VitronConfig,
    ZeroscopeConfig,
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
        zeroscope=_zeroscope(),
        i2vgen=_i2vgen(),
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
        vae=_vae(),
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


def _vae() -> dict[str, object]:
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "sample_size": 512,
        "scaling_factor": 0.18215,
    }


def _video_unet() -> dict[str, object]:
    return {
        "sample_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "down_block_types": ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
        "up_block_types": ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3,
        "cross_attention_dim": 1024,
        "attention_head_dim": 64,
    }


def _open_clip_text() -> dict[str, object]:
    """OpenCLIP ViT-H/14's text tower, the condition encoder of both video generators."""
    return {
        "vocab_size": 49408,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "max_position_embeddings": 77,
        "hidden_act": "gelu",
        "projection_dim": 1024,
    }


def _zeroscope() -> ZeroscopeConfig:
    return ZeroscopeConfig(
        unet=_video_unet(),
        vae=_vae(),
        scheduler={
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": "epsilon",
            "steps_offset": 1,
        },
        text=_open_clip_text(),
        projection=ProjectionConfig(num_queries=77),
        height=320,
        width=576,
        num_frames=24,
        max_frames=24,
        num_steps=40,
        pretrained=Pretrained(repository="cerspense/zeroscope_v2_576w"),
    )


def _i2vgen() -> I2VGenConfig:
    return I2VGenConfig(
        unet=_video_unet(),
        vae=_vae(),
        scheduler={
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": "v_prediction",
            "timestep_spacing": "leading",
            "rescale_betas_zero_snr": True,
            "steps_offset": 1,
        },
        text={**_open_clip_text(), "num_hidden_layers": 24},
        vision={
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
            "hidden_act": "gelu",
            "projection_dim": 1024,
        },
        text_layer=-2,
        knows_fps=True,
        fps=16.0,
        projection=ProjectionConfig(num_queries=77),
        height=704,
        width=1280,
        num_frames=16,
        max_frames=16,
        pretrained=Pretrained(repository="ali-vilab/i2vgen-xl"),
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
