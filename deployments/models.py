"""The one model an application serves, as the API describes it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from deployments.args import AppArgs
from deployments.errors import ApiError, shown
from vitron.presets import preset
from vitron.routing import SPECIALISTS


def check_model(name: str | None, args: AppArgs) -> None:
    """Raise 404 unless `name` is the served model; None means it."""
    if name is not None and name != args.model_id:
        raise ApiError(
            404,
            f"model: got {shown(name)}, expected {args.model_id!r}",
            param="model",
            code="model_not_found",
        )


def image_size(args: AppArgs) -> str:
    """Return the size of generated pictures as OpenAI spells it."""
    side = preset(args.preset).gligen.image_size
    return f"{side}x{side}"


def describe(args: AppArgs, specialists: Collection[str], created: int) -> dict[str, Any]:
    """Return the model's entry in the list of models; `specialists` are those that are served."""
    return {
        "id": args.model_id,
        "object": "model",
        "created": created,
        "owned_by": "vitron",
        "capabilities": {
            "input": ["text", "image", "video", "region"],
            "regions": ["point", "box", "scribble", "polygon", "mask"],
            "output": ["text", "image", "mask", "video", "track"],
            "modules": [module.value for module, name in SPECIALISTS.items() if name in specialists],
            "message": ["hybrid", "text", "signal"],
            "image_size": image_size(args),
            "max_images": args.limits.max_images,
            "max_videos": args.limits.max_videos,
            "max_tokens": args.limits.max_tokens,
        },
    }
