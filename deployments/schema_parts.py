"""What a message of a chat may consist of: text, pictures, videos, files, and drawn regions, as JSON.

Each class says what is accepted; nothing here does any work.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from vitron.regions import png_to_mask, rle_to_mask, validate
from vitron.types import BoolMask, DrawnRegion, check_box

MAX_MASK_PIXELS = 16_000_000
MAX_REGION_POINTS = 4096
Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, le=10_000)]
BoxField = Annotated[tuple[Unit, Unit, Unit, Unit], AfterValidator(check_box)]
PointField = tuple[Unit, Unit]
OptionValue = Annotated[float, Field(strict=True, allow_inf_nan=False)] | Annotated[str, Field(max_length=200)]
MaskFormat = Literal["rle", "png"]
IGNORED = Field(default=None, exclude=True)


class Body(BaseModel):
    """A JSON object whose keys are all known."""

    model_config = ConfigDict(extra="forbid")


class RleField(Body):
    """COCO compressed run-length encoding."""

    size: tuple[Count, Count]
    counts: Annotated[str, Field(max_length=8_000_000)]


class RegionField(Body):
    """Something drawn on a picture or on a frame of a video; coordinates in [0, 1] of its width and height."""

    kind: Literal["point", "box", "scribble", "polygon", "mask"]
    points: Annotated[list[PointField], Field(max_length=MAX_REGION_POINTS)] = []
    box: BoxField | None = None
    mask: RleField | Annotated[str, Field(max_length=30_000_000)] | None = None
    """RLE, or a PNG in base64 (with or without `data:image/png;base64,`)."""
    image: Count = 0
    """Which picture, counting all pictures of the request from 0."""
    video: Count | None = None
    """Which video, counting all videos of the request from 0; left out: it is drawn on a picture."""
    frame: Count = 0
    """Which frame of the video, from 0."""

    @model_validator(mode="after")
    def _on_one_medium(self) -> RegionField:
        if self.video is None and self.frame:
            raise ValueError(f"frame: got {self.frame} without `video`, expected both")
        if self.video is not None and "image" in self.model_fields_set:
            raise ValueError(f"image: got {self.image} beside video {self.video}, expected one of them")
        return self

    def drawn(self) -> DrawnRegion:
        """Return the region, checked.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        region = DrawnRegion(
            kind=self.kind,
            points=tuple(self.points),
            box=self.box,
            mask=None if self.mask is None else decode_mask(self.mask),
            image=self.image,
            clip=self.video,
            frame=self.frame,
        )
        return validate(region)


def decode_mask(mask: RleField | str) -> BoolMask:
    """Decode either form of a mask."""
    if isinstance(mask, RleField):
        rle: Any = {"size": list(mask.size), "counts": mask.counts}
        return rle_to_mask(rle, MAX_MASK_PIXELS)
    from_png = mask.removeprefix("data:image/png;base64,")
    try:
        data = base64.b64decode(from_png, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"mask: expected an RLE object or a PNG in base64 ({error})") from error
    return png_to_mask(data, MAX_MASK_PIXELS)


class TextPart(Body):
    """Text of a message."""

    type: Literal["text"]
    text: str


class ImageUrl(Body):
    """Where a picture is: an https or a base64 data URL."""

    url: Annotated[str, Field(min_length=1)]
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Body):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class VideoUrl(Body):
    """Where a video is: an https or a base64 data URL."""

    url: Annotated[str, Field(min_length=1)]


class VideoPart(Body):
    """A video in a message: an extension that other open servers know too."""

    type: Literal["video_url"]
    video_url: VideoUrl


class FileRef(Body):
    """A file that this server keeps."""

    file_id: Annotated[str, Field(min_length=1, max_length=200)]


class FilePart(Body):
    """A picture or a video that was uploaded or produced earlier, by its id."""

    type: Literal["file"]
    file: FileRef


class RegionPart(Body):
    """A drawn region where the message speaks of it: the canonical form of a region in a chat."""

    type: Literal["region"]
    region: RegionField


Part = Annotated[TextPart | ImagePart | VideoPart | FilePart | RegionPart, Field(discriminator="type")]


class ProducedMedium(BaseModel):
    """A picture or video of an earlier answer, sent back with it; what else it held is ignored."""

    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(min_length=1, max_length=200)] | None
    """None: it could not be kept, and is read from `b64_json`."""
    b64_json: str | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> ProducedMedium:
        if self.id is None and self.b64_json is None:
            raise ValueError("id: got null without b64_json, expected one of them")
        return self


class ProducedMedia(BaseModel):
    """The `vitron` object of an earlier answer: its pictures and videos belong to the conversation."""

    model_config = ConfigDict(extra="ignore")

    images: list[ProducedMedium] = []
    videos: list[ProducedMedium] = []
