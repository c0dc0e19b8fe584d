"""Random tiny video generators of the real classes, as their tests share them."""

from __future__ import annotations

import torch
from torch import nn

from tests.unit.diffusion import models
from vitron.config import I2VGenConfig, ProjectionConfig, ZeroscopeConfig
from vitron.specialists.i2vgen import I2VGen
from vitron.specialists.zeroscope import Zeroscope

FRAMES = 3
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
    "projection_dim": models.WIDTH,
}


def unet_config(in_channels: int = 4) -> dict[str, object]:
    """Return keyword arguments of a video UNet with the channels of `models.unet_config`."""
    return {
        "sample_size": 8,
        "in_channels": in_channels,
        "out_channels": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock3D", "CrossAttnDownBlock3D"),
        "up_block_types": ("CrossAttnUpBlock3D", "UpBlock3D"),
        "cross_attention_dim": models.WIDTH,
        "attention_head_dim": 16,
        "norm_num_groups": 8,
    }


def common() -> dict[str, object]:
    """Return what both configurations share."""
    return {
        "vae": models.vae_config(),
        "scheduler": dict(models.SCHEDULER),
        "text": models.text_config(),
        "projection": ProjectionConfig(hidden=16, num_layers=1, num_heads=2, feedforward=32, num_queries=6),
        "height": 32,
        "width": 32,
        "num_frames": FRAMES,
        "max_frames": 5,
        "num_steps": 3,
        "guidance_scale": 3.0,
        "max_rows": 8,
    }


def narrow() -> dict[str, object]:
    """Return what presets that are trained from scratch add."""
    return {"temporal_heads": 1, "temporal_head_dim": 8, "position_bands": 1}


def zeroscope_config(*, stock: bool = False) -> ZeroscopeConfig:
    """Return a configuration, as stock checkpoints are or as the tiny preset's is."""
    if stock:
        return ZeroscopeConfig(unet=unet_config(), **common())
    return ZeroscopeConfig(unet=unet_config(13), plan_channels=3, shared_noise=0.5, **narrow(), **common())


def i2vgen_config(*, stock: bool = False) -> I2VGenConfig:
    """Return a configuration, as stock checkpoints are or as the tiny preset's is."""
    if stock:
        return I2VGenConfig(unet=unet_config(), vision=VISION, text_layer=-2, knows_fps=True, **common())
    ours = {"repeat_image": True, "copies": True, "follows_plan": True, "detail": 2}
    return I2VGenConfig(unet=unet_config(), **ours, **narrow(), **common())


def zeroscope() -> Zeroscope:
    """Return a specialist with random weights."""
    torch.manual_seed(0)
    made = Zeroscope.from_config(zeroscope_config(), signal_width=models.SIGNAL_WIDTH, tokenizer=models.tokenizer())
    wake(made.denoiser.unet)
    return made


def i2vgen(*, stock: bool = False) -> I2VGen:
    """Return a specialist with random weights."""
    torch.manual_seed(0)
    made = I2VGen.from_config(
        i2vgen_config(stock=stock), signal_width=models.SIGNAL_WIDTH, tokenizer=models.tokenizer()
    )
    wake(made.denoiser.unet)
    return made


def wake(unet: nn.Module) -> nn.Module:
    """Give what starts at zero a value: until it is trained, frames know nothing of each other."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
            elif name == "conv_in.weight":
                parameter[parameter == 0.0] = 0.1
    return unet
