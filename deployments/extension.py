"""What a specialist made as JSON: the `vitron` object of a reply, its media kept for later turns.

Pictures and videos get ids by which the client, and later messages of the conversation, can name them.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from deployments.jobs.model import StorageError
from deployments.media_files import MediaFiles
from deployments.messages import Done
from deployments.reply import detection, invocation, mask
from deployments.schema import ChatExtension
from deployments.schema_parts import MaskFormat
from vitron.media import encode_png
from vitron.types import Clip, Image, SpecialistOutput, Track
from vitron.video import encode_mp4

_logger = logging.getLogger(__name__)


class _Medium(NamedTuple):
    data: bytes
    mime: str
    name: str
    facts: dict[str, Any]


class _Described(NamedTuple):
    masks: list[dict[str, Any]]
    tracks: list[dict[str, Any]]
    images: list[_Medium]
    videos: list[_Medium]


async def extension(
    done: Done, options: ChatExtension, seen: Sequence[Sequence[int]], files: MediaFiles, owner: str
) -> dict[str, Any]:
    """Build the `vitron` object of a reply.

    Args:
        done: the end of the reply.
        options: what the client asked of the form.
        seen: of each video of the conversation, the numbers of the frames that the LLM saw.
        files: keep what was made.
        owner: for whom.
    """
    made = await asyncio.to_thread(_describe, done.output or SpecialistOutput(), options.mask_format)
    error = done.error

    async def kept(medium: _Medium) -> dict[str, Any]:
        nonlocal error
        found: dict[str, Any] = {"id": None, "url": None, **medium.facts}
        try:
            found["id"] = await files.save(owner, medium.data, medium.mime, medium.name)
            found["url"] = f"/v1/files/{found['id']}/content"
        except StorageError as problem:
            # The work is done and the client waits for it: only later turns cannot name it.
            _logger.warning("what a chat made could not be kept: %s", problem)
            error = f"what was made is in this answer only: {problem}"
        if options.media == "b64_json" or found["id"] is None:
            found["b64_json"] = base64.b64encode(medium.data).decode("ascii")
        return found

    images, videos = [await kept(each) for each in made.images], [await kept(each) for each in made.videos]
    return {
        "invocation": None if done.invocation is None else invocation(done.invocation),
        "mask_format": options.mask_format,
        "masks": made.masks,
        "images": images,
        "videos": videos,
        "tracks": made.tracks,
        "seen_frames": [list(numbers) for numbers in seen],
        "error": error,
    }


def track(item: Track, mask_format: MaskFormat) -> dict[str, Any]:
    """Describe one object through a video; boxes and masks are null in frames where it is not seen."""
    boxes = item.boxes
    masks = zip(boxes, item.masks, strict=True)
    return {
        "id": item.id,
        "label": item.label,
        "frames": list(item.numbers),
        "boxes": [None if box is None else [round(float(value), 6) for value in box] for box in boxes],
        "scores": [round(float(score), 6) for score in item.scores],
        "masks": [None if box is None else mask(area, mask_format) for box, area in masks],
    }


def _describe(output: SpecialistOutput, mask_format: MaskFormat) -> _Described:
    return _Described(
        masks=[detection(item, mask_format) for item in output.detections],
        tracks=[track(item, mask_format) for item in output.tracks],
        images=[_picture(image) for image in output.images],
        videos=[_video(clip) for clip in output.clips],
    )


def _picture(image: Image) -> _Medium:
    facts = {"width": int(image.shape[1]), "height": int(image.shape[0])}
    return _Medium(encode_png(image), "image/png", "image.png", facts)


def _video(clip: Clip) -> _Medium:
    count, height, width = (int(size) for size in clip.frames.shape[:3])
    facts = {"width": width, "height": height, "num_frames": count, "fps": round(float(clip.fps), 3)}
    return _Medium(encode_mp4(clip.frames, clip.fps), "video/mp4", "video.mp4", facts)
