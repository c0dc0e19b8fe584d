"""`/v1/files`: pictures and videos that are kept, to be named by id in later requests."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from deployments.body import to_model
from deployments.content import KeptMedium, serve_medium
from deployments.errors import ApiError, shown
from deployments.forms import read_fields
from deployments.jobs.files import StoredFile
from deployments.media_input import one
from deployments.pages import page_query
from deployments.schema_parts import Body
from deployments.service import Service
from vitron.media import sniff_picture
from vitron.video import sniff_video

_MAX_TTL_S = 2592000


class Expiry(Body):
    """When a file goes away."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=_MAX_TTL_S)


class FileRequest(Body):
    """The fields of an upload beside the file."""

    purpose: Literal["vision", "user_data", "assistants"] = "vision"
    expires_after: Expiry | None = None


def file_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()
    storage = service.storage

    @router.post("/v1/files")
    async def upload(request: Request) -> Response:
        fields = await read_fields(request, service.args.limits, files=("file",))
        body = to_model(fields.document, FileRequest)
        given = one(fields.files.get("file", []), "file")
        mime = await _checked(given.data, service)
        owner = str(request.scope["owner"])
        most = storage.args.max_files
        if await storage.call(storage.files.count, owner) >= most:
            raise ApiError(400, f"file: there are {most} files already, which is the most", param="file")
        ttl_s = storage.args.file_ttl_s if body.expires_after is None else body.expires_after.seconds
        kept = await storage.call(
            storage.files.save, owner, given.data, mime, given.name, purpose=body.purpose, ttl_s=ttl_s
        )
        return JSONResponse(describe(kept))

    @router.get("/v1/files")
    async def list_files(request: Request) -> Response:
        query = page_query(request, default=100)
        page = await storage.call(
            storage.files.list,
            str(request.scope["owner"]),
            after=query.after,
            limit=query.limit,
            newest_first=query.newest_first,
        )
        return query.answer([describe(file) for file in page.files], has_more=page.has_more)

    @router.get("/v1/files/{file_id}")
    async def get(request: Request, file_id: str) -> Response:
        return JSONResponse(describe(await found(request, file_id)))

    @router.get("/v1/files/{file_id}/content")
    async def content(request: Request, file_id: str) -> Response:
        file = await found(request, file_id)
        return await serve_medium(storage, KeptMedium(file.key, file.mime, file.num_bytes, file.name), request)

    @router.delete("/v1/files/{file_id}")
    async def delete(request: Request, file_id: str) -> Response:
        if not await storage.call(storage.files.delete, str(request.scope["owner"]), file_id):
            raise _unknown(file_id)
        return JSONResponse({"id": file_id, "object": "file", "deleted": True})

    async def found(request: Request, file_id: str) -> StoredFile:
        file = await storage.call(storage.files.find, str(request.scope["owner"]), file_id)
        if file is None:
            raise _unknown(file_id)
        return file

    return router


def describe(file: StoredFile) -> dict[str, Any]:
    """Describe a file as OpenAI does."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.num_bytes,
        "created_at": int(file.created_at),
        "expires_at": None if file.expires_at is None else int(file.expires_at),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "vitron": {"mime": file.mime},
    }


async def _checked(data: bytes, service: Service) -> str:
    """Return the media type of a picture or video that can be read; what its owner says it is does not count."""
    if sniff_video(data) not in ("", "gif"):  # an animation may be either; as a file it is a picture
        return f"video/{(await service.videos.probe(data, 'file')).format}"
    await service.pictures.read_bytes(data, "file")
    return f"image/{sniff_picture(data)}"


def _unknown(file_id: str) -> ApiError:
    return ApiError(404, f"no file {shown(file_id)} here, or it has expired", code="file_not_found")
