"""The presets: configuration and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from vitron.config import VitronConfig
from vitron.presets.tiny import tiny
from vitron.presets.vitron_7b import vitron_7b

PRESETS: dict[str, Callable[[], VitronConfig]] = {"tiny": tiny, "vitron-7b": vitron_7b}


def preset(name: str) -> VitronConfig:
    """Return the configuration called `name`, or raise ValueError with the names there are."""
    if name not in PRESETS:
        raise ValueError(f"preset: got {name!r}, expected one of {sorted(PRESETS)}")
    return PRESETS[name]()


__all__ = ["PRESETS", "preset"]
