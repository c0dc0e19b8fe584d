"""The pictures and videos of one request: uploaded, at a URL, or kept here under an id; checked before use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deployments.errors import ApiError
from deployments.forms import Upload
from deployments.schema_media import UPLOADED, MediaRef, Reference
from deployments.schema_parts import RegionField
from deployments.service import Service
from vitron.media import encode_png
from vitron.types import Image
from vitron.video import VideoInfo


class VideoInput(NamedTuple):
    """An encoded video, and what it holds."""

    data: bytes
    mime: str
    info: VideoInfo


async def picture_of(service: Service, owner: str, given: Reference, uploads: Sequence[Upload], param: str) -> Image:
    """Return the picture of a field."""
    if given == UPLOADED:
        return await service.pictures.read_bytes(one(uploads, param).data, param)
    url, file_id = _place(given)
    if url is not None:
        return await service.pictures.read_url(url, param)
    return await service.pictures.read_bytes(await _kept(service, owner, file_id, param), param)


async def picture_bytes(service: Service, owner: str, given: Reference, uploads: Sequence[Upload], param: str) -> bytes:
    """Return the encoded picture of a field; only those that are not fetched keep their transparency."""
    if given == UPLOADED:
        return one(uploads, param).data
    url, file_id = _place(given)
    if url is None:
        return await _kept(service, owner, file_id, param)
    return encode_png(await service.pictures.read_url(url, param))


async def video_of(service: Service, owner: str, given: Reference, uploads: Sequence[Upload], param: str) -> VideoInput:
    """Return the video of a field."""
    if given == UPLOADED:
        data = one(uploads, param).data
    else:
        url, file_id = _place(given)
        if url is not None:
            data = await service.videos.fetch(url, param)
        else:
            data = await _kept(service, owner, file_id, param)
    info = await service.videos.probe(data, param)
    return VideoInput(data, f"video/{info.format}", info)


def one(uploads: Sequence[Upload], param: str) -> Upload:
    """Return the only upload of a field."""
    if len(uploads) != 1:
        raise ApiError(400, f"{param}: got {len(uploads)} files, expected one", param=param)
    return uploads[0]


def on_video(regions: Sequence[RegionField], info: VideoInfo) -> list[RegionField]:
    """Place regions on the one video of a request, having checked them."""
    placed = [region.model_copy(update={"video": 0}) for region in regions]
    for index, (given, region) in enumerate(zip(regions, placed, strict=True)):
        at = f"regions[{index}]"
        if given.video or given.image or region.frame >= info.num_frames:
            raise ApiError(
                400,
                f"{at}: got video {given.video}, image {given.image}, frame {region.frame}; "
                f"expected the one video, and a frame from 0 to {info.num_frames - 1}",
                param=at,
            )
        check_drawn(region, at)
    return placed


def check_drawn(region: RegionField, at: str) -> None:
    """Raise if a region is not one."""
    try:
        region.drawn()
    except ValueError as error:
        raise ApiError(400, f"{at}.{error}", param=at) from error


def _place(given: Reference) -> tuple[str | None, str | None]:
    return (given.url, given.file) if isinstance(given, MediaRef) else (given, None)


async def _kept(service: Service, owner: str, file_id: str | None, param: str) -> bytes:
    found = None if file_id is None else await service.files.read(owner, file_id)
    if found is None:
        raise ApiError(404, f"{param}: no file {file_id!r} here, or it has expired", param=param, code="file_not_found")
    return found.data
