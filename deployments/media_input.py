"""The pictures and videos of one request: uploaded, at a URL, or kept here under an id; checked before use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deployments.errors import ApiError
from deployments.forms import Upload
from deployments.media_files import StoredMedium
from deployments.schema_media import UPLOADED, MediaRef, Reference
from deployments.schema_parts import ImageUrl, RegionField
from deployments.service import Service
from vitron.media import sniff_picture
from vitron.types import Image
from vitron.video import VideoInfo


class PictureInput(NamedTuple):
    """An encoded picture as its owner gave it, and its pixels."""

    medium: StoredMedium
    image: Image


class VideoInput(NamedTuple):
    """An encoded video, and what it holds."""

    data: bytes
    mime: str
    info: VideoInfo


async def picture_of(
    service: Service, owner: str, given: Reference | ImageUrl, uploads: Sequence[Upload], param: str
) -> PictureInput:
    """Return the picture of a field."""
    data = await picture_bytes(service, owner, given, uploads, param)
    image = await service.pictures.read_bytes(data, param)
    return PictureInput(StoredMedium(data, f"image/{sniff_picture(data)}"), image)


async def picture_bytes(
    service: Service, owner: str, given: Reference | ImageUrl, uploads: Sequence[Upload], param: str
) -> bytes:
    """Return the encoded picture of a field, which nobody has looked at yet."""
    if given == UPLOADED:
        return one(uploads, param).data
    url, file_id = _place(given)
    if url is not None:
        return await service.pictures.fetch(url, param)
    return await _kept(service, owner, file_id, param)


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
        if given.video or "image" in given.model_fields_set or region.frame >= info.num_frames:
            raise ApiError(
                400,
                f"{at}: got video {given.video}, image {given.image}, frame {region.frame}; "
                f"expected the one video, no image, and a frame from 0 to {info.num_frames - 1}",
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


def _place(given: Reference | ImageUrl) -> tuple[str | None, str | None]:
    if isinstance(given, MediaRef):
        return given.url, given.file
    return given.url if isinstance(given, ImageUrl) else given, None


async def _kept(service: Service, owner: str, file_id: str | None, param: str) -> bytes:
    found = None if file_id is None else await service.files.read(owner, file_id)
    if found is None:
        raise ApiError(404, f"{param}: no file {file_id!r} here, or it has expired", param=param, code="file_not_found")
    return found.data
