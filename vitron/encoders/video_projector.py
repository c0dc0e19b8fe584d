"""What only clips need between features and the LLM: which frame is which, and that it is a clip at all.

A part of its own, so that weights can lack it: those know no video.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitron.config import VideoConfig, VitronConfig
from vitron.encoders.motion_field import MotionField
from vitron.encoders.projector import Projector
from vitron.weights import Weights

PART = "video_projector"
"""Its file in a folder of weights."""
NUMBER = 0.4
"""Size of a new embedding of a frame's number beside what the frame shows."""
MOVING = 1.0
"""The same of a motion vector of length 1."""


class ClipFeatures(NamedTuple):
    """What a clip looks like before any projection.

    Attributes:
        mean: `[N, D]`, patch features averaged over the frames.
        frames: `[T, G, D]`, each frame's features averaged over G cells; all of its patches where frames are seen as
            pictures are; none if frames give no tokens.
    """

    mean: Tensor
    frames: Tensor


class VideoProjector(nn.Module):
    """Embeds the temporal mean and the frames of clips.

    Args:
        config: of video.
        feature_width: channels of a patch feature.
        width: channels of the LLM.
    """

    def __init__(self, config: VideoConfig, *, feature_width: int, width: int) -> None:
        super().__init__()
        self.config = config
        # Tells the mean of a clip from a picture, which takes the same projector. It and the embeddings of frames and
        # cells count in units of what they are added to: trained projectors write hundreds of times as large as tokens
        # are, and beside them numbers of a token's size are not seen.
        self.kind = nn.Parameter(torch.zeros(width))
        self.frame: nn.Linear | None = None
        self.motion: nn.Linear | None = None
        self.field: MotionField | None = None
        if config.frame_tokens:
            if not config.frame_squares:
                self.frame = nn.Linear(feature_width, width)
            self.number = nn.Parameter(_waves(config.max_frames, width))
            self.cell = nn.Parameter(torch.zeros(config.tokens_per_frame, width))
        if config.frame_motion:
            self.motion = nn.Linear(feature_width, width, bias=False)
            nn.init.zeros_(self.motion.weight)
        if config.motion_field:
            self.field = MotionField(feature_width)
            self.vector = _embedding(width)

    @torch.no_grad()
    def see_changes(self, pictures: Projector) -> None:
        """Let changes that say nothing yet be as large as what a trained projector gives, in their own directions."""
        if self.motion is None or self.motion.weight.any():
            return
        width = self.motion.out_features
        turned, _ = torch.linalg.qr(torch.randn(width, width))
        mean = pictures.linear.weight.view(width, pictures.merge**2, -1).sum(dim=1)
        self.motion.weight.copy_(turned.to(mean) @ mean)

    def forward(self, means: Tensor, frames: Tensor, lengths: Sequence[int], pictures: Projector) -> Tensor:
        """Embed clips.

        Args:
            means: `[C, N, D]`, patch features averaged over the frames.
            frames: `[F, G, D]`, frames of all clips one after another, as `pool_clips` gives them.
            lengths: C numbers of frames, at most `max_frames` each.
            pictures: the language model's own projector, N patches to n tokens, which pictures take too.

        Returns:
            `[P, width]`, what stands at the P `<video>` positions of C clips: the n tokens of a clip's mean, then
            those of its frames in order.
        """
        most = self.config.max_frames
        if len(lengths) != len(means) or sum(lengths) != len(frames) or max(lengths, default=0) > most:
            raise ValueError(
                f"lengths: got {list(lengths)}, expected one for each of {len(means)} clips, at most {most} each, "
                f"with the sum {len(frames)}"
            )
        weight = pictures.linear.weight
        embedded = pictures(means.to(weight))
        embedded = embedded + _size(embedded) * self.kind
        if not self.config.frame_tokens:
            return embedded.flatten(0, 1)
        numbers = torch.cat([self.number[:length] for length in lengths])
        frames = frames.to(weight)
        seen = pictures(frames) if self.frame is None else self.frame(frames)
        tokens = seen + _size(seen) * (numbers[:, None] + self.cell)
        if self.motion is not None:
            cells = in_cells(frames, self.config.frame_grid) if self.frame is None else frames
            tokens = tokens + self.motion(changes(cells, lengths))
        if self.field is not None:
            with torch.no_grad():  # an LLM's loss unlearns it in a few steps
                vectors = torch.cat([self.field(clip) for clip in frames.split(list(lengths))])
            tokens = tokens + _size(seen) * self.vector(strongest(vectors, self.config.frame_grid))
        parts = zip(embedded, tokens.split(list(lengths)), strict=True)
        return torch.cat([piece for mean, own in parts for piece in (mean, own.flatten(0, 1).to(mean))])


