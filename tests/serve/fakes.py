"""Light parts with the interfaces of the real ones: they answer by script, in milliseconds, without weights."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deployments.args import AppArgs
from tests.serve.fake_specialists import FakeSpecialist
from vitron.encoders.video_projector import ClipFeatures
from vitron.invocation import InvocationError, format_invocation, parse_reply
from vitron.llm.engine import (
    EngineFullError,
    GenerationRequest,
    GenerationResult,
    SamplingParams,
    TokenEvent,
)
from vitron.prompt import check_placeholders
from vitron.routing import NAMES, route
from vitron.specialists.base import Option, SpecialistRequest
from vitron.types import (
    BoolMask,
    Clip,
    Image,
    Invocation,
    Message,
    MessageMode,
    Module,
)

WIDTH = 6


class Answer(NamedTuple):
    """As `vitron.language.Answer`, whose module imports far more than a fake needs."""

    text: str
    invocation: Invocation | None
    signal: Tensor | None
    error: str | None
    raw: str


SIGNAL = "<signal_0>"


class FakeImageEncoder:
    """Features are the picture's mean colour; counts the pictures it really encoded."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, images: list[Image]) -> Tensor:
        self.encoded += len(images)
        means = torch.tensor(np.stack([image.mean((0, 1)) for image in images]), dtype=torch.float32)
        return means[:, None, :].repeat(1, 4, 2)


class FakeVideoEncoder:
    """Features of a frame are its mean colour; counts the frames it really encoded."""

    def __init__(self) -> None:
        self.image = FakeImageEncoder()

    @property
    def encoded(self) -> int:
        return self.image.encoded

    def patches(self, clip: Clip, numbers: Sequence[int]) -> Tensor:
        return self.image.encode([clip.frames[clip.numbers.index(number)] for number in numbers])

    def pool(self, patches: Tensor) -> ClipFeatures:
        return ClipFeatures(patches.mean(0), patches.mean(1, keepdim=True))


class FakeRegionEncoder:
    """Tokens hold the mask's share of the picture, and the colour of the picture under it."""

    def encode(self, features: Tensor, masks: list[BoolMask]) -> Tensor:
        assert features.shape == (4, WIDTH)
        colour = torch.full((WIDTH,), float(features.mean()))
        return torch.stack([torch.stack([torch.full((WIDTH,), float(mask.mean())), colour]) for mask in masks])


class FakeEngine:
    """Writes one character of the scripted reply per step, for every live request."""

    def __init__(self, slots: int = 4, step_s: float = 0.002) -> None:
        self.slots, self.step_s = slots, step_s
        self.live: OrderedDict[str, tuple[GenerationRequest, str, int]] = OrderedDict()
        self.scripts: dict[str, str] = {}
        self.cancelled: list[str] = []

    @property
    def has_work(self) -> bool:
        return bool(self.live) or bool(self.cancelled)

    @property
    def num_running(self) -> int:
        return len(self.live)

    num_waiting = 0

    @property
    def num_free_slots(self) -> int:
        return self.slots - len(self.live)

    def submit(self, request: GenerationRequest) -> None:
        script = self.scripts.pop(request.request_id)
        if "FULL" in script:
            raise EngineFullError("the queue is full (2 waiting)")
        if "TOO LONG" in script:
            raise ValueError("prompt: got 2000 positions, expected at most 1024")
        self.live[request.request_id] = (request, script, 0)

    def cancel(self, request_id: str) -> bool:
        self.cancelled.append(request_id)
        return request_id in self.live

    def step(self) -> list[Any]:
        time.sleep(self.step_s)
        events: list[Any] = []
        for name in list(self.live)[: self.slots]:
            request, script, done = self.live[name]
            if name in self.cancelled:
                events.append((name, self._result(request, script, done, "cancelled")))
                continue
            if "CRASH" in script:
                raise RuntimeError("the fake engine crashed")
            events.append((name, TokenEvent(ord(script[done]), done)))
            done += 1
            self.live[name] = (request, script, done)
            if done == len(script):
                events.append((name, self._result(request, script, done, "stop")))
            elif done == request.params.max_tokens:
                events.append((name, self._result(request, script, done, "length")))
        self.cancelled.clear()
        return events

    def _result(self, request: GenerationRequest, script: str, done: int, reason: Any) -> GenerationResult:
        del self.live[request.request_id]
        hidden = torch.full((1, WIDTH), float(len(script)))
        ids = [ord(char) for char in script[:done]]
        return GenerationResult(ids, reason, hidden, request.prompt_tokens, 0)


