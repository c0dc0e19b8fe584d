"""What requests to segment a picture and a clip have in common: how they say what is meant."""

from __future__ import annotations

from vitron.config import SignalConfig
from vitron.specialists.base import SpecialistRequest
from vitron.types import Image


def check_picture(name: str, image: Image | None) -> None:
    """Raise ValueError for a picture that is not `[height, width, 3]` or has no pixel."""
    if image is not None and (image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape):
        raise ValueError(f"{name}: got shape {image.shape}, expected [height, width, 3]")


def check_reference(request: SpecialistRequest) -> None:
    """Raise ValueError for a reference without a region on it, or a region without its picture."""
    if (request.reference is None) != (request.reference_drawn is None):
        raise ValueError("reference_drawn: expected together with reference, got only one of them")


def check_meant(request: SpecialistRequest, signal: SignalConfig) -> None:
    """Raise ValueError for a request that does not say what is meant, or says it with what can't be read."""
    check_picture("reference", request.reference)
    check_reference(request)
    if request.signal is not None:
        wanted = (signal.num_tokens, signal.width)
        if tuple(request.signal.shape) != wanted:
            raise ValueError(f"signal: got shape {tuple(request.signal.shape)}, expected {wanted}")
    prompts = (request.instruction.strip(), request.drawn, request.regions)
    if not any(prompts) and request.signal is None and request.reference is None:
        raise ValueError("instruction: got '', expected text, or a signal, a drawn region, a region or a reference")
