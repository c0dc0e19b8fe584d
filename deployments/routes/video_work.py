"""`POST /v1/videos/edits` and `/v1/videos/segmentations`: jobs that work on a video."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from deployments.jobs.accept import Order, accept
from deployments.jobs.model import JobKind
from deployments.media_input import VideoInput, on_video, read_request, video_of
from deployments.routes.videos import answer, seconds
from deployments.schema_media import VideoEditRequest, VideoSegmentationRequest
from deployments.service import Service
from vitron.requests import ask_tracks

_PARSED = ("regions", "boxes", "points", "frame", "seed", "assistant", "options")


def video_work_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.post("/v1/videos/edits")
    async def edit(request: Request) -> Response:
        owner = str(request.scope["owner"])
        body, files = await read_request(request, service, VideoEditRequest, files=("video",), parsed=_PARSED)
        video = await video_of(service, owner, body.video, files, "video")
        order = Order(
            kind=JobKind.EDIT,
            text=body.prompt,
            prompt=body.prompt,
            asked=body,
            media=[video.medium],
            regions=on_video(body.regions, video.info),
            expected=_expected(video),
        )
        return await _accepted(request, service, order, owner)

    @router.post("/v1/videos/segmentations")
    async def segment(request: Request) -> Response:
        owner = str(request.scope["owner"])
        body, files = await read_request(request, service, VideoSegmentationRequest, files=("video",), parsed=_PARSED)
        video = await video_of(service, owner, body.video, files, "video")
        order = Order(
            kind=JobKind.SEGMENTATION,
            text=ask_tracks(body.prompt),
            prompt=body.prompt,
            asked=body,
            media=[video.medium],
            regions=on_video(body.all_regions(video=0, frame=body.frame), video.info),
            expected=_expected(video),
            mask_format=body.mask_format,
        )
        return await _accepted(request, service, order, owner)

    return router


async def _accepted(request: Request, service: Service, order: Order, owner: str) -> Response:
    job = await accept(order, service, owner, request.headers.get("idempotency-key"))
    return answer(job, service.args)


def _expected(video: VideoInput) -> dict[str, str]:
    info = video.info
    return {"size": f"{info.width}x{info.height}", "seconds": seconds(info.num_frames, info.fps)}