class FakeLanguage:
    """Answers by the last user's words; see `SCRIPTS`."""

    def __init__(self) -> None:
        self.engine = FakeEngine()

    def start(
        self,
        messages: Sequence[Message],
        image_features: Sequence[Tensor],
        region_tokens: Sequence[Tensor],
        params: SamplingParams,
        request_id: str,
        *,
        clip_features: Sequence[ClipFeatures] = (),
        required: Module | None = None,
    ) -> GenerationRequest:
        for message in messages:
            check_placeholders(message)
        assert len(image_features) == sum(len(m.images) for m in messages)
        assert all(f.shape == (4, WIDTH) for f in image_features)
        assert len(clip_features) == sum(len(m.clips) for m in messages)
        self.engine.scripts[request_id] = script(messages, list(image_features), list(region_tokens), clip_features)
        embeds = torch.zeros(sum(len(m.text) for m in messages) + 1, WIDTH)
        return GenerationRequest(request_id=request_id, inputs_embeds=embeds, params=params)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(i) for i in ids)

    def answer(self, result: GenerationResult) -> Answer:
        raw = self.decode(result.token_ids)
        try:
            parsed = parse_reply(raw)
        except InvocationError as error:
            return Answer(raw.split("<", 1)[0].strip(), None, None, str(error), raw)
        signal = result.hidden.repeat(8, 2) if parsed.invocation else None
        return Answer(parsed.text, parsed.invocation, signal, None, raw)


def _invoke(module: Module, instruction: str, text: str) -> str:
    return f"{text} {format_invocation(Invocation(module=module, instruction=instruction))}{SIGNAL}"


SCRIPTS: dict[str, Callable[[], str]] = {
    "segment": lambda: _invoke(Module.IMAGE_SEGMENTATION, "segmentation: red circle", "Here it is."),
    "draw": lambda: _invoke(Module.IMAGE_GENERATION, "generation: a red circle", "I will draw it."),
    "film": lambda: _invoke(Module.VIDEO_GENERATION, "generation: a clip", "A clip."),
    "bring to life": lambda: _invoke(Module.VIDEO_GENERATION, "animation: it moves", "It moves."),
    "recolour": lambda: _invoke(Module.IMAGE_EDITING, "edit: make it blue", "Now it is blue."),
    "follow": lambda: _invoke(Module.VIDEO_SEGMENTATION, "segmentation: red circle", "I follow it."),
    "repaint": lambda: _invoke(Module.VIDEO_EDITING, "edit: make it blue", "Repainted."),
    "fail": lambda: _invoke(Module.IMAGE_GENERATION, "generation: fail", "I will try."),
    "broken": lambda: "Let me see. <Module>Nobody</Module><Instruction>x: y</Instruction>",
    "long": lambda: "word " * 400,
    "full": lambda: "FULL",
    "huge": lambda: "TOO LONG",
    "crash": lambda: "CRASH",
    "umlaut": lambda: "Grüße 😀 <b>not a tag</b>",
}


def script(
    messages: Sequence[Message], features: list[Tensor], regions: list[Tensor], clips: Sequence[ClipFeatures]
) -> str:
    last = messages[-1].text
    for word, make in SCRIPTS.items():
        if word in last:
            return make()
    colours = [round(float(f.mean())) for f in features]
    shares = [round(float(r[0].mean()), 2) for r in regions]
    heard = f"Heard {len(messages)} turns, pictures {colours}, regions {shares}."
    if not clips:
        return heard
    films = [f"{len(c.frames)} frames of {_about(c.mean)}" for c in clips]
    return f"{heard} Videos {films}, under the regions {[_about(r[1]) for r in regions]}."


def _about(colours: Tensor) -> int:
    """Their mean, to 5: coded video does not keep colours exactly."""
    return 5 * round(float(colours.mean()) / 5)


class FakeLoaders:
    """Loads the fakes."""

    def revision(self, args: AppArgs) -> str:
        return "fake"

    def image_encoder(self, args: AppArgs) -> Any:
        return FakeImageEncoder()

    def video_encoder(self, args: AppArgs) -> Any:
        return FakeVideoEncoder()

    def region_encoder(self, args: AppArgs) -> Any:
        return FakeRegionEncoder()

    def language(self, args: AppArgs) -> Any:
        return FakeLanguage()

    def specialists(self, args: AppArgs) -> tuple[str, ...]:
        return NAMES

    def specialist(self, args: AppArgs, name: str) -> Any:
        return FakeSpecialist(name)

    def route(
        self,
        invocation: Invocation,
        messages: Sequence[Message],
        signal: Tensor | None,
        mode: MessageMode,
        seed: int,
        options: Mapping[str, Option],
        seen_frames: Sequence[Sequence[int]],
    ) -> tuple[str, SpecialistRequest]:
        return route(invocation, messages, signal, mode, seed, options, seen_frames)
