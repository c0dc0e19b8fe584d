"""The bodies of HTTP requests. Each class says what is accepted; nothing here does any work.

A field that OpenAI's clients may send and that changes nothing is taken and ignored; one that would change the
answer and is not supported is refused by name; anything else is an unknown field.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from vitron.regions import png_to_mask, rle_to_mask, validate
from vitron.types import BoolMask, DrawnRegion, Grounding, check_box

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
    """Something drawn on a picture; coordinates in [0, 1] of its width and height."""

    kind: Literal["point", "box", "scribble", "polygon", "mask"]
    points: Annotated[list[PointField], Field(max_length=MAX_REGION_POINTS)] = []
    box: BoxField | None = None
    mask: RleField | Annotated[str, Field(max_length=30_000_000)] | None = None
    """RLE, or a PNG in base64 (with or without `data:image/png;base64,`)."""
    image: Count = 0
    """Which picture, counting all pictures of the request from 0."""

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


class RegionPart(Body):
    """A drawn region where the message speaks of it: the canonical form of a region in a chat."""

    type: Literal["region"]
    region: RegionField


Part = Annotated[TextPart | ImagePart | RegionPart, Field(discriminator="type")]


class ChatMessage(Body):
    """One message; `developer` is another word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(min_length=1)] | None = None
    name: Any = IGNORED
    refusal: Any = IGNORED
    audio: Any = IGNORED
    annotations: Any = IGNORED
    vitron: Any = IGNORED
    """The extension of an earlier answer, sent back with it; its text is all the model reads."""
    tool_calls: Any = None
    function_call: Any = None

    @model_validator(mode="after")
    def _has_supported_content(self) -> ChatMessage:
        if self.tool_calls or self.function_call:
            raise ValueError("tool_calls: tools are not supported")
        if self.content is None:
            raise ValueError("content: got null, expected a string or a list of parts")
        if self.role != "user" and not isinstance(self.content, str):
            for part in self.content:
                if part.type != "text":
                    raise ValueError(
                        f"content: got a part {part.type!r} from {self.role!r}, "
                        "expected pictures and regions from the user only"
                    )
        return self


class ChatExtension(Body):
    """Top-level `vitron` of a chat request."""

    regions: list[RegionField] = []
    """Appended to the last user message; a content part of type `region` says where it belongs."""
    message: Literal["hybrid", "text", "signal"] | None = None
    options: Annotated[dict[str, OptionValue], Field(max_length=16)] = {}
    mask_format: MaskFormat = "rle"


class StreamOptions(Body):
    """What a stream carries beside the text."""

    include_usage: bool = False
    include_obfuscation: Any = IGNORED


Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
StopWord = Annotated[str, Field(min_length=1, max_length=200)]
Stop = StopWord | Annotated[list[StopWord], Field(max_length=4)]


def _refused(*neutral: object) -> Any:
    """A field that would change the answer: only values that ask for nothing are taken."""

    def check(value: object) -> object:
        if value is not None and not any(value == item for item in neutral):
            raise ValueError("not supported by this server")
        return None

    return Annotated[Any, AfterValidator(check)]


