"""The pictures and videos of one request: uploaded, at a URL, or kept here under an id; checked before use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from starlette.requests import Request

from deployments.body import to_model
from deployments.errors import ApiError
from deployments.forms import Upload, read_fields
from deployments.media_files import StoredMedium
from deployments.media_reader import PictureReader, VideoReader
from deployments.models import check_model
from deployments.schema_media import UPLOADED, MediaRef, MediaRequest, Reference
from deployments.schema_parts import RegionField
from deployments.service import Service
from vitron.media import sniff_picture
from vitron.types import Image
from vitron.video import VideoInfo

M = TypeVar("M", bound=MediaRequest)
Files = Mapping[str, Sequence[Upload]]
"""What came as files of a form, by field."""


class PictureInput(NamedTuple):
    """An encoded picture as its owner gave it, and its pixels."""

    medium: StoredMedium
    image: Image


class VideoInput(NamedTuple):
    """An encoded video as its owner gave it, and what it holds."""

    medium: StoredMedium
    info: VideoInfo


async def read_request(
    request: Request, service: Service, model: type[M], *, files: Collection[str], parsed: Collection[str]
) -> tuple[M, Files]:
    """Read a body whose media are named in it or come as files of a form; see `read_fields`."""
    fields = await read_fields(request, service.args.limits, files=files, parsed=parsed)
    body = to_model({**fields.document, **dict.fromkeys(fields.files, UPLOADED)}, model)
    check_model(body.model, service.args)
    return body, fields.files


async def picture_of(service: Service, owner: str, given: Reference, files: Files, param: str) -> PictureInput:
    """Return the picture of a field."""
    data = await picture_bytes(service, owner, given, files, param)
    image = await service.pictures.read_bytes(data, param)
    return PictureInput(StoredMedium(data, f"image/{sniff_picture(data)}"), image)


async def picture_bytes(service: Service, owner: str, given: Reference, files: Files, param: str) -> bytes:
    """Return the encoded picture of a field, which nobody has looked at yet."""
    return await _bytes_of(service, service.pictures, owner, given, files, param)


async def video_of(service: Service, owner: str, given: Reference, files: Files, param: str) -> VideoInput:
    """Return the video of a field."""
    data = await _bytes_of(service, service.videos, owner, given, files, param)
    info = await service.videos.probe(data, param)
    return VideoInput(StoredMedium(data, f"video/{info.format}"), info)


async def _bytes_of(
    service: Service, reader: PictureReader | VideoReader, owner: str, given: Reference, files: Files, param: str
) -> bytes:
    if given == UPLOADED:
        return one(files.get(param, ()), param).data
    url, file_id = (given.address, given.file) if isinstance(given, MediaRef) else (given, None)
    if url is not None:
        return await reader.fetch(url, param)
    found = None if file_id is None else await service.files.read(owner, file_id)
    if found is None:
        raise ApiError(404, f"{param}: no file {file_id!r} here, or it has expired", param=param, code="file_not_found")
    return found.data


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
        _check_drawn(region, at)
    return placed


def on_picture(regions: Sequence[RegionField]) -> list[RegionField]:
    """Return regions on the one picture of a request, having checked them."""
    for index, region in enumerate(regions):
        at = f"regions[{index}]"
        if region.image or region.video is not None:
            raise ApiError(400, f"{at}: expected image 0: there is one picture", param=at)
        _check_drawn(region, at)
    return list(regions)


def _check_drawn(region: RegionField, at: str) -> None:
    """Raise if a region is not one."""
    try:
        region.drawn()
    except ValueError as error:
        raise ApiError(400, f"{at}.{error}", param=at) from error
