"""`POST /v1/images/segmentations`: the segmenter without the LLM. JSON, or a form with the picture as a file."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from deployments.args import Limits
from deployments.body import parse_json, read_form, read_model, to_model
from deployments.errors import ApiError, from_failure, shown
from deployments.models import check_model
from deployments.reply import detection
from deployments.schema import ImageUrl, SegmentationRequest
from deployments.service import Service
from vitron.specialists.base import SpecialistRequest
from vitron.types import DrawnRegion, Image, SpecialistOutput

SPECIALIST = "seem"
_JSON_FIELDS = ("boxes", "points", "regions")
_NO_URL = "data:,"
"""Stands for the picture of a form while its other fields are checked."""


def segmentation_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.post("/v1/images/segmentations")
    async def segment(request: Request) -> Response:
        limits = service.args.limits
        body, image = await _read(request, service)
        specialist_request = _request(body, _drawn(body))
        async with asyncio.timeout(limits.request_timeout_s):
            result = await service.graph.run(SPECIALIST, specialist_request, image)
        if result.failure is not None:
            raise from_failure(result.failure, limits.retry_after_s)
        output = result.output or SpecialistOutput()
        return JSONResponse(await asyncio.to_thread(_answer, body, image, output))

    return router


async def _read(request: Request, service: Service) -> tuple[SegmentationRequest, Image]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        body, data = await _read_form(request, service.args.limits)
        check_model(body.model, service.args)
        return body, await service.pictures.read_bytes(data, "image")
    body = await read_model(request, SegmentationRequest, service.args.limits)
    check_model(body.model, service.args)
    url = body.image.url if isinstance(body.image, ImageUrl) else body.image
    return body, await service.pictures.read_url(url, "image")


async def _read_form(request: Request, limits: Limits) -> tuple[SegmentationRequest, bytes]:
    try:
        form = await read_form(request, limits)
    except HTTPException as error:  # Starlette's own word for a broken form
        raise ApiError(400, f"body: not a valid form ({error.detail})") from error
    data = form.pop("image", None)
    if not isinstance(data, bytes):
        raise ApiError(400, "image: expected a file", param="image")
    fields: dict[str, Any] = {"image": _NO_URL}
    for name, value in form.items():
        if isinstance(value, bytes):
            raise ApiError(400, f"{name}: got a file, expected text", param=name)
        if name in _JSON_FIELDS:
            fields[name] = parse_json(value.encode(), limits.max_json_depth)
        else:
            fields[name] = _threshold(value) if name == "threshold" else value
    return to_model(fields, SegmentationRequest), data


def _threshold(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ApiError(400, f"threshold: got {shown(text)}, expected a number in [0, 1]", param="threshold") from error


def _drawn(body: SegmentationRequest) -> tuple[DrawnRegion, ...]:
    try:
        return body.drawn()
    except ValueError as error:
        raise ApiError(400, f"regions: {error}", param="regions") from error


def _request(body: SegmentationRequest, drawn: tuple[DrawnRegion, ...]) -> SpecialistRequest:
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
