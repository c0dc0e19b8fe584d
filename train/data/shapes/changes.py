"""What may change about one object or background, in pictures and clips alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from train.data.shapes.scene import (
    BACKGROUND_COLORS,
    COLORS,
    HELD_OUT,
    SHAPES,
    Background,
    Object,
    sample_background,
    sample_object,
)

Rng = np.random.Generator


def recolored(obj: Object, rng: Rng, split: str) -> Object | None:
    """The object in another colour that the split may show; tint within the colour, texture and place stay alike."""
    color = _other(rng, tuple(COLORS), obj.color, lambda c: _may_show((c, obj.shape), split))
    if color is None:
        return None
    fresh = sample_object(rng, color, obj.shape, obj.size)
    tint = (obj.hue - COLORS[obj.color] + 180.0) % 360.0 - 180.0
    hue = (COLORS[color] + tint) % 360.0
    return dataclasses.replace(obj, color=color, hue=hue, saturation=fresh.saturation, value=fresh.value)


def replaced(obj: Object, rng: Rng, split: str) -> Object | None:
    """An object of another shape and the same size in the object's place."""
    shape = _other(rng, SHAPES, obj.shape, lambda _: True)
    color = _other(rng, tuple(COLORS), "", lambda c: _may_show((c, str(shape)), split))
    if shape is None or color is None:
        return None
    fresh = sample_object(rng, color, shape, obj.size)
    return dataclasses.replace(fresh, x=obj.x, y=obj.y, radius=obj.radius, rotation=obj.rotation)


def repainted(background: Background, rng: Rng) -> Background | None:
    """The background in another colour, with its texture."""
    color = _other(rng, tuple(BACKGROUND_COLORS), background.color, lambda _: True)
    if color is None:
        return None
    return dataclasses.replace(background, color=color, shade=sample_background(rng, color).shade)


def _may_show(pair: tuple[str, str], split: str) -> bool:
    return split == "compositional" or pair not in HELD_OUT


def _other(rng: Rng, values: tuple[str, ...], current: str, allowed: Callable[[str], bool]) -> str | None:
    """Another value that is allowed; None if there is none."""
    options = [value for value in values if value != current and allowed(value)]
    return options[int(rng.integers(len(options)))] if options else None
