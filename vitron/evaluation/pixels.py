"""Scores of edits by pixels: L1, inside and outside of the edited region, and how much a clip flickers.

Pictures are uint8 RGB and distances in [0, 1]: 1 is black against white. Nothing is resized here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitron.types import BoolMask

Pixels = npt.NDArray[np.uint8]
"""`[height, width, 3]` or, for clips, `[frames, height, width, 3]`."""


class RegionL1(NamedTuple):
    """Mean absolute difference of the whole, and of the pixels in and out of the region; None where there are none."""

    whole: float
    inside: float | None
    outside: float | None


def l1(first: Pixels, second: Pixels, region: BoolMask | None = None) -> float:
    """Mean absolute difference over pixels and channels, or over the pixels of `region` alone.

    MagicBrush stretches a result to the target's size beforehand; do so with PIL's bicubic filter to compare with it.

    Args:
        first: picture or clip.
        second: the same size.
        region: `[height, width]`, or `[frames, height, width]` for clips; not empty.
    """
    distance = _distance(first, second)
    if region is None:
        return float(distance.mean())
    chosen = distance[_spread(region, distance.shape)]
    if not chosen.size:
        raise ValueError("region: got an empty region, expected at least one pixel")
    return float(chosen.mean())


def region_l1(first: Pixels, second: Pixels, region: BoolMask) -> RegionL1:
    """Compare the whole, what lies in the region, and what lies outside of it."""
    distance = _distance(first, second)
    inside = _spread(region, distance.shape)
    return RegionL1(float(distance.mean()), _mean(distance[inside]), _mean(distance[~inside]))


def flicker(clip: Pixels) -> float:
    """Mean absolute difference of neighbouring frames. Motion counts as well: see `flicker_against`."""
    _check_clip(clip)
    return l1(clip[1:], clip[:-1])


def flicker_against(edited: Pixels, source: Pixels, region: BoolMask | None = None) -> float:
    """Mean absolute difference between the frame-to-frame changes of an edited clip and those of its source, in [0, 2].

    0 if the edit moves just as the source does, such as a constant change of colour; motion that both share is free.

    Args:
        edited: `[frames, height, width, 3]`, at least two frames.
        source: the same size.
        region: `[height, width]` or `[frames, height, width]`: the pixels that are compared, say those that the edit
            should not touch. A change counts if its pixel is in the region in both frames.
    """
    _check_clip(edited)
    if edited.shape != source.shape:
        raise ValueError(f"source: got shape {source.shape}, expected {edited.shape}")
    changes = np.diff(edited.astype(np.float64), axis=0) - np.diff(source.astype(np.float64), axis=0)
    distance: npt.NDArray[np.float64] = np.abs(changes).mean(axis=-1) / 255
    if region is None:
        return float(distance.mean())
    chosen = _spread(region, edited.shape[:-1])
    both = distance[chosen[1:] & chosen[:-1]]
    if not both.size:
        raise ValueError("region: got no pixel that is in the region in two frames in a row")
    return float(both.mean())


def _distance(first: Pixels, second: Pixels) -> npt.NDArray[np.float64]:
    """Mean over the channels of the absolute difference, in [0, 1]."""
    if first.shape != second.shape or first.dtype != np.uint8 or second.dtype != np.uint8:
        got = f"{second.dtype} {list(second.shape)}"
        raise ValueError(f"second: got {got} for a first of {first.dtype} {list(first.shape)}, expected uint8 alike")
    distance: npt.NDArray[np.float64] = np.abs(first.astype(np.float64) - second).mean(axis=-1) / 255
    return distance


def _spread(region: BoolMask, shape: tuple[int, ...]) -> BoolMask:
    if region.shape not in (shape, shape[-2:]):
        raise ValueError(f"region: got shape {region.shape}, expected {shape[-2:]} or {shape}")
    return np.broadcast_to(region, shape)


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None


def _check_clip(clip: Pixels) -> None:
    if clip.ndim != 4 or len(clip) < 2:
        raise ValueError(f"clip: got shape {clip.shape}, expected [frames, height, width, 3] with at least 2 frames")
