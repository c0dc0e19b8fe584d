"""The recipes by name, in the order in which `python -m train all` runs them."""

from __future__ import annotations

import importlib

from train.recipe import Recipe

MODULES: dict[str, str] = {
    "clip": "clip",
    "clip_text": "clip_text",
    "clip_vision": "clip_vision",
    "vae": "vae",
    "gligen": "gligen",
    "zeroscope": "video",
    "i2vgen": "video",
    "seem": "seem",
    "seem_video": "seem_video",
    "motion_field": "motion_field",
    "alignment": "language_steps",
    "invocation": "language_steps",
    "decoder": "decoder",
    "image-grounding": "language_steps",
    "video-grounding": "language_steps",
    "grounded-qa": "language_steps",
    "synergy": "synergy",
}
"""Recipe -> the module of this package that holds it."""
CHAIN: tuple[str, ...] = tuple(MODULES)


def find(name: str, preset: str = "tiny") -> Recipe:
    """Return a recipe for a preset.

    `package.module:function` names one from elsewhere: a function of the preset's name that returns a `Recipe`.

    Raises:
        ValueError: no such recipe, or it is not made for this preset.
    """
    if ":" in name:
        place, function = name.split(":", 1)
        found = importlib.import_module(place)
        if not hasattr(found, function):
            raise ValueError(f"recipe: got {name!r}, but {place} has no {function!r}")
        return getattr(found, function)(preset)
    if name not in MODULES:
        raise ValueError(f"recipe: got {name!r}, expected one of {', '.join(MODULES)}, or package.module:function")
    module = importlib.import_module(f"train.recipes.{MODULES[name]}")
    return getattr(module, name.replace("-", "_"))(preset)
