"""The video encoder as a deployment: the frames of a clip to what the LLM and the region encoder need of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deployments.args import AppArgs
from deployments.batching import MicroBatcher
from deployments.envelope import Envelope, pack
from deployments.parts import Loaders
from vitron.types import Clip

CLIP_MEAN = "clip mean"
CLIP_FRAMES = "clip frames"
FRAME_FEATURES = "frame features"
_PART = "video_encoder"


class EncodedClip(NamedTuple):
    """A clip on its way to the LLM and to the region encoder; each opens what it needs.

    Attributes:
        mean: `[N, D]`, patch features averaged over the frames.
        frames: `[T, G, D]`, the frames' own features.
        drawn: `[K, N, D]`, patch features of the frames that are drawn on.
    """

    mean: Envelope
    frames: Envelope
    drawn: Envelope


class _Job(NamedTuple):
    frames: npt.NDArray[np.uint8]
    drawn: tuple[int, ...]


class _Features(NamedTuple):
    mean: Tensor
    frames: Tensor
    drawn: Tensor


class VideoEncoder:
    """Encodes clips, the frames of one in one forward; the same clip is served from a cache by content."""

    def __init__(self, args: AppArgs, load: Loaders) -> None:
        """Load the weights."""
        torch.set_num_threads(args.torch_threads)
        self._encoder = load.video_encoder(args)
        self._revision = load.revision(args)
        self._cache: OrderedDict[tuple[str, tuple[int, ...]], _Features] = OrderedDict()
        self._cache_size = args.video_cache
        # One clip is a batch by itself; clips that arrive together wait for each other, not for company.
        self._batcher: MicroBatcher[_Job, _Features] = MicroBatcher(self._encode_all, max_size=1, wait_s=0)

    async def encode(self, fingerprint: str, frames: npt.NDArray[np.uint8], drawn: tuple[int, ...]) -> EncodedClip:
        """Return the features of one clip.

        Args:
            fingerprint: names the frames by content.
            frames: those that are seen, `uint8 [T, height, width, 3]`.
            drawn: places among them whose patch features are wanted too.
        """
        key = (fingerprint, drawn)
        features = self._cache.get(key)
        if features is None:
            features = await self._batcher.submit(_Job(frames, drawn))
            self._remember(key, features)
        else:
            self._cache.move_to_end(key)
        return EncodedClip(
            self._pack(features.mean, CLIP_MEAN),
            self._pack(features.frames, CLIP_FRAMES),
            self._pack(features.drawn, FRAME_FEATURES),
        )

    def _encode_all(self, jobs: Sequence[_Job]) -> list[_Features]:
        return [self._encode(job) for job in jobs]

    @torch.inference_mode()
    def _encode(self, job: _Job) -> _Features:
        clip = Clip(frames=job.frames)
        patches = self._encoder.patches(clip, clip.numbers)
        mean, frames = self._encoder.pool(patches)
        # Copies: a view of the patches would keep the features of all frames alive in the cache.
        return _Features(mean.clone(), frames.clone(), patches[list(job.drawn)].clone())

    def _remember(self, key: tuple[str, tuple[int, ...]], features: _Features) -> None:
        if not self._cache_size:
            return
        self._cache[key] = features
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)

    def _pack(self, tensor: Tensor, name: str) -> Envelope:
        return pack(tensor, name=name, source=_PART, revision=self._revision)
