"""The bodies of HTTP requests. Each class says what is accepted; nothing here does any work.

A field that OpenAI's clients may send and that changes nothing is taken and ignored; one that would change the
answer and is not supported is refused by name; anything else is an unknown field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from deployments.schema_parts import (
    IGNORED,
    Body,
    BoxField,
    MaskFormat,
    OptionValue,
    Part,
    ProducedMedia,
    RegionField,
)
from vitron.types import Grounding


class ChatMessage(Body):
    """One message; `developer` is another word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(min_length=1)] | None = None
    name: Any = IGNORED
    refusal: Any = IGNORED
    audio: Any = IGNORED
    annotations: Any = IGNORED
    vitron: ProducedMedia | None = None
    """The extension of an earlier answer, sent back with it: the model sees its text and what was made."""
    tool_calls: Any = None
    function_call: Any = None

    @model_validator(mode="after")
    def _has_supported_content(self) -> ChatMessage:
        if self.tool_calls or self.function_call:
            raise ValueError("tool_calls: tools are not supported")
        if self.content is None:
            raise ValueError("content: got null, expected a string or a list of parts")
        if self.vitron is not None and self.role != "assistant":
            raise ValueError(f"vitron: given by {self.role!r}, expected it in an assistant's message only")
        if self.role != "user" and not isinstance(self.content, str):
            for part in self.content:
                if part.type != "text":
                    raise ValueError(
                        f"content: got a part {part.type!r} from {self.role!r}, "
                        "expected pictures, videos and regions from the user only"
                    )
        return self


class ChatExtension(Body):
    """Top-level `vitron` of a chat request."""

    regions: list[RegionField] = Field(default_factory=list)
    """Appended to the last user message; a content part of type `region` says where it belongs."""
    message: Literal["hybrid", "text", "signal"] | None = None
    options: dict[str, OptionValue] = Field(default_factory=dict, max_length=16)
    mask_format: MaskFormat = "rle"
    media: Literal["b64_json", "url"] = "b64_json"
    """Whether pictures and videos are part of the answer, or only their ids and addresses."""


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
    layout: list[LayoutItem] = Field(default_factory=list, max_length=64)
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
