"""Start noise: independent everywhere, or partly the same in all frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FRAME_DIM = -3
"""Of clips' latents [..., C, F, h, w]."""


def draw_noise(
    shape: Sequence[int],
    generator: torch.Generator | None = None,
    *,
    shared: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return standard normal noise.

    Args:
        shape: Of the noise.
        generator: Of the draws.
        shared: Part of the variance that the frames of [..., C, F, h, w] have in common ("mixed noise" of PYoCo, Ge et
            al. 2023, §4.1). An image model that becomes a video model draws from equal noise equal pictures, so that
            its clips hang together from the start.
        device: Where the noise is drawn; the generator's own.
    """
    own = torch.randn(*shape, generator=generator, device=device)
    if not shared:
        return own
    frames = FRAME_DIM % len(shape)
    common = torch.randn(*shape[:frames], 1, *shape[frames + 1 :], generator=generator, device=device)
    return common * shared**0.5 + own * (1.0 - shared) ** 0.5
