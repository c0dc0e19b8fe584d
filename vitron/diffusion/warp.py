"""Copying from a clip's first frame: what a frame shows is often there already, only elsewhere.

A network that denoises an animated picture has to draw every object anew in every frame. One that also says which
positions of the first frame move, and where to, need only draw what is uncovered (compare the flow-and-occlusion
generators of Siarohin et al. 2019, "First Order Motion Model", §3.2).

Shapes: B rows, C latent channels, F frames, h and w latent size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT_SCALE = 4.0
"""Latent positions for a network output of 1."""
EARLY, MOST = 2.0, 0.9
"""The copies' part grows with `EARLY` times the noise's deviation up to `MOST`; the rest mends what they lack."""
EMPTY = 1e-3
"""What less than this much moves to shows what was there."""
MOVES = 0.4
"""What moves by at least this share is cut out whole."""
AROUND = 3
"""Width in pixels of the surroundings that tell what is behind something."""
PLAIN, UNLIKE = 0.6, 0.2
"""Surroundings are plain if so much of them is at most so far off their usual colour (of a range of 2)."""


class Motion(NamedTuple):
    """What becomes of the positions of the first frame.

    Attributes:
        shift: [B, 2, F, h, w], how far each has moved in each frame (x, y), in latent positions.
        moving: [B, S * S, F, h, w], logits of whether each of S rows of S parts of it moves.
    """

    shift: Tensor
    moving: Tensor


def as_one(motion: Motion) -> Motion:
    """Return the motion with one shift for each frame, the mean over what moves.

    What is set in motion is one thing that keeps its form; shifts that differ within it would bend it.
    """
    share = share_of(motion).square()
    mean = (motion.shift * share).sum(dim=(3, 4), keepdim=True)
    mean = mean / share.sum(dim=(3, 4), keepdim=True).clamp(min=EMPTY)
    return Motion(mean.expand_as(motion.shift), motion.moving)


def share_of(motion: Motion) -> Tensor:
    """Return how much of each position moves, [B, 1, F, h, w] in [0, 1]."""
    return motion.moving.float().sigmoid().mean(dim=1, keepdim=True)


def along(motion: Motion, shift_B2F: Tensor, known_B: Tensor) -> Motion:
    """Return the motion with shifts that are known from elsewhere, in the rows where they are."""
    given = shift_B2F[..., None, None].expand_as(motion.shift).to(motion.shift)
    return Motion(torch.where(known_B.view(-1, 1, 1, 1, 1), given, motion.shift), motion.moving)


class Copies(NamedTuple):
    """Frames made of the first one.

    Attributes:
        latents: [B, C, F, h, w].
        known: [B, 1, F, h, w], 0 where something has left its place and nothing has come: that has to be drawn.
    """

    latents: Tensor
    known: Tensor


def moved(first_BChw: Tensor, motion: Motion) -> Copies:
    """Return the frames that the first one becomes: what moves lies in front of what doesn't."""
    frames, (height, width) = motion.shift.shape[2], first_BChw.shape[2:]
    rows = first_BChw.float().repeat_interleave(frames, dim=0)
    share = share_of(motion).transpose(1, 2).flatten(0, 1)
    shift = motion.shift.float().transpose(1, 2).flatten(0, 1)
    carried = torch.cat([rows * share, share], dim=1)
    landed = _splat(carried, shift).view(len(rows), -1, height, width)
    weight = landed[:, -1:]
    cover = weight.clamp(max=1.0)
    latents = cover * landed[:, :-1] / weight.clamp(min=EMPTY) + (1.0 - cover) * rows
    known = cover + (1.0 - cover) * (1.0 - share)
    return Copies(*(each.unflatten(0, (-1, frames)).transpose(1, 2) for each in (latents, known)))


