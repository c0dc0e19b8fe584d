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
from vitron.weights import Weights

PART = "video_projector"
"""Its file in a folder of weights."""


class ClipFeatures(NamedTuple):
    """What a clip looks like before any projection.

    Attributes:
        mean: `[N, D]`, patch features averaged over the frames.
        frames: `[T, G, D]`, each frame's features averaged over G cells; G is 0 if frames give no tokens.
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
        # Tells the mean of a clip from a picture, which takes the same projector.
        self.kind = nn.Parameter(torch.zeros(width))
        self.frame: nn.Linear | None = None
        self.motion: nn.Linear | None = None
        if config.frame_tokens:
            self.frame = nn.Linear(feature_width, width)
            self.number = nn.Parameter(_waves(config.max_frames, width))
            self.cell = nn.Parameter(torch.zeros(config.tokens_per_frame, width))
        if config.frame_motion:
            self.motion = nn.Linear(feature_width, width, bias=False)
            nn.init.zeros_(self.motion.weight)

    def forward(self, means: Tensor, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """Embed clips.

        Args:
            means: `[C, n, width]`, projected as a picture's features are.
            frames: `[F, G, D]`, frames of all clips one after another, as `pool_clips` gives them.
            lengths: C numbers of frames, at most `max_frames` each.

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
        embedded = means + self.kind
        if self.frame is None:
            return embedded.flatten(0, 1)
        numbers = torch.cat([self.number[:length] for length in lengths])
        frames = frames.to(self.frame.weight)
        tokens = self.frame(frames) + numbers[:, None] + self.cell
        if self.motion is not None:
            tokens = tokens + self.motion(changes(frames, lengths))
        parts = zip(embedded, tokens.split(list(lengths)), strict=True)
        return torch.cat([piece for mean, own in parts for piece in (mean, own.flatten(0, 1).to(mean))])


def changes(frames: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return how each frame `[F, G, D]` differs from the one before; zeros for the first of each clip."""
    clips = frames.split(list(lengths))
    return torch.cat([torch.cat([torch.zeros_like(clip[:1]), clip[1:] - clip[:-1]]) for clip in clips])


def _waves(count: int, width: int) -> Tensor:
    """Embeddings of 0 to `count` - 1 that are similar for neighbours, scaled like token embeddings (0.02)."""
    frequencies = math.pi * torch.arange(1, width // 2 + 1) / count / 2
    angles = torch.arange(count)[:, None] * frequencies
    decay = torch.arange(1, width // 2 + 1).rsqrt()
    waves = torch.cat([angles.sin() * decay, angles.cos() * decay], 1)
    padded = F.pad(waves, (0, width - waves.shape[1]))
    return 0.02 * padded / padded.std()


def make_video_projector(config: VitronConfig) -> VideoProjector:
    """Return an untrained video projector of the sizes that the other parts need."""
    return VideoProjector(config.video, feature_width=config.clip.width, width=config.language.width)


def load_video_projector(config: VitronConfig, weights: Weights) -> VideoProjector | None:
    """Return the video projector; None if the weights know no video."""
    if not weights.has(PART):
        return None
    projector = make_video_projector(config)
    weights.load(PART, projector)
    return projector.eval()
