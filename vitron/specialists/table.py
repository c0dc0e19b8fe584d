"""Specialists by name: how each is built and which files of weights it reads."""

from __future__ import annotations

from collections.abc import Callable

from vitron.config import VitronConfig
from vitron.specialists.base import Specialist
from vitron.specialists.gligen import Gligen
from vitron.specialists.seem.model import Seem
from vitron.weights import Weights


def load_gligen(config: VitronConfig, weights: Weights) -> Gligen:
    """Return the image generator, from a stock pipeline if the preset names one."""
    settings, width = config.gligen, config.signal.width
    if settings.pretrained:
        stock = settings.pretrained
        gligen = Gligen.from_pipeline(stock.repository, settings, signal_width=width, revision=stock.revision)
    else:
        tokenizer = weights.tokenizer("clip_tokenizer")
        gligen = Gligen.from_config(settings, signal_width=width, tokenizer=tokenizer)
        weights.load("clip_text", gligen.text.encoder)
        weights.load("gligen_vae", gligen.codec)
        weights.load("gligen_unet", gligen.denoiser)
    weights.load("gligen_projection", gligen.projection)
    gligen.text.clear_cache()
    return gligen


def load_seem(config: VitronConfig, weights: Weights) -> Seem:
    """Return the segmenter; at full size `seem.safetensors` is made from the public checkpoint (docs/weights.md)."""
    seem = Seem(config.seem, config.signal, weights.tokenizer("clip_tokenizer"))
    weights.load("seem", seem.network)
    weights.load("seem_projection", seem.projection)
    seem.eval()
    return seem


LOADERS: dict[str, Callable[[VitronConfig, Weights], Specialist]] = {"gligen": load_gligen, "seem": load_seem}


def load_specialist(config: VitronConfig, weights: Weights, name: str) -> Specialist:
    """Return the specialist called `name`, or raise ValueError with the names there are."""
    if name not in LOADERS:
        raise ValueError(f"specialist: got {name!r}, expected one of {sorted(LOADERS)}")
    return LOADERS[name](config, weights)