class ChatRequest(Body):
    """`POST /v1/chat/completions`."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    n: Annotated[int, Field(strict=True, ge=1, le=1)] | None = None
    stream: Annotated[bool, Field(strict=True)] | None = None
    stream_options: StreamOptions | None = None
    vitron: ChatExtension = ChatExtension()

    tools: _refused([]) = None  # type: ignore[valid-type]
    tool_choice: _refused("none", "auto") = None  # type: ignore[valid-type]
    functions: _refused([]) = None  # type: ignore[valid-type]
    function_call: _refused("none", "auto") = None  # type: ignore[valid-type]
    response_format: _refused({"type": "text"}) = None  # type: ignore[valid-type]
    logprobs: _refused(False) = None  # type: ignore[valid-type]
    top_logprobs: _refused(0) = None  # type: ignore[valid-type]
    logit_bias: _refused({}) = None  # type: ignore[valid-type]
    modalities: _refused(["text"]) = None  # type: ignore[valid-type]
    audio: _refused() = None  # type: ignore[valid-type]
    presence_penalty: _refused(0) = None  # type: ignore[valid-type]
    frequency_penalty: _refused(0) = None  # type: ignore[valid-type]
    web_search_options: _refused() = None  # type: ignore[valid-type]
    prediction: _refused() = None  # type: ignore[valid-type]

    user: Any = IGNORED
    metadata: Any = IGNORED
    store: Any = IGNORED
    service_tier: Any = IGNORED
    parallel_tool_calls: Any = IGNORED
    reasoning_effort: Any = IGNORED
    verbosity: Any = IGNORED
    safety_identifier: Any = IGNORED
    prompt_cache_key: Any = IGNORED
    prompt_cache_retention: Any = IGNORED

    @model_validator(mode="after")
    def _one_length(self) -> ChatRequest:
        both = (self.max_tokens, self.max_completion_tokens)
        if None not in both and both[0] != both[1]:
            raise ValueError(f"max_tokens: got {both[0]} beside max_completion_tokens {both[1]}, expected one of them")
        return self

    @property
    def stop_words(self) -> tuple[str, ...]:
        """`stop` as a tuple."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class LayoutItem(Body):
    """One object to place: what, and where in [0, 1]."""

    label: Annotated[str, Field(min_length=1, max_length=200)]
    box: BoxField

    def grounding(self) -> Grounding:
        """Return it as the specialists know it."""
        return Grounding(box=self.box, label=self.label)


class GenerationRequest(Body):
    """`POST /v1/images/generations`. The prompt goes to the image generator as it is, without the LLM."""

    prompt: Annotated[str, Field(min_length=1, max_length=4000)]
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    n: Annotated[int, Field(strict=True, ge=1)] | None = None
    size: Annotated[str, Field(max_length=20)] | None = None
    response_format: Literal["b64_json"] | None = None
    seed: Seed | None = None
    layout: Annotated[list[LayoutItem], Field(max_length=64)] = []
    steps: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    guidance_scale: Annotated[float, Field(strict=True, ge=0, le=20, allow_inf_nan=False)] | None = None

    stream: _refused(False) = None  # type: ignore[valid-type]
    output_format: _refused("png") = None  # type: ignore[valid-type]
    background: _refused("auto", "opaque") = None  # type: ignore[valid-type]
    partial_images: _refused(0) = None  # type: ignore[valid-type]
    quality: Any = IGNORED
    style: Any = IGNORED
    moderation: Any = IGNORED
    output_compression: Any = IGNORED
    user: Any = IGNORED


class SegmentationRequest(Body):
    """`POST /v1/images/segmentations`, as JSON. All coordinates are in [0, 1] of the picture."""

    image: str | ImageUrl
    """An https or data URL, bare or as `{"url": ...}`."""
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    prompt: Annotated[str, Field(max_length=4000)] = ""
    boxes: Annotated[list[BoxField], Field(max_length=64)] = []
    points: Annotated[list[PointField], Field(max_length=64)] = []
    regions: Annotated[list[RegionField], Field(max_length=64)] = []
    mask_format: MaskFormat = "rle"
    threshold: Unit | None = None
    """Return every object that scores this much; without it the best one."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> SegmentationRequest:
        if not (self.prompt.strip() or self.boxes or self.points or self.regions):
            raise ValueError("prompt: expected a prompt, boxes, points or regions; got none of them")
        return self

    def drawn(self) -> tuple[DrawnRegion, ...]:
        """Return everything that was drawn on the picture.

        Raises:
            ValueError: a region is wrong, or speaks of another picture.
        """
        regions = [DrawnRegion(kind="box", box=box) for box in self.boxes]
        if self.points:
            regions.append(DrawnRegion(kind="point", points=tuple(self.points)))
        for region in self.regions:
            if region.image:
                raise ValueError(f"regions: got image {region.image}, expected 0: there is one picture")
            regions.append(region.drawn())
        return tuple(regions)
