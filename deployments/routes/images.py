"""`POST /v1/images/generations`: the image generator without the LLM, so without a signal embedding."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from deployments.body import read_model
from deployments.errors import ApiError, from_failure, shown
from deployments.models import check_model, image_size
from deployments.reply import picture
from deployments.schema import GenerationRequest
from deployments.service import Service
from vitron.specialists.base import SpecialistRequest
from vitron.types import Image, SpecialistOutput

SPECIALIST = "gligen"


def image_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.post("/v1/images/generations")
    async def generate(request: Request) -> Response:
        limits = service.args.limits
        body = await read_model(request, GenerationRequest, limits)
        check_model(body.model, service.args)
        _check(body, image_size(service.args), limits.max_outputs)
        async with asyncio.timeout(limits.request_timeout_s):
            result = await service.graph.run(SPECIALIST, _request(body), None)
        if result.failure is not None:
            raise from_failure(result.failure, limits.retry_after_s)
        images = (result.output or SpecialistOutput()).images
        data = await asyncio.to_thread(_data, images)
        return JSONResponse(
            {
                "created": int(time.time()),
                "data": data,
                "output_format": "png",
                "size": image_size(service.args),
            }
        )

    return router


def _check(body: GenerationRequest, size: str, max_outputs: int) -> None:
    if body.size not in (None, "auto", size):
        raise ApiError(400, f"size: got {shown(body.size)}, expected {size!r}", param="size")
    if body.n is not None and body.n > max_outputs:
        raise ApiError(400, f"n: got {body.n}, expected 1 to {max_outputs}", param="n")


def _request(body: GenerationRequest) -> SpecialistRequest:
    options: dict[str, float | int | str] = {}
    chosen = {
        "num_images": body.n,
        "steps": body.steps,
        "guidance_scale": body.guidance_scale,
    }
    for name, value in chosen.items():
        if value is not None:
            options[name] = value
    return SpecialistRequest(
        instruction=body.prompt,
        regions=tuple(item.grounding() for item in body.layout),
        seed=secrets.randbits(62) if body.seed is None else body.seed,
        options=options,
    )


def _data(images: tuple[Image, ...]) -> list[dict[str, Any]]:
    return [dict(picture(image)) for image in images]
