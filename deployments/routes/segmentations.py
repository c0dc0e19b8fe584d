"""`POST /v1/images/segmentations`: the segmenter without the LLM. JSON, or a form with the picture as a file."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from deployments.errors import from_failure
from deployments.media_input import on_picture, picture_of, read_request
from deployments.reply import detection
from deployments.schema_media import SegmentationRequest
from deployments.service import Service
from vitron.specialists.base import SpecialistRequest
from vitron.types import Image, SpecialistOutput

SPECIALIST = "seem"
_PARSED = ("boxes", "points", "regions", "threshold")


def segmentation_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.post("/v1/images/segmentations")
    async def segment(request: Request) -> Response:
        limits = service.args.limits
        body, image = await _read(request, service)
        specialist_request = _request(body)
        async with asyncio.timeout(limits.request_timeout_s):
            result = await service.graph.run(SPECIALIST, specialist_request, image)
        if result.failure is not None:
            raise from_failure(result.failure, limits.retry_after_s)
        output = result.output or SpecialistOutput()
        return JSONResponse(await asyncio.to_thread(_answer, body, image, output))

    return router


async def _read(request: Request, service: Service) -> tuple[SegmentationRequest, Image]:
    body, files = await read_request(request, service, SegmentationRequest, files=("image",), parsed=_PARSED)
    return body, (await picture_of(service, str(request.scope["owner"]), body.image, files, "image")).image


def _request(body: SegmentationRequest) -> SpecialistRequest:
    drawn = tuple(region.drawn() for region in on_picture(body.all_regions()))
    options: dict[str, float | int | str] = {}
    if body.threshold is not None:
        options = {"threshold": body.threshold, "multiple": 1}
    return SpecialistRequest(instruction=body.prompt.strip(), drawn=drawn, options=options)


def _answer(body: SegmentationRequest, image: Image, output: SpecialistOutput) -> dict[str, Any]:
    return {
        "created": int(time.time()),
        "mask_format": body.mask_format,
        "width": int(image.shape[1]),
        "height": int(image.shape[0]),
        "data": [detection(item, body.mask_format) for item in output.detections],
    }
