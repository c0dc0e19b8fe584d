"""What is remembered of one object of a clip, and how a frame's candidates are compared with it.

An object memory holds looks (of the frame it was pointed at, and a running mean of frames since), tokens that the
decoder reads as prompts, the last mask and its motion. It changes in frames in which the object is seen for certain,
and rests while the object is hidden. A candidate is an object query of the frame, with its mask.

Shapes: N objects, Q candidates of each, h and w of mask logits, L width of a look, G measures of geometry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitron.specialists.seem.network import LayerOutput
from vitron.specialists.seem.pixel_decoder import PixelFeatures

NUM_SOURCES = 3
"""A look is the query's caption embedding, and means of mask features and of the finest scale over its mask."""
GEOMETRY = ("iou_expected", "iou_last", "distance", "growth", "match", "sharpness", "missing", "edge", "expected_edge")
RECENT_SHARE = 0.35
"""Of a new look in the running mean."""
VELOCITY_SHARE = 0.6
WHOLE = 0.7
"""An object that shows less of itself than this part of its usual area is half hidden: its centre is not trusted."""
MAX_MISSING = 8


class Candidates(NamedTuple):
    """What a frame offers for N objects.

    Attributes:
        masks: logits `[N, Q, h, w]`.
        looks: `[N, Q, L]`.
        match: logits of the prompts of each row `[N, Q]`.
    """

    masks: Tensor
    looks: Tensor
    match: Tensor


def candidates(features: PixelFeatures, output: LayerOutput) -> Candidates:
    """Describe the object queries of one frame's rows."""
    shares = output.masks.float().sigmoid()
    rows, queries = shares.shape[:2]
    finest = features.scales[-1]
    small = functional.interpolate(shares, size=finest.shape[-2:], mode="area")
    parts = [
        output.captions.float(),
        _mean_inside(features.mask_features, shares),
        _mean_inside(finest, small),
    ]
    looks = torch.cat([functional.normalize(part, dim=-1) for part in parts], dim=-1)
    return Candidates(output.masks, looks.view(rows, queries, -1), output.match)


def _mean_inside(feature_map: Tensor, shares: Tensor) -> Tensor:
    """Average a map `[1, D, h, w]` with weights `[N, Q, h, w]`: `[N, Q, D]`."""
    weights = shares.flatten(2)
    mean: Tensor = weights @ feature_map[0].float().flatten(1).T
    return mean / weights.sum(-1, keepdim=True).clamp(min=1e-6)


@dataclass
class ObjectMemory:
    """One object as remembered; places are in cells of the mask logits.

    Attributes:
        anchor: look where the object was pointed at `[L]`.
        recent: running mean of looks `[L]`.
        tokens: of the frame pointed at and then of the latest frames, one tuple of scales `[K, hidden]` each.
        mask: bool `[h, w]` where it was last seen.
        frame: index of that frame.
        area: usual number of cells.
        velocity: cells per frame `[2]` (x, y), in the direction of tracking.
        missing: frames since it was seen.
    """

    anchor: Tensor
    recent: Tensor
    tokens: list[tuple[Tensor, ...]]
    mask: Tensor
    frame: int
    area: float
    velocity: Tensor
    missing: int = 0

    def expected(self, frame: int) -> Tensor:
        """The last mask moved on to where the object should be in a frame: bool `[h, w]`, never empty."""
        height, width = self.mask.shape
        ys, xs = torch.nonzero(self.mask, as_tuple=True)
        shift = (self.velocity * abs(frame - self.frame)).round().long()
        xs, ys = xs + shift[0], ys + shift[1]
        inside = (xs >= 0) & (xs < width) & (ys >= 0) & (ys < height)
        moved = torch.zeros_like(self.mask)
        if bool(inside.any()):
            moved[ys[inside], xs[inside]] = True
        else:  # what has left the picture waits at its edge
            moved[ys.clamp(0, height - 1), xs.clamp(0, width - 1)] = True
        return moved

    def see(self, frame: int, look: Tensor, mask: Tensor, tokens: tuple[Tensor, ...], limit: int) -> None:
        """Take over a frame in which the object was found; `limit` frames of tokens are kept."""
        area = float(mask.sum())
        steps = max(abs(frame - self.frame), 1)
        if area >= WHOLE * self.area and float(self.mask.sum()) >= WHOLE * self.area:
            velocity = (center(mask) - center(self.mask)) / steps
            self.velocity = VELOCITY_SHARE * velocity + (1 - VELOCITY_SHARE) * self.velocity
        if area >= WHOLE * self.area:
            self.recent = RECENT_SHARE * look + (1 - RECENT_SHARE) * self.recent
            later = [*self.tokens[1:], tokens]
            self.tokens = [self.tokens[0], *later[max(len(later) + 1 - limit, 0) :]]
            self.area = max(0.8 * self.area + 0.2 * area, 0.95 * self.area)
        self.mask, self.frame, self.missing = mask, frame, 0

    def miss(self) -> None:
        """Take note of a frame in which the object was not found; nothing else changes."""
        self.missing += 1


