"""`tiny`: the embedded default. Runs on two CPU cores and knows the Shapes world only."""

from __future__ import annotations

from vitron.config import (
    AtlasConfig,
    ClipConfig,
    GligenConfig,
    I2VGenConfig,
    LanguageConfig,
    ProjectionConfig,
    RegionConfig,
    SeemConfig,
    SignalConfig,
    SynergyConfig,
    VideoConfig,
    VitronConfig,
    ZeroscopeConfig,
)

TEXT_TOKENS = 48
"""Longest condition text; the longest canonical caption of a Shapes scene is shorter."""
PLAN_CHANNELS = 16
"""In which the text-to-video network sees what is to be where."""


def tiny() -> VitronConfig:
    """Return the configuration of the tiny preset."""
    return VitronConfig(
        name="tiny",
        clip=ClipConfig(vision=_vision(), text=_text()),
        region=RegionConfig(geometry_size=16, hidden=256),
        language=LanguageConfig(llama=_llama(), merge=2),
        signal=SignalConfig(num_tokens=8, specific=64, shared=64),
        synergy=SynergyConfig(hidden=64, num_layers=2, num_heads=4, feedforward=128),
        gligen=_gligen(),
        zeroscope=_zeroscope(),
        i2vgen=_i2vgen(),
        seem=_seem(),
        video=VideoConfig(max_frames=16, frame_grid=4, frame_squares=True, frame_motion=True, motion_field=True),
        atlas=_atlas(),
    )


def _vision() -> dict[str, object]:
    return {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
        "image_size": 64,
        "patch_size": 8,
        "projection_dim": 128,
    }


def _text() -> dict[str, object]:
    return {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": TEXT_TOKENS,
        "projection_dim": 128,
    }


def _llama() -> dict[str, object]:
    return {
        "hidden_size": 192,
        "intermediate_size": 576,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }


def _gligen() -> GligenConfig:
    return GligenConfig(
        unet={
            "sample_size": 16,
            "in_channels": 9,
            "out_channels": 4,
            "block_out_channels": (48, 96, 128),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 128,
            "attention_head_dim": (2, 3, 4),
            "norm_num_groups": 16,
            "attention_type": "gated",
        },
        vae=_vae(),
        scheduler=_scheduler(),
        text=_text(),
        projection=_condition_projection(),
        max_objects=6,
        fuser_fraction=1.0,
        position_bands=3,
        image_size=64,
        num_steps=12,
        guidance_scale=6.0,
    )


def _vae() -> dict[str, object]:
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (16, 48, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "sample_size": 64,
    }


def _scheduler() -> dict[str, object]:
    return {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": False,
    }


def _condition_projection() -> ProjectionConfig:
    return ProjectionConfig(hidden=128, num_layers=2, num_heads=4, feedforward=256, num_queries=TEXT_TOKENS)


def _video_unet(in_channels: int) -> dict[str, object]:
    """The image UNet's channels and heads, so that its weights can be taken over."""
    return {
        "sample_size": 16,
        "in_channels": in_channels,
        "out_channels": 4,
        "block_out_channels": (48, 96, 128),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D"),
        "up_block_types": ("CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "UpBlock3D"),
        "cross_attention_dim": 128,
        "attention_head_dim": 32,
        "norm_num_groups": 16,
    }


def _zeroscope() -> ZeroscopeConfig:
    return ZeroscopeConfig(
        unet=_video_unet(22 + PLAN_CHANNELS),
        vae=_vae(),
        scheduler=_scheduler(),
        text=_text(),
        projection=_condition_projection(),
        temporal_heads=2,
        temporal_head_dim=32,
        position_bands=3,
        plan_channels=PLAN_CHANNELS,
        shared_noise=0.5,
        height=64,
        width=64,
        num_frames=8,
        max_frames=16,
        num_steps=8,
        guidance_scale=2.5,
    )


def _i2vgen() -> I2VGenConfig:
    return I2VGenConfig(
        unet=_video_unet(4),
        vae=_vae(),
        scheduler=_scheduler(),
        text=_text(),
        projection=_condition_projection(),
        temporal_heads=2,
        temporal_head_dim=32,
        position_bands=3,
        repeat_image=True,
        copies=True,
        follows_plan=True,
        detail=4,
        height=64,
        width=64,
        num_frames=8,
        max_frames=16,
        num_steps=8,
        guidance_scale=3.0,
    )


def _atlas() -> AtlasConfig:
    return AtlasConfig(
        hidden=64,
        layers=3,
        color_bands=6,
        alpha_bands=4,
        steps=120,
        batch=2048,
        lr=3e-3,
        max_side=96,
        max_pixels=400_000,
        keyframes=2,
    )


def _seem() -> SeemConfig:
    return SeemConfig(
        image_size=64,
        embed_dim=32,
        depths=(1, 1, 3, 1),
        focal_levels=(2, 2, 2, 2),
        stem_stride=2,
        stem_kernel=3,
        stem_padding=1,
        hidden=128,
        num_heads=4,
        feedforward=384,
        encoder_layers=2,
        decoder_layers=6,
        num_queries=12,
        max_spatial=48,
        text={
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
        },
        projection=ProjectionConfig(hidden=128, num_layers=2, num_heads=4, feedforward=256, num_queries=16),
    )
