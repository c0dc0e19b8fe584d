"""Specialists by name. Each is imported when it is loaded: a replica that serves one imports that one."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from torch import nn

from vitron.config import VitronConfig
from vitron.specialists.base import Specialist
from vitron.weights import Weights

LOADERS: dict[str, str] = {
    "gligen": "vitron.specialists.gligen:load_gligen",
    "gligen_edit": "vitron.specialists.gligen_edit:load_gligen_edit",
    "stablevideo": "vitron.specialists.stablevideo.model:load_stablevideo",
    "seem": "vitron.specialists.seem.model:load_seem",
    "seem_video": "vitron.specialists.seem.video:load_seem_video",
}
"""Name -> "module:function" of what loads it."""


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