def remembered(frame: int, look: Tensor, mask: Tensor, tokens: tuple[Tensor, ...]) -> ObjectMemory:
    """Begin a memory with the candidate that was pointed at."""
    return ObjectMemory(
        anchor=look,
        recent=look,
        tokens=[tokens],
        mask=mask,
        frame=frame,
        area=max(float(mask.sum()), 1.0),
        velocity=torch.zeros(2, device=mask.device),
    )


def center(mask: Tensor) -> Tensor:
    """Mean (x, y) of a mask with at least one cell `[2]`."""
    ys, xs = torch.nonzero(mask, as_tuple=True)
    return torch.stack([xs.float().mean(), ys.float().mean()])


def geometry(memory: ObjectMemory, frame: int, masks: Tensor, match: Tensor) -> Tensor:
    """Measure candidates' masks (logits `[Q, h, w]`) and match (`[Q]`) against a memory: `[Q, G]`, see `GEOMETRY`."""
    inside = masks > 0
    areas = inside.flatten(1).sum(1).float()
    expected = memory.expected(frame)
    scale = memory.area**0.5
    ys, xs = (torch.arange(n, device=masks.device, dtype=torch.float32) for n in inside.shape[1:])
    middles = torch.stack([inside.sum(1).float() @ xs, inside.sum(2).float() @ ys], 1) / areas.clamp(min=1)[:, None]
    distance = (middles - center(expected)).norm(dim=1) / scale
    certain = (masks.float().sigmoid() * 2 - 1).abs()
    sharpness = (certain * inside).flatten(1).sum(1) / areas.clamp(min=1)
    count = torch.full_like(areas, min(memory.missing, MAX_MISSING) / MAX_MISSING)
    return torch.stack(
        [
            iou(inside, expected),
            iou(inside, memory.mask),
            distance.clamp(max=4) / 4,
            (areas.clamp(min=1) / memory.area).log().clamp(-2, 2),
            (match.float() / 10).tanh(),
            sharpness,
            count,
            _edge_share(inside),
            _edge_share(expected[None]).expand_as(areas),
        ],
        dim=1,
    )


def iou(masks: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of bool masks `[Q, h, w]` with one `[h, w]`: `[Q]`."""
    shared = (masks & other).flatten(1).sum(1).float()
    return shared / (masks | other).flatten(1).sum(1).clamp(min=1)


def _edge_share(masks: Tensor) -> Tensor:
    """The part of bool masks `[Q, h, w]` that lies along the picture's edge, in units of a side of theirs: `[Q]`."""
    border = torch.zeros_like(masks[0])
    border[[0, -1]] = True
    border[:, [0, -1]] = True
    areas = masks.flatten(1).sum(1).float()
    return ((masks & border).flatten(1).sum(1) / areas.clamp(min=1).sqrt()).clamp(max=2)


class MemoryReader(nn.Module):
    """Tells which candidate is the remembered object, and whether any is.

    Looks are compared in a space of their own, learned so that an object is like itself in other frames and unlike
    its neighbours; a small network weighs likeness and geometry.

    Args:
        hidden: width of the segmenter.
        width: of the space of looks.
    """

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.look = nn.Linear(NUM_SOURCES * hidden, width)
        measures = 2 * (NUM_SOURCES + 1) + len(GEOMETRY)
        self.weigh = nn.Sequential(nn.Linear(measures, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, looks: Tensor, anchor: Tensor, recent: Tensor, measured: Tensor) -> Tensor:
        """Return logits `[N, Q]`; a positive one says that the candidate is the object.

        Args:
            looks: of candidates `[N, Q, L]`.
            anchor: of the remembered objects where they were pointed at `[N, L]`.
            recent: running means of them `[N, L]`.
            measured: `geometry` `[N, Q, G]`.
        """
        likeness = [self._likeness(looks, known) for known in (anchor, recent)]
        out: Tensor = self.weigh(torch.cat([*likeness, measured], dim=-1))[..., 0]
        return out

    def _likeness(self, looks: Tensor, known: Tensor) -> Tensor:
        """Cosines `[N, Q, sources + 1]`: of each source, and in the learned space."""
        mine, theirs = (functional.normalize(self.look(x), dim=-1) for x in (looks, known[:, None]))
        learned = (mine * theirs).sum(-1, keepdim=True)
        parts, known_parts = (x.unflatten(-1, (NUM_SOURCES, -1)) for x in (looks, known[:, None]))
        return torch.cat([functional.cosine_similarity(parts, known_parts, dim=-1), learned], dim=-1)
