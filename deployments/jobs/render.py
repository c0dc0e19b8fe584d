"""What a specialist made as the media of a finished job."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from deployments.extension import track
from deployments.jobs.model import JobKind
from deployments.schema_parts import MaskFormat
from vitron.previews import animated_webp, overlay, sprite_sheet
from vitron.types import Clip, SpecialistOutput
from vitron.video import encode_mp4


class Medium(NamedTuple):
    """One artifact: its file name, its media type, its bytes."""

    name: str
    mime: str
    data: bytes


class Rendered(NamedTuple):
    """The media of a job by variant, and what there is to say about the video."""

    media: dict[str, Medium]
    facts: dict[str, Any]


def render(kind: JobKind, output: SpecialistOutput, source: Clip | None, mask_format: MaskFormat) -> Rendered | None:
    """Encode what a job made; None if it is not what a job of this kind makes.

    Args:
        kind: of the job.
        output: of the specialist.
        source: the clip that was worked on.
        mask_format: of the masks of tracks.
    """
    if kind is not JobKind.SEGMENTATION:
        return _video(output.clips[0]) if output.clips else None
    if source is None or not output.tracks:
        return None
    made = _video(overlay(source, output.tracks))
    height, width = source.frames.shape[1:3]
    document = {
        "object": "video.segmentation",
        "width": int(width),
        "height": int(height),
        "fps": round(float(source.fps), 3),
        "frames": list(source.numbers),
        "mask_format": mask_format,
        "data": [track(item, mask_format) for item in output.tracks],
    }
    made.media["tracks"] = Medium("tracks.json", "application/json", json.dumps(document).encode())
    return made


def _video(clip: Clip) -> Rendered:
    count, height, width = (int(size) for size in clip.frames.shape[:3])
    # Of a long video only some frames were kept: played at their own pace, it takes as long as before.
    spread = (clip.numbers[-1] - clip.numbers[0]) / (count - 1) if count > 1 else 1.0
    fps = clip.fps / spread
    media = {
        "video": Medium("video.mp4", "video/mp4", encode_mp4(clip.frames, fps)),
        "thumbnail": Medium("thumbnail.webp", "image/webp", animated_webp(clip.frames, fps)),
        "spritesheet": Medium("spritesheet.jpg", "image/jpeg", sprite_sheet(clip.frames)),
    }
    facts = {"width": width, "height": height, "num_frames": count, "fps": round(fps, 3)}
    return Rendered(media, facts)
