"""The media of one conversation: which part is a picture and which a video, in reading order, and their pixels."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from deployments.args import Limits
from deployments.errors import ApiError
from deployments.media_files import MediaSource, StoredMedium
from deployments.media_reader import NamedClip, PictureReader, VideoReader
from deployments.schema_parts import FilePart, ImagePart, ProducedMedium, RegionField, VideoPart
from vitron.types import Image


class StoredPart(NamedTuple):
    """A picture or video that an earlier answer made; `kind` is "image" or "video"."""

    kind: str
    medium: ProducedMedium


class TurnMedia(NamedTuple):
    """The media of a conversation, in reading order, and by the place of their part in the request."""

    images: list[Image]
    clips: list[NamedClip]
    by_place: dict[str, Image | NamedClip]


class MediaReader:
    """Reads what a conversation shows."""

    def __init__(self, pictures: PictureReader, videos: VideoReader, files: MediaSource, limits: Limits) -> None:
        """Keep the readers."""
        self._pictures, self._videos, self._files, self._limits = pictures, videos, files, limits

    async def read(
        self, owner: str, parts: Sequence[tuple[str, object]], regions: Sequence[tuple[str, RegionField]]
    ) -> TurnMedia:
        """Read all media among `parts`; frames that `regions` are drawn on are among those kept of a video."""
        media = [(at, part) for at, part in parts if isinstance(part, ImagePart | VideoPart | FilePart | StoredPart)]
        files = await asyncio.gather(*[self._file(owner, at, part) for at, part in media])
        # Only now is it known which files are videos, and so which video an index means.
        are_videos = [_is_video(part, file) for (_, part), file in zip(media, files, strict=True)]
        self._check_count("pictures", are_videos.count(False), self._limits.max_images)
        self._check_count("videos", are_videos.count(True), self._limits.max_videos)
        reads: list[Awaitable[Image | NamedClip]] = []
        index = 0
        for (at, part), file, is_video in zip(media, files, are_videos, strict=True):
            keep = {field.frame for _, field in regions if field.video == index}
            reads.append(self._video(at, part, file, keep) if is_video else self._picture(at, part, file))
            index += is_video
        found = await asyncio.gather(*reads)
        return TurnMedia(
            images=[each for each in found if not isinstance(each, NamedClip)],
            clips=[each for each in found if isinstance(each, NamedClip)],
            by_place={at: each for (at, _), each in zip(media, found, strict=True)},
        )

    def _check_count(self, name: str, count: int, most: int) -> None:
        if count > most:
            raise ApiError(400, f"messages: {name}: got {count}, expected at most {most}", param="messages")

    async def _file(self, owner: str, at: str, part: object) -> StoredMedium | None:
        if not isinstance(part, FilePart | StoredPart):
            return None
        file_id = part.file.file_id if isinstance(part, FilePart) else part.medium.id
        if file_id is None:
            assert isinstance(part, StoredPart)
            return StoredMedium(_decoded(at, part.medium.b64_json or ""), f"{part.kind}/*")
        found = await self._files.read(owner, file_id)
        if found is None:
            raise ApiError(404, f"{at}: no file {file_id!r} here, or it has expired", param=at, code="file_not_found")
        if not found.mime.startswith(("image/", "video/")):
            raise ApiError(415, f"{at}: got a file of type {found.mime!r}, expected a picture or a video", param=at)
        return found

    async def _picture(self, at: str, part: object, file: StoredMedium | None) -> Image:
        if file is not None:
            return await self._pictures.read_bytes(file.data, at)
        assert isinstance(part, ImagePart)
        return await self._pictures.read_url(part.image_url.url, at)

    async def _video(self, at: str, part: object, file: StoredMedium | None, keep: set[int]) -> NamedClip:
        if file is not None:
            return await self._videos.read_bytes(file.data, at, keep)
        assert isinstance(part, VideoPart)
        return await self._videos.read_url(part.video_url.url, at, keep)


def _decoded(at: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ApiError(400, f"{at}: null beside broken base64 ({error})", param=at) from error


def _is_video(part: object, file: StoredMedium | None) -> bool:
    if isinstance(part, StoredPart):
        return part.kind == "video"
    return isinstance(part, VideoPart) if file is None else file.mime.startswith("video/")