def _splat(values_NChw: Tensor, shift_N2hw: Tensor) -> Tensor:
    """Add every position's values to the four positions that it lands between, [N, C, h * w]."""
    height, width = values_NChw.shape[2:]
    xs = torch.arange(width, device=shift_N2hw.device) + shift_N2hw[:, 0]
    ys = torch.arange(height, device=shift_N2hw.device)[:, None] + shift_N2hw[:, 1]
    left, top = xs.detach().floor(), ys.detach().floor()
    made = values_NChw.new_zeros(*values_NChw.shape[:2], height * width)
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = left + dx, top + dy
            weight = (1.0 - (xs - column).abs()) * (1.0 - (ys - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            spread = values_NChw * (weight * inside)[:, None]
            made = made.scatter_add(2, index.flatten(1)[:, None].expand(-1, spread.shape[1], -1), spread.flatten(2))
    return made


def with_copies(noisy_BCFhw: Tensor, predicted_BCFhw: Tensor, copies: Copies, alpha_B: Tensor) -> Tensor:
    """Return a v-prediction whose clean latents are partly copies.

    The copies' part is nearly all of what is known of them while there is much noise, and goes to 0 with it: then the
    noisy latents themselves say best what is to be seen.

    Args:
        noisy_BCFhw: What was denoised, sqrt(alpha) * clean + sqrt(1 - alpha) * noise.
        predicted_BCFhw: The network's own v.
        copies: Clean latents that were found in the first frame.
        alpha_B: Noise levels.
    """
    shape = (-1, 1, 1, 1, 1)
    signal, sigma = alpha_B.sqrt().view(shape), (1.0 - alpha_B).sqrt().view(shape)
    clean = signal * noisy_BCFhw - sigma * predicted_BCFhw
    part = (EARLY * sigma).clamp(max=MOST) * copies.known
    # The clean latents are in v with a factor of -1 / sigma.
    return predicted_BCFhw + part * (clean - copies.latents) / sigma


def fine_share(motion: Motion) -> Tensor:
    """Return how much of each part of a position moves, by the mean over the frames: [B, S * h, S * w] in [0, 1]."""
    logits_BShw = motion.moving.float().mean(dim=2)
    return F.pixel_shuffle(logits_BShw, math.isqrt(logits_BShw.shape[1]))[:, 0].sigmoid()


def composed(picture_3HW: Tensor, drawn_F3HW: Tensor, share_HW: Tensor, shift_2F: Tensor) -> Tensor:
    """Return a clip [F, 3, H, W] of a picture's own pixels, as far as they are to be seen.

    What stands still is the picture; what moves is its part of the picture, moved by whole pixels, so that neither is
    blurred; and what comes to light is the background, where that is plain all around, and else drawn.

    Args:
        picture_3HW: the first frame.
        drawn_F3HW: the frames as they were drawn.
        share_HW: how much of each pixel of the picture moves, in [0, 1].
        shift_2F: how far in each frame (x, y), in pixels.
    """
    # Half of a thing left behind would be seen as another thing.
    share_1HW = (share_HW[None] > MOVES).to(share_HW)
    # A border of one pixel shows a mixture of what moves and of what is behind it.
    left_1HW = F.max_pool2d(share_1HW, 3, stride=1, padding=1)
    cut_4HW = torch.cat([picture_3HW, share_1HW])
    ground_3HW = _plain_ground(picture_3HW, left_1HW[0])
    frames = []
    for drawn_3HW, (x, y) in zip(drawn_F3HW, shift_2F.T.round().long().tolist(), strict=True):
        moved_4HW = _by_pixels(cut_4HW, x, y)
        shown_3HW = drawn_3HW if ground_3HW is None else ground_3HW
        behind = shown_3HW * left_1HW + picture_3HW * (1.0 - left_1HW)
        frames.append(moved_4HW[:3] * moved_4HW[3:] + behind * (1.0 - moved_4HW[3:]))
    return torch.stack(frames)


def _plain_ground(picture_3HW: Tensor, left_HW: Tensor) -> Tensor | None:
    """Return what is behind an area, [3, H, W], as the plane of colours through its surroundings.

    None where these have no usual colour: then nothing is known of what is behind. Other things that reach into the
    surroundings are left out.
    """
    wide = 2 * AROUND + 1
    ring_HW = (F.max_pool2d(left_HW[None], wide, stride=1, padding=AROUND)[0] > 0) & (left_HW == 0)
    around_3N = picture_3HW[:, ring_HW]
    if around_3N.shape[1] < wide:
        return None
    near_N = (around_3N - around_3N.median(dim=1, keepdim=True).values).abs().amax(dim=0) < UNLIKE
    if near_N.float().mean() < PLAIN:
        return None
    height, width = left_HW.shape
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    places_HW3 = torch.stack([rows, columns, torch.ones_like(rows)], dim=-1).to(picture_3HW)
    # On CPU, where places on one line have a solution as well.
    found_33 = torch.linalg.lstsq(places_HW3[ring_HW][near_N].cpu(), around_3N[:, near_N].T.cpu()).solution
    plane_33 = found_33.to(picture_3HW.device)
    return (places_HW3 @ plane_33).permute(2, 0, 1).clamp(-1.0, 1.0)


def _by_pixels(values_CHW: Tensor, x: int, y: int) -> Tensor:
    """Move by whole pixels; what comes in from outside is 0."""
    height, width = values_CHW.shape[1:]
    moved = torch.zeros_like(values_CHW)
    if abs(x) < width and abs(y) < height:
        rows, columns = slice(max(y, 0), height + min(y, 0)), slice(max(x, 0), width + min(x, 0))
        origin_rows, origin_columns = slice(max(-y, 0), height - max(y, 0)), slice(max(-x, 0), width - max(x, 0))
        moved[:, rows, columns] = values_CHW[:, origin_rows, origin_columns]
    return moved
