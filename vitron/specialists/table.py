"""Specialists by name. Each is imported when it is loaded: a replica that serves one imports that one."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from torch import nn

from vitron.config import GligenConfig, VideoDiffusionConfig, VitronConfig
from vitron.specialists.base import Specialist
from vitron.weights import Weights

LOADERS: dict[str, str] = {
    "gligen": "vitron.specialists.gligen:load_gligen",
    "seem": "vitron.specialists.seem.model:load_seem",
    "gligen_edit": "vitron.specialists.gligen_edit:load_gligen_edit",
    "zeroscope": "vitron.specialists.zeroscope:load_zeroscope",
    "i2vgen": "vitron.specialists.i2vgen:load_i2vgen",
    "seem_video": "vitron.specialists.seem.video:load_seem_video",
    "stablevideo": "vitron.specialists.stablevideo.model:load_stablevideo",
}
"""Name -> "module:function" of what loads it."""


def loadable(config: VitronConfig, weights: Weights) -> tuple[str, ...]:
    """Return the names of the specialists that the weights hold all parts of."""
    return tuple(name for name in LOADERS if all(weights.has(part) for part in parts_of(name, config)))


def parts_of(name: str, config: VitronConfig) -> tuple[str, ...]:
    """Return the parts that a specialist alone, or a stock one's output projection, is loaded from."""
    generators: dict[str, GligenConfig | VideoDiffusionConfig] = {
        "gligen": config.gligen,
        "zeroscope": config.zeroscope,
        "i2vgen": config.i2vgen,
    }
    if name in generators:
        projection = f"{name}_projection"
        return (projection,) if generators[name].pretrained else (f"{name}_unet", projection)
    segmenter = ("seem", "seem_projection")
    editor = (*parts_of("gligen", config), *segmenter)
    of_others = {
        "seem": segmenter,
        "gligen_edit": editor,
        "seem_video": (*segmenter, "seem_video"),
        "stablevideo": (*editor, "seem_video"),
    }
    return of_others[name]


def load_specialist(name: str, config: VitronConfig, weights: Weights) -> Specialist:
    """Load one; it is an `nn.Module` too.

    Raises:
        ValueError: no such specialist.
        FileNotFoundError: the weights lack a part of it.
    """
    if name not in LOADERS:
        raise ValueError(f"specialist: got {name!r}, expected one of {', '.join(LOADERS)}")
    module, function = LOADERS[name].split(":")
    load: Callable[[VitronConfig, Weights], Specialist] = getattr(importlib.import_module(module), function)
    loaded = load(config, weights)
    assert isinstance(loaded, nn.Module)
    return loaded
