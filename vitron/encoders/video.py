"""The video encoder: clips through the picture's CLIP tower, frame by frame (paper §3.1).

Patch features of T frames `[T, N, D]` are averaged over time to `[N, D]`, as in the paper, and take the same projector
as a picture's. A mean does not know in which order things happened, so each frame also gives tokens of its own: its
features averaged over the cells of a grid `[G, D]`, through a linear layer of their own (a mean over a quarter of the
picture is not a square of merged patches, which is what the projector reads), or all of them through that projector,
plus an embedding of the frame's number. `VideoConfig.frame_tokens` switches them off.

It knows nothing of prompts; which frames are seen is `vitron.prompt.seen_frames`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitron.config import VideoConfig
from vitron.encoders.image import ImageEncoder
from vitron.encoders.projector import Projector
from vitron.encoders.video_projector import ClipFeatures, VideoProjector, in_cells
from vitron.types import Clip


class VideoEncoder:
    """Clips -> features, by the image encoder; holds no weights of its own."""

    def __init__(self, image: ImageEncoder, config: VideoConfig) -> None:
        self.image, self.config = image, config

    def patches(self, clip: Clip, numbers: Sequence[int]) -> Tensor:
        """Return the patch features `[T, N, D]` of the frames with these numbers.

        They are also what the region encoder pools for a region on one of the frames.
        """
        places = [clip.numbers.index(number) for number in numbers]
        return self.image.encode([clip.frames[place] for place in places])

    def pool(self, patches: Tensor) -> ClipFeatures:
        """Return a clip's features from those of its frames."""
        means, frames = pool_clips(patches, [len(patches)], self.config)
        return ClipFeatures(means[0], frames)


def pool_clips(patches: Tensor, lengths: Sequence[int], config: VideoConfig) -> tuple[Tensor, Tensor]:
    """Average patch features over time and over space.

    Args:
        patches: `[F, N, D]`, the frames of C clips one after another, row-major over a square patch grid.
        lengths: C numbers of frames, at least 1 each; their sum is F.
        config: says whether frames give tokens, and how many.

    Returns:
        `(means [C, N, D], frames [F, G, D])`; G is N where frames are seen as pictures are, and 0 if they give no
        tokens.
    """
    if sum(lengths) != len(patches) or any(length < 1 for length in lengths):
        raise ValueError(f"lengths: got {list(lengths)}, expected numbers above 0 whose sum is {len(patches)}")
    means = torch.stack([clip.mean(0) for clip in patches.split(list(lengths))])
    if not config.frame_tokens:
        return means, patches[:, :0]
    return means, patches if config.frame_squares else in_cells(patches, config.frame_grid)


def embed_clips(patches: Tensor, lengths: Sequence[int], projector: Projector, video: VideoProjector) -> Tensor:
    """Return what stands at the `<video>` positions of C clips, `[P, width]`: `LanguageModel.embed` takes it.

    Args:
        patches, lengths: as in `pool_clips`; differentiable in both projectors.
        projector: the language model's own, which pictures take too.
        video: what clips need beside it.
    """
    means, frames = pool_clips(patches, lengths, video.config)
    embedded: Tensor = video(means, frames, lengths, projector)
    return embedded