def _size(tokens: Tensor) -> Tensor:
    """Return the root mean square of each token, [..., 1]."""
    return tokens.detach().float().square().mean(dim=-1, keepdim=True).sqrt().to(tokens)


def in_cells(patches: Tensor, side: int) -> Tensor:
    """Average patch features `[F, N, D]`, row-major over a square grid, over side * side cells."""
    count, num_patches, width = patches.shape
    grid = patches.transpose(1, 2).reshape(count, width, math.isqrt(num_patches), -1)
    return F.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2)


def changes(frames: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return how each frame `[F, G, D]` differs from the one before; zeros for the first of each clip."""
    clips = frames.split(list(lengths))
    return torch.cat([torch.cat([torch.zeros_like(clip[:1]), clip[1:] - clip[:-1]]) for clip in clips])


def strongest(vectors: Tensor, side: int) -> Tensor:
    """Return the mean vector `[F, G, 2]` of each of side * side cells of `[F, N, 2]`; long ones count for more."""
    lengths = vectors.norm(dim=-1, keepdim=True)
    both = in_cells(torch.cat([vectors * lengths, lengths], dim=-1), side)
    return both[..., :2] / both[..., 2:].clamp(min=1e-4)


def _embedding(width: int) -> nn.Sequential:
    """Embed vectors `[..., 2]`; no motion gives nothing."""
    inner, outer = nn.Linear(2, 32, bias=False), nn.Linear(32, width, bias=False)
    made = nn.Sequential(inner, nn.GELU(), outer)
    with torch.no_grad():
        angles = torch.linspace(0, 2 * math.pi, 33)[:-1]
        around = torch.stack([angles.cos(), angles.sin()], dim=1)
        inner.weight.copy_(around)
        outer.weight.mul_(MOVING / made(around).std())
    return made


def _waves(count: int, width: int) -> Tensor:
    """Embeddings of 0 to `count` - 1 that are similar for neighbours, with a deviation of `NUMBER`."""
    frequencies = math.pi * torch.arange(1, width // 2 + 1) / count / 2
    angles = torch.arange(count)[:, None] * frequencies
    decay = torch.arange(1, width // 2 + 1).rsqrt()
    waves = torch.cat([angles.sin() * decay, angles.cos() * decay], 1)
    padded = F.pad(waves, (0, width - waves.shape[1]))
    return NUMBER * padded / padded.std()


def make_video_projector(config: VitronConfig) -> VideoProjector:
    """Return an untrained video projector of the sizes that the other parts need.

    Raises:
        ValueError: frames seen as pictures are have another number of tokens than pictures.
    """
    video = config.video
    if video.frame_squares and video.tokens_per_frame != config.num_image_tokens:
        raise ValueError(
            f"video.frame_grid: got {video.frame_grid}, expected a square of {config.num_image_tokens} tokens with "
            f"frame_squares, as pictures have"
        )
    return VideoProjector(config.video, feature_width=config.clip.width, width=config.language.width)


def load_video_projector(config: VitronConfig, weights: Weights) -> VideoProjector | None:
    """Return the video projector; None if the weights know no video."""
    if not weights.has(PART):
        return None
    projector = make_video_projector(config)
    weights.load(PART, projector)
    return projector.eval()
