"""Fitting a layered neural atlas to a clip whose foreground is masked.

Losses as in Kasten et al. 2021 (§3.2), over random pixels: colour of both layers composed, alpha against the masks,
rigidity of the mappings, and optical flow: a pixel and where it goes in the next frame have one place in the atlas. The
weights are this project's: mappings here begin at a good guess.

Shapes: T frames, h and w their size, N pixels of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vitron.config import AtlasConfig
from vitron.specialists.base import Cancelled, IsCancelled
from vitron.specialists.stablevideo.layers import Layers
from vitron.specialists.stablevideo.motion import camera_shifts, flow, object_shifts
from vitron.specialists.stablevideo.networks import AtlasNetworks

Floats = npt.NDArray[np.float32]
ALPHA_WEIGHT, RIGID_WEIGHT, FLOW_WEIGHT = 0.1, 0.02, 0.2
NEAR_SHARE = 0.5
"""Part of a step's pixels that are the foreground's: there is less of it, and more happens there."""
SPREAD = 4.0
"""Pixels between the places that rigidity compares, a standard deviation."""
CHUNK = 65_536
"""Pixels rendered together."""


@dataclass(frozen=True, eq=False)
class _Pixels:
    """A clip as a list of pixels: places, frames, colours, mask, and where optical flow leads."""

    places: Tensor
    frames: Tensor
    colors: Tensor
    mask: Tensor
    moved: Tensor
    trusted: Tensor


def fit(
    frames: Floats,
    masks: npt.NDArray[np.bool_],
    config: AtlasConfig,
    *,
    seed: int,
    on_step: Callable[[int], None] = lambda step: None,
    cancelled: IsCancelled = lambda: False,
) -> Layers:
    """Fit a layered atlas; equal inputs give equal layers.

    Args:
        frames: float32 [T, h, w, 3] in [0, 1].
        masks: bool [T, h, w], the foreground; may be empty in some frames, or in all.
        config: Sizes and number of steps.
        seed: Of the networks and of which pixels a step looks at.
        on_step: Called with the number of steps done after each.
        cancelled: Asked before each step.

    Raises:
        Cancelled: `cancelled` said so.
    """
    shifts = torch.from_numpy(np.stack([object_shifts(masks)[0], camera_shifts(frames, masks)]))
    unit = 2.0 / max(frames.shape[1:3])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = AtlasNetworks(config, shifts * unit)
    pixels = _pixels(frames, masks, unit)
    inside = pixels.mask.nonzero()[:, 0]
    optimizer = torch.optim.Adam(networks.parameters(), lr=config.lr)
    for step in range(config.steps):
        if cancelled():
            raise Cancelled
        for group in optimizer.param_groups:
            group["lr"] = config.lr * 0.5 * (1.0 + float(np.cos(np.pi * step / config.steps)))
        chosen = _choose(len(pixels.places), inside, config.batch, generator)
        with torch.enable_grad():
            aside = unit * SPREAD * torch.randn(len(chosen), 3, generator=generator)
            loss = _loss(networks, pixels, chosen, aside, unit)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        optimizer.step()
        on_step(step + 1)
    return _render(networks, pixels, frames.shape)


def _choose(count: int, inside: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    near = int(NEAR_SHARE * batch) if len(inside) else 0
    anywhere = torch.randint(count, (batch - near,), generator=generator)
    if not near:
        return anywhere
    return torch.cat([anywhere, inside[torch.randint(len(inside), (near,), generator=generator)]])


def _loss(networks: AtlasNetworks, pixels: _Pixels, chosen: Tensor, aside_N3: Tensor, unit: float) -> Tensor:
    places, frames = pixels.places[chosen], pixels.frames[chosen]
    colors, mask = pixels.colors[chosen], pixels.mask[chosen].float()
    foreground, background = networks.map(places, frames)
    logits = networks.opacity(places)
    alpha = logits.sigmoid()[:, None]
    shown = networks.look_up(background, foreground=False)
    composed = alpha * networks.look_up(foreground, foreground=True) + (1 - alpha) * shown
    loss = functional.smooth_l1_loss(composed, colors, beta=0.05)
    loss = loss + ALPHA_WEIGHT * functional.binary_cross_entropy_with_logits(logits, mask)
    # A rigid mapping moves a neighbour as it moves the pixel itself: what is learned changes slowly.
    aside = places + aside_N3 * places.new_tensor([1.0, 1.0, 0.0])
    for mapping in (networks.foreground_map, networks.background_map):
        loss = loss + RIGID_WEIGHT * ((mapping(aside) - mapping(places)) / unit).abs().mean()
    trusted = pixels.trusted[chosen]
    if bool(trusted.any()):
        then = networks.map(pixels.moved[chosen][trusted], frames[trusted] + 1)
        apart = [(a[trusted] - b).abs().sum(1) / unit for a, b in zip((foreground, background), then, strict=True)]
        part = alpha.detach()[trusted, 0]
        loss = loss + FLOW_WEIGHT * unit * (part * apart[0] + (1 - part) * apart[1]).mean()
    return loss


def _pixels(frames: Floats, masks: npt.NDArray[np.bool_], unit: float) -> _Pixels:
    count, height, width = masks.shape
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    time = 2.0 * t / max(count - 1, 1) - 1.0
    places = np.stack([(x + 0.5 - width / 2) * unit, (y + 0.5 - height / 2) * unit, time], axis=-1).astype(np.float32)
    moved = places.copy()
    trusted = np.zeros(masks.shape, np.bool_)
    if count > 1:
        leads, sure = flow(frames)
        # Where an object's mask begins or ends, flow belongs to neither layer.
        same = masks[1:] == masks[:-1]
        moved[:-1, ..., :2] += leads.numpy() * unit
        moved[:-1, ..., 2] = places[1:, ..., 2]
        trusted[:-1] = sure.numpy() & same
    return _Pixels(
        places=torch.from_numpy(places.reshape(-1, 3)),
        frames=torch.from_numpy(t.reshape(-1)),
        colors=torch.from_numpy(np.ascontiguousarray(frames.reshape(-1, 3))),
        mask=torch.from_numpy(masks.reshape(-1)),
        moved=torch.from_numpy(moved.reshape(-1, 3)),
        trusted=torch.from_numpy(trusted.reshape(-1)),
    )


@torch.no_grad()
def _render(networks: AtlasNetworks, pixels: _Pixels, shape: tuple[int, ...]) -> Layers:
    parts: list[tuple[Tensor, ...]] = []
    error = 0.0
    for places, frames, colors in zip(
        pixels.places.split(CHUNK), pixels.frames.split(CHUNK), pixels.colors.split(CHUNK), strict=True
    ):
        foreground, background = networks.map(places, frames)
        alpha = networks.opacity(places).sigmoid()
        plain = networks.look_up(background, foreground=False)
        composed = alpha[:, None] * networks.look_up(foreground, foreground=True) + (1 - alpha[:, None]) * plain
        error += float((composed - colors).square().sum())
        parts.append((foreground, background, alpha))
    found = [torch.cat(part).numpy() for part in zip(*parts, strict=True)]
    return Layers(
        foreground=found[0].reshape(*shape[:3], 2),
        background=found[1].reshape(*shape[:3], 2),
        alpha=found[2].reshape(shape[:3]),
        psnr=float(-10.0 * np.log10(max(error / pixels.colors.numel(), 1e-10))),
    )
