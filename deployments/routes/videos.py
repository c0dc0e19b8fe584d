"""`/v1/videos`: video jobs, made, watched, fetched and deleted as OpenAI's client does."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from deployments.args import AppArgs
from deployments.content import KeptMedium, serve_medium
from deployments.errors import ApiError, shown
from deployments.jobs.accept import Order, accept
from deployments.jobs.model import Job, JobKind, JobState
from deployments.media_files import StoredMedium
from deployments.media_input import picture_of, read_request
from deployments.pages import page_query
from deployments.schema_media import VideoRequest
from deployments.service import Service
from vitron.config import VideoDiffusionConfig
from vitron.presets import preset
from vitron.requests import ask_animation, ask_video

POLL_MS = 1000
VARIANTS = ("video", "thumbnail", "spritesheet", "tracks")
_PARSED = ("seconds", "frames", "fps", "seed", "steps", "guidance_scale", "assistant", "options")


def video_routes(service: Service) -> APIRouter:
    """Build the routes."""
    router = APIRouter()
    storage = service.storage

    @router.post("/v1/videos")
    async def create(request: Request) -> Response:
        owner = str(request.scope["owner"])
        order = await _order(request, service, owner)
        job = await accept(order, service, owner, request.headers.get("idempotency-key"))
        return answer(job, service.args)

    @router.get("/v1/videos")
    async def list_videos(request: Request) -> Response:
        query = page_query(request, default=20)
        page = await storage.call(
            storage.jobs.list,
            str(request.scope["owner"]),
            after=query.after,
            limit=query.limit,
            newest_first=query.newest_first,
        )
        return query.answer([describe(job, service.args) for job in page.jobs], has_more=page.has_more)

    @router.get("/v1/videos/{job_id}")
    async def get(request: Request, job_id: str) -> Response:
        return answer(await _found(service, request, job_id), service.args)

    @router.get("/v1/videos/{job_id}/content")
    async def content(request: Request, job_id: str) -> Response:
        variant = request.query_params.get("variant", "video")
        if variant not in VARIANTS:
            raise ApiError(
                400, f"variant: got {shown(variant)}, expected one of {', '.join(VARIANTS)}", param="variant"
            )
        job = await _found(service, request, job_id)
        if job.state is not JobState.COMPLETED:
            raise ApiError(
                404, f"the video is {job.state.value}, expected it completed", code=f"video_{job.state.value}"
            )
        made = job.result["artifacts"].get(variant)
        if made is None:
            raise ApiError(404, f"variant: this job made no {variant}", param="variant")
        medium = KeptMedium(made["key"], made["mime"], made["bytes"], f"{job.id}-{made['name']}")
        return await serve_medium(storage, medium, request)

    @router.delete("/v1/videos/{job_id}")
    async def delete(request: Request, job_id: str) -> Response:
        if not await storage.call(storage.jobs.delete, str(request.scope["owner"]), job_id):
            raise _unknown(job_id)
        return JSONResponse({"id": job_id, "object": "video.deleted", "deleted": True})

    return router


async def _found(service: Service, request: Request, job_id: str) -> Job:
    job = await service.storage.call(service.storage.jobs.get, str(request.scope["owner"]), job_id)
    if job is None:
        raise _unknown(job_id)
    return job


def _unknown(job_id: str) -> ApiError:
    return ApiError(404, f"no video {shown(job_id)} here, or it has expired", code="video_not_found")


async def _order(request: Request, service: Service, owner: str) -> Order:
    body, files = await read_request(request, service, VideoRequest, files=("input_reference",), parsed=_PARSED)
    size = timing(body, service.args)
    options: dict[str, float | int | str] = {"num_frames": size.frames, "fps": size.fps}
    for name, value in (("steps", body.steps), ("guidance_scale", body.guidance_scale)):
        if value is not None:
            options[name] = value
    media, kind, text = list[StoredMedium](), JobKind.GENERATION, ask_video(body.prompt)
    if body.input_reference is not None:
        media.append((await picture_of(service, owner, body.input_reference, files, "input_reference")).medium)
        kind, text = JobKind.ANIMATION, ask_animation(body.prompt)
    expected = {"size": size.size, "seconds": seconds(size.frames, size.fps)}
    return Order(kind=kind, text=text, prompt=body.prompt, asked=body, media=media, options=options, expected=expected)


class Timing(NamedTuple):
    """Size and length of a video to be made."""

    size: str
    frames: int
    fps: float


def timing(body: VideoRequest, args: AppArgs) -> Timing:
    """Decide size and length: what is asked, within what the model can make."""
    chosen = preset(args.preset)
    config: VideoDiffusionConfig = chosen.zeroscope if body.input_reference is None else chosen.i2vgen
    size = f"{config.width}x{config.height}"
    if body.size not in (None, "auto", size):
        raise ApiError(400, f"size: got {shown(body.size)}, expected {size!r}", param="size")
    fps = body.fps or config.fps
    frames = body.frames or config.num_frames
    if body.seconds is not None and body.frames is not None and body.fps is not None:
        raise ApiError(400, "seconds: given beside frames and fps, expected two of the three", param="seconds")
    if body.seconds is not None and body.frames is None:
        # More seconds than the model can fill at its rate are filled with as many frames as there are, shown longer.
        fps = body.fps or min(config.fps, config.max_frames / body.seconds)
        frames = max(2, round(body.seconds * fps))
    elif body.seconds is not None and body.fps is None:
        fps = frames / body.seconds
    if not 2 <= frames <= config.max_frames:
        raise ApiError(400, f"frames: got {frames}, expected 2 to {config.max_frames}", param="frames")
    if not 1 <= fps <= 60:
        raise ApiError(400, f"fps: got {fps:g} (frames over seconds), expected 1 to 60", param="fps")
    return Timing(size, frames, fps)


def answer(job: Job, args: AppArgs) -> Response:
    """Answer with a job; 200 also for one that has failed, which the asking did not."""
    unfinished = job.state in (JobState.QUEUED, JobState.IN_PROGRESS)
    headers = {"openai-poll-after-ms": str(POLL_MS)} if unfinished else {}
    return JSONResponse(describe(job, args), headers=headers)


def describe(job: Job, args: AppArgs) -> dict[str, Any]:
    """Describe a job as OpenAI's video object, with what it lacks under `vitron`."""
    made, expected = job.result, job.request["expected"]
    size, length = expected.get("size"), expected.get("seconds")
    if "num_frames" in made:
        size = f"{made['width']}x{made['height']}"
        length = seconds(made["num_frames"], made["fps"])
    return {
        "id": job.id,
        "object": "video",
        "model": args.model_id,
        "status": job.state.value,
        "progress": job.progress,
        "created_at": int(job.created_at),
        "completed_at": None if job.state is not JobState.COMPLETED else _whole(job.finished_at),
        "expires_at": _whole(job.expires_at),
        "size": size,
        "seconds": length,
        "prompt": job.request["prompt"],
        "remixed_from_video_id": None,
        "error": None if job.problem is None else job.problem._asdict(),
        "vitron": {
            "kind": job.kind.value,
            "num_frames": made.get("num_frames"),
            "fps": made.get("fps"),
            "variants": sorted(made.get("artifacts", {})),
            "attempts": job.token,
            "started_at": _whole(job.started_at),
        },
    }


def seconds(frames: int, fps: float) -> str:
    """Spell a length as OpenAI does."""
    return f"{frames / fps:.3f}".rstrip("0").rstrip(".")


def _whole(time: float | None) -> int | None:
    return None if time is None else int(time)
