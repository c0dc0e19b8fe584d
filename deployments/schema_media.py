"""The bodies of the routes that make videos and edit pictures. Each class says what is accepted."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypedDict, Unpack

from pydantic import Field, model_validator

from deployments.schema import Seed
from deployments.schema_parts import (
    IGNORED,
    Body,
    BoxField,
    ImageUrl,
    MaskFormat,
    OptionValue,
    PointField,
    RegionField,
    Unit,
)

Model = Annotated[str, Field(min_length=1, max_length=200)]
Prompt = Annotated[str, Field(min_length=1, max_length=4000)]
Url = Annotated[str, Field(min_length=1)]
Frames = Annotated[int, Field(strict=True, ge=1, le=10_000)]
Positive = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
UPLOADED = "uploaded"
"""Stands for a medium that came as a file of the form."""


class MediaRef(Body):
    """A picture or video: one of an https or data URL, a file's id, or a video job's id."""

    url: Url | None = None
    image_url: Url | ImageUrl | None = None
    video_url: Url | ImageUrl | None = None
    file_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> MediaRef:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"got {given or 'nothing'}, expected one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def address(self) -> str | None:
        """The URL, if it is one."""
        url = self.url or self.image_url or self.video_url
        return url.url if isinstance(url, ImageUrl) else url

    @property
    def file(self) -> str | None:
        """The id, if it is one."""
        return self.file_id or self.id


Reference = Url | MediaRef
"""A URL, or an object that says what it is."""


class MediaRequest(Body):
    """A request with media of its own."""

    model: Model | None = None


class Asked(MediaRequest):
    """What every request to the assistant may say."""

    seed: Seed | None = None
    message: Literal["hybrid", "text", "signal"] | None = None
    """What reaches the specialist; see chat."""
    assistant: bool = True
    """False: the prompt goes to the specialist as it is, without the LLM and so without a signal."""
    options: dict[str, OptionValue] = Field(default_factory=dict, max_length=16)
    user: Any = IGNORED
    metadata: Any = IGNORED


class VideoRequest(Asked):
    """`POST /v1/videos`: a video of what a prompt describes, or one that begins with a picture."""

    prompt: Prompt
    input_reference: Reference | None = None
    seconds: Positive | None = None
    frames: Frames | None = None
    size: Annotated[str, Field(max_length=20)] | None = None
    fps: Positive | None = None
    steps: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    guidance_scale: Annotated[float, Field(strict=True, ge=0, le=20, allow_inf_nan=False)] | None = None


class VideoEditRequest(Asked):
    """`POST /v1/videos/edits`: a video changed as told; what is drawn says what is meant."""

    prompt: Prompt
    video: Reference
    regions: list[RegionField] = Field(default_factory=list, max_length=64)


class _On(TypedDict, total=False):
    """Which video something is drawn on, and which frame of it."""

    video: int
    frame: int


class ToSegment(Body):
    """What is to be found: named, or drawn. Coordinates are in [0, 1]."""

    prompt: Annotated[str, Field(max_length=4000)] = ""
    boxes: list[BoxField] = Field(default_factory=list, max_length=64)
    points: list[PointField] = Field(default_factory=list, max_length=64)
    regions: list[RegionField] = Field(default_factory=list, max_length=64)
    mask_format: MaskFormat = "rle"

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not (self.prompt.strip() or self.boxes or self.points or self.regions):
            raise ValueError("prompt: expected a prompt, boxes, points or regions; got none of them")
        return self

    def all_regions(self, **at: Unpack[_On]) -> list[RegionField]:
        """Return everything that was drawn; `at` says what boxes and points are on."""
        drawn = [RegionField(kind="box", box=box, **at) for box in self.boxes]
        if self.points:
            drawn.append(RegionField(kind="point", points=list(self.points), **at))
        return [*drawn, *self.regions]


class VideoSegmentationRequest(ToSegment, Asked):
    """`POST /v1/videos/segmentations`: the masks of what is named or drawn, in every frame."""

    video: Reference
    frame: Annotated[int, Field(strict=True, ge=0)] = 0
    """Which frame `boxes` and `points` are on."""


class SegmentationRequest(ToSegment, MediaRequest):
    """`POST /v1/images/segmentations`: the objects of a picture that are named or drawn."""

    image: Reference
    threshold: Unit | None = None
    """Return every object that scores this much; without it the best one."""


class ImageEditRequest(Asked):
    """`POST /v1/images/edits`: a picture changed as told."""

    prompt: Prompt
    image: Reference | Annotated[list[Reference], Field(min_length=1, max_length=1)]
    mask: Reference | None = None
    """A PNG of the picture's size: what is transparent in it is to be edited."""
    regions: list[RegionField] = Field(default_factory=list, max_length=64)
    n: Annotated[int, Field(strict=True, ge=1)] | None = None
    size: Annotated[str, Field(max_length=20)] | None = None
    response_format: Literal["b64_json"] | None = None
    output_format: Literal["png"] | None = None
    stream: Literal[False] | None = None
    background: Literal["auto", "opaque"] | None = None
    partial_images: Literal[0] | None = None
    quality: Any = IGNORED
    input_fidelity: Any = IGNORED
    moderation: Any = IGNORED
    output_compression: Any = IGNORED
    safety_identifier: Any = IGNORED
