"""Pictures and videos of requests: data URLs and bytes are decoded, other URLs fetched; all within limits.

Decoding takes a thread, never the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, TypeVar

from deployments.args import AppArgs
from deployments.errors import ApiError
from deployments.media_fetch import MediaFetcher
from vitron.media import ByteLimits, ImageLimits, MediaError, decode_image, parse_data_url
from vitron.types import Clip, Image
from vitron.video import VideoInfo, VideoLimits, decode_clip, probe

T = TypeVar("T")


class NamedClip(NamedTuple):
    """A clip, and a name for its content: equal names mean equal frames at equal numbers."""

    clip: Clip
    name: str


class PictureReader:
    """Reads pictures."""

    def __init__(self, args: AppArgs, fetcher: MediaFetcher | None = None) -> None:
        """Keep the limits; without `fetcher` one is made by the rules of `args`."""
        limits = args.limits
        self._fetcher = fetcher or MediaFetcher(args.fetch, max_bytes=limits.max_image_bytes)
        self._limits = ImageLimits(max_bytes=limits.max_image_bytes, max_pixels=limits.max_image_pixels)

    async def read_url(self, url: str, param: str) -> Image:
        """Return the picture at `url`; errors name the field `param`."""
        return await self.read_bytes(await self.fetch(url, param), param)

    async def fetch(self, url: str, param: str) -> bytes:
        """Return the encoded picture at `url`, which nobody has looked at yet."""
        return await _bytes_of(url, self._fetcher, self._limits, param)

    async def read_bytes(self, data: bytes, param: str) -> Image:
        """Return the picture encoded in `data`; errors name the field `param`."""
        return await _decoded(lambda: decode_image(data, self._limits), param)


class VideoReader:
    """Reads videos: of long or large ones, frames spread evenly."""

    def __init__(self, args: AppArgs, fetcher: MediaFetcher | None = None) -> None:
        """Keep the limits; without `fetcher` one is made by the rules of `args`."""
        limits = args.limits
        self._fetcher = fetcher or MediaFetcher(args.fetch, max_bytes=limits.max_video_bytes, field="video_url")
        self._max_frames, self._max_clip_bytes = limits.max_clip_frames, limits.max_clip_bytes
        self._limits = VideoLimits(
            max_bytes=limits.max_video_bytes,
            max_pixels=limits.max_video_pixels,
            max_frames=limits.max_video_frames,
            max_seconds=limits.max_video_seconds,
            max_decoded_bytes=limits.max_clip_bytes,
        )

    async def read_url(self, url: str, param: str, keep: Collection[int] = ()) -> NamedClip:
        """Return the video at `url`; see `read_bytes`."""
        data = await _bytes_of(url, self._fetcher, self._limits, param)
        return await self.read_bytes(data, param, keep)

    async def read_bytes(self, data: bytes, param: str, keep: Collection[int] = ()) -> NamedClip:
        """Return the video encoded in `data`, the frame numbers `keep` among its frames.

        Errors name the field `param`.
        """
        return await _decoded(lambda: self._decode(data, keep), param)

    async def fetch(self, url: str, param: str) -> bytes:
        """Return the encoded video at `url`."""
        return await _bytes_of(url, self._fetcher, self._limits, param)

    async def probe(self, data: bytes, param: str) -> VideoInfo:
        """Say what a video holds, having checked it against the limits without decoding it."""
        return await _decoded(lambda: probe(data, self._limits), param)

    def _decode(self, data: bytes, keep: Collection[int]) -> NamedClip:
        info = probe(data, self._limits)
        fitting = self._max_clip_bytes // (3 * info.width * info.height)
        count = max(1, min(self._max_frames, fitting))
        if len(set(keep)) > count:
            raise MediaError(400, "too_many_frames", f"frame: got {len(set(keep))} of them, expected at most {count}")
        clip = decode_clip(data, self._limits, max_frames=count, keep=keep)
        return NamedClip(clip, hashlib.sha256(data).hexdigest())


async def _bytes_of(url: str, fetcher: MediaFetcher, limits: ByteLimits, param: str) -> bytes:
    if url[:5].lower() == "data:":
        return await _decoded(lambda: parse_data_url(url, limits).data, param)
    try:
        return await fetcher.fetch(url)
    except ApiError as error:
        error.param = param
        raise


async def _decoded(work: Callable[[], T], param: str) -> T:
    running: Awaitable[T] = asyncio.to_thread(work)
    try:
        return await running
    except MediaError as error:
        raise ApiError(error.status, error.message, param=param, code=error.code) from error
