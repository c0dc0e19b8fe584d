"""`POST /v1/images/edits`: a picture changed as told, by the assistant or by the image editor alone."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from contextlib import aclosing
from typing import NamedTuple

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from deployments.args import Limits
from deployments.conversation import read_conversation
from deployments.errors import ApiError, from_failure, overloaded, shown
from deployments.jobs.accept import check_served
from deployments.media_files import StoredMedium
from deployments.media_input import on_picture, picture_bytes, picture_of, read_request
from deployments.messages import Done, Failure, TextDelta
from deployments.reply import picture
from deployments.schema import ChatRequest
from deployments.schema_media import ImageEditRequest, Reference
from deployments.schema_parts import RegionField
from deployments.service import Service
from vitron.media import ImageLimits, MediaError, transparent_area
from vitron.regions import mask_to_png
from vitron.specialists.base import Option, SpecialistRequest
from vitron.types import Image, Module

SPECIALIST = "gligen_edit"
_PARSED = ("regions", "n", "seed", "assistant", "options", "stream", "partial_images")


class _Edit(NamedTuple):
    body: ImageEditRequest
    medium: StoredMedium
    image: Image
    regions: list[RegionField]
    options: dict[str, Option]


def image_edit_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.post("/v1/images/edits")
    async def edit(request: Request) -> Response:
        limits = service.args.limits
        check_served(SPECIALIST, service)
        asked = await _read(request, service)
        async with asyncio.timeout(limits.request_timeout_s):
            if asked.body.assistant:
                owner, request_id = str(request.scope["owner"]), str(request.scope["request_id"])
                images = await _by_assistant(asked, service, owner, request_id)
            else:
                images = await _by_specialist(asked, service)
        data = await asyncio.to_thread(lambda: [picture(image) for image in images])
        return JSONResponse(
            {
                "created": int(time.time()),
                "data": data,
                "output_format": "png",
                "size": _size(images[0]),
            }
        )

    return router


async def _read(request: Request, service: Service) -> _Edit:
    limits, owner = service.args.limits, str(request.scope["owner"])
    body, files = await read_request(request, service, ImageEditRequest, files=("image", "mask"), parsed=_PARSED)
    given: Reference = body.image[0] if isinstance(body.image, list) else body.image
    medium, image = await picture_of(service, owner, given, files, "image")
    if body.size not in (None, "auto", _size(image)):
        raise ApiError(400, f"size: got {shown(body.size)}, expected that of the picture, {_size(image)}", param="size")
    if body.n is not None and body.n > limits.max_outputs:
        raise ApiError(400, f"n: got {body.n}, expected 1 to {limits.max_outputs}", param="n")
    options: dict[str, Option] = dict(body.options)
    if body.n is not None:
        options["num_images"] = body.n
    regions = on_picture(body.regions)
    if body.mask is not None:
        data = await picture_bytes(service, owner, body.mask, files, "mask")
        regions.append(await asyncio.to_thread(_area, data, image, limits))
        options["exact_mask"] = 1
    return _Edit(body, medium, image, regions, options)


def _area(data: bytes, image: Image, limits: Limits) -> RegionField:
    """Return what a mask leaves transparent, as a region."""
    pixels = ImageLimits(max_bytes=limits.max_image_bytes, max_pixels=limits.max_image_pixels)
    try:
        area = transparent_area(data, pixels)
    except MediaError as error:
        raise ApiError(error.status, error.message, param="mask", code=error.code) from error
    if area.shape != image.shape[:2] or not np.any(area):
        got = f"{area.shape[1]}x{area.shape[0]} with {int(area.sum())} transparent pixels"
        raise ApiError(400, f"mask: got {got}, expected {_size(image)} and at least one", param="mask")
    return RegionField(kind="mask", mask=base64.b64encode(mask_to_png(area)).decode("ascii"))


async def _by_assistant(asked: _Edit, service: Service, owner: str, request_id: str) -> tuple[Image, ...]:
    """Put the request to the assistant, as a chat would."""
    url = await asyncio.to_thread(_data_url, asked.medium)
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": asked.body.prompt}]
    chat = ChatRequest.model_validate(
        {
            "model": service.args.model_id,
            "messages": [{"role": "user", "content": parts}],
            "seed": asked.body.seed,
            "vitron": {
                "message": asked.body.message,
                "regions": [region.model_dump(exclude_unset=True) for region in asked.regions],
                "options": asked.options,
            },
        }
    )
    conversation = await read_conversation(
        chat, service.args, service.media, owner, request_id, required=Module.IMAGE_EDITING
    )
    said = ""
    async with aclosing(service.graph.chat(conversation.call, conversation.images, conversation.clips)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                said += event.text
            elif isinstance(event, Failure):
                raise from_failure(event, service.args.limits.retry_after_s)
            elif isinstance(event, Done):
                return _made(event, said, service)
    raise ApiError(500, "the reply ended before it was complete")


def _data_url(medium: StoredMedium) -> str:
    return f"data:{medium.mime};base64," + base64.b64encode(medium.data).decode("ascii")


def _made(done: Done, said: str, service: Service) -> tuple[Image, ...]:
    if done.error is not None and done.lost:
        raise overloaded(service.args.limits.retry_after_s, status=503, message=done.error)
    images = () if done.output is None else done.output.images
    if done.error is not None or not images:
        reason = done.error or f"the model made no picture; it said: {said[:300]!r}"
        headers = {"x-should-retry": "false"}
        raise ApiError(422, f"prompt: {reason}", param="prompt", code="nothing_made", headers=headers)
    return images


async def _by_specialist(asked: _Edit, service: Service) -> tuple[Image, ...]:
    request = SpecialistRequest(
        instruction=asked.body.prompt,
        drawn=tuple(region.drawn() for region in asked.regions),
        seed=secrets.randbits(62) if asked.body.seed is None else asked.body.seed,
        options=asked.options,
    )
    result = await service.graph.run(SPECIALIST, request, asked.image)
    if result.failure is not None:
        raise from_failure(result.failure, service.args.limits.retry_after_s)
    return () if result.output is None else result.output.images


def _size(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
