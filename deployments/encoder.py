"""The encoders of pictures and of regions as deployments: pictures to features, drawn regions to tokens."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from deployments.args import AppArgs
from deployments.batching import MicroBatcher
from deployments.envelope import Envelope, pack, unpack
from deployments.messages import EdgeRecord
from deployments.parts import Loaders
from deployments.video_encoder import FRAME_FEATURES, EncodedClip
from vitron.regions import to_mask
from vitron.types import DrawnRegion, Image

FEATURES = "image features"
REGION_TOKENS = "region tokens"
_REGIONS = "region_encoder"


class _Picture(NamedTuple):
    fingerprint: str
    image: Image


class ImageEncoder:
    """Encodes pictures, several in one forward; the same picture is served from a cache by content."""

    def __init__(self, args: AppArgs, load: Loaders) -> None:
        """Load the weights."""
        torch.set_num_threads(args.torch_threads)
        self._encoder = load.image_encoder(args)
        self._revision = load.revision(args)
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        self._cache_size = args.encoder_cache
        self._batcher: MicroBatcher[_Picture, Tensor] = MicroBatcher(
            self._encode_batch, max_size=args.encoder_batch, wait_s=args.batch_wait_s
        )

    async def encode(self, fingerprint: str, image: Image) -> Envelope:
        """Return the patch features `[N, D]` of one picture.

        Args:
            fingerprint: the picture's content hash (`vitron.media.fingerprint`).
            image: its pixels.
        """
        features = self._cache.get(fingerprint)
        if features is None:
            features = await self._batcher.submit(_Picture(fingerprint, image))
            self._remember(fingerprint, features)
        else:
            self._cache.move_to_end(fingerprint)
        return pack(features, name=FEATURES, source="image_encoder", revision=self._revision)

    def _encode_batch(self, pictures: Sequence[_Picture]) -> list[Tensor]:
        # The same picture may be waiting twice: encode it once.
        unique = {picture.fingerprint: picture.image for picture in pictures}
        features = dict(zip(unique, self._encoder.encode(list(unique.values())).unbind(0), strict=True))
        return [features[picture.fingerprint] for picture in pictures]

    def _remember(self, fingerprint: str, features: Tensor) -> None:
        if not self._cache_size:
            return
        # A row of a batch is a view that would keep the whole batch alive.
        self._cache[fingerprint] = features.clone()
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)


class RegionEncoder:
    """Turns what was drawn on one picture or clip into tokens, from the features of what is under it."""

    def __init__(self, args: AppArgs, load: Loaders) -> None:
        """Load the weights."""
        torch.set_num_threads(args.torch_threads)
        self._encoder = load.region_encoder(args)
        self._revision = load.revision(args)

    async def encode(self, regions: tuple[DrawnRegion, ...], height: int, width: int, features: Envelope) -> Envelope:
        """Return the tokens `[R, 2, D_llm]` of `regions` on a picture of `height` x `width`."""
        tensor, record = unpack(features, name=FEATURES, target=_REGIONS)
        tokens = await asyncio.to_thread(self._encode, tensor, regions, height, width)
        return self._pack(tokens, (*features.edges, record))

    async def encode_on_clip(
        self, regions: tuple[DrawnRegion, ...], places: tuple[int, ...], height: int, width: int, clip: EncodedClip
    ) -> Envelope:
        """Return the tokens `[R, 2, D_llm]` of `regions` on a clip of `height` x `width`.

        Args:
            regions: on frames of it.
            places: where in `clip.drawn` each region's frame is.
            height, width: of a frame.
            clip: its features.
        """
        tensor, record = unpack(clip.drawn, name=FRAME_FEATURES, target=_REGIONS)
        tokens = await asyncio.to_thread(self._encode_each, tensor, regions, places, height, width)
        return self._pack(tokens, (record,))

    def _encode(self, features: Tensor, regions: tuple[DrawnRegion, ...], height: int, width: int) -> Tensor:
        masks = [to_mask(region, height, width) for region in regions]
        return self._encoder.encode(features, masks)

    def _encode_each(
        self, frames: Tensor, regions: tuple[DrawnRegion, ...], places: tuple[int, ...], height: int, width: int
    ) -> Tensor:
        tokens = [
            self._encode(frames[at], (region,), height, width) for region, at in zip(regions, places, strict=True)
        ]
        return torch.cat(tokens)

    def _pack(self, tokens: Tensor, edges: tuple[EdgeRecord, ...]) -> Envelope:
        return pack(tokens, name=REGION_TOKENS, source=_REGIONS, revision=self._revision, edges=edges)
