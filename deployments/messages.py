"""What crosses the handles between deployments, beside arrays: small, immutable values.

Arrays travel next to these as arguments of their own (`deployments.envelope`, pictures), since only
top-level arguments go by reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from vitron.specialists.base import Option
from vitron.types import DrawnRegion, Invocation, Message, MessageMode, Module, SpecialistOutput

FailureKind = Literal["invalid", "overloaded", "failed"]


class EdgeRecord(NamedTuple):
    """One crossing of an edge of the graph, measured by the part that received it.

    Attributes:
        source: part that made the payload.
        target: part that opened it.
        name: what it was.
        num_bytes: size of the array.
        send_s: time to lay the array out for sending.
        receive_s: from then until it was opened: transport, and waiting at the receiver.
    """

    source: str
    target: str
    name: str
    num_bytes: int
    send_s: float
    receive_s: float


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a part did not do what it was asked, when that is no fault of the part.

    Attributes:
        kind: the request is wrong, the part is full, or the work failed.
        message: for the user.
        code: a stable name for programs.
    """

    kind: FailureKind
    message: str
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the LLM picks its words; fields as in `vitron.llm.sampling.SamplingParams`."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Medium(NamedTuple):
    """A picture or a clip of a conversation.

    Attributes:
        is_clip: which of the two.
        index: among its kind, in reading order.
    """

    is_clip: bool
    index: int  # type: ignore[assignment]  # it hides tuple's method


def medium_of(region: DrawnRegion) -> Medium:
    """Return what a region is drawn on."""
    return Medium(False, region.image) if region.clip is None else Medium(True, region.clip)


@dataclass(frozen=True, kw_only=True)
class ChatCall:
    """One conversation to answer.

    Attributes:
        request_id: the client's or the gateway's name for it, for logs.
        messages: the conversation without pixels: `Message.images` and `Message.clips` are empty everywhere.
        images_per_message: how many pictures each message shows, in order.
        clips_per_message: how many clips; left out: none.
        seen_frames: of each clip, the numbers of the frames that the LLM sees.
        sampling: of the text.
        message: what reaches a specialist.
        options: settings for the specialist, if one is invoked.
        required: what the reply invokes in any case, where the request says so; None: the model decides.
    """

    request_id: str
    messages: tuple[Message, ...]
    images_per_message: tuple[int, ...]
    sampling: Sampling
    message: MessageMode = "hybrid"
    options: Mapping[str, Option] = field(default_factory=dict)
    clips_per_message: tuple[int, ...] = ()
    seen_frames: tuple[tuple[int, ...], ...] = ()
    required: Module | None = None

    @property
    def num_images(self) -> int:
        """Pictures of the whole conversation."""
        return sum(self.images_per_message)

    @property
    def num_clips(self) -> int:
        """Clips of the whole conversation."""
        return sum(self.clips_per_message)

    def regions(self) -> list[tuple[Medium, DrawnRegion]]:
        """List what was drawn, in order, each with what it is drawn on."""
        return [(medium_of(r), r) for message in self.messages for r in message.regions]

    def drawn_media(self) -> list[Medium]:
        """List the pictures and clips that something is drawn on, each once: pictures first, ascending."""
        return sorted({medium for medium, _ in self.regions()})

    def drawn_frames(self, clip: int) -> tuple[int, ...]:
        """List the frame numbers of a clip that something is drawn on, ascending."""
        return tuple(sorted({r.frame for medium, r in self.regions() if medium == Medium(True, clip)}))


@dataclass(frozen=True, kw_only=True)
class TextDelta:
    """More of the reply's visible text."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Working:
    """The text is complete and a specialist has begun."""

    invocation: Invocation


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a specialist is: steps done of steps in all."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Done:
    """The last event of a reply.

    Attributes:
        invocation: what the LLM asked of a specialist.
        output: what the specialist made.
        error: why there is no output although one was meant; the text stands.
        lost: that was for lack of a replica: the same request may go well later.
        finish_reason: "stop" or "length".
        prompt_tokens: positions of the prompt.
        completion_tokens: tokens written, the invocation's included.
        cached_tokens: positions of the prompt that came from the prefix cache.
        edges: every crossing on the way.
    """

    invocation: Invocation | None = None
    output: SpecialistOutput | None = None
    error: str | None = None
    lost: bool = False
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    edges: tuple[EdgeRecord, ...] = ()


ChatEvent = TextDelta | Working | Progress | Done | Failure
"""What the language model streams; `Done` or `Failure` is the last."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a specialist answers: an output, or why there is none."""

    output: SpecialistOutput | None = None
    failure: Failure | None = None
    edges: tuple[EdgeRecord, ...] = ()
