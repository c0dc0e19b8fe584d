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
from vitron.invocation import InvocationError, format_invocation, parse_reply
from vitron.llm.engine import (
    EngineFullError,
    GenerationRequest,
    GenerationResult,
    SamplingParams,
    TokenEvent,
)
from vitron.prompt import check_placeholders
from vitron.routing import route
from vitron.specialists.base import Option, SpecialistError, SpecialistRequest, check_options
from vitron.types import (
    BoolMask,
    Detection,
    Image,
    Invocation,
    Message,
    MessageMode,
    Module,
    SpecialistOutput,
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


class FakeRegionEncoder:
    """Tokens hold the mask's share of the picture."""

    def encode(self, features: Tensor, masks: list[BoolMask]) -> Tensor:
        assert features.shape == (4, WIDTH)
        return torch.stack([torch.full((2, WIDTH), float(mask.mean())) for mask in masks])


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
    ) -> GenerationRequest:
        for message in messages:
            check_placeholders(message)
        assert len(image_features) == sum(len(m.images) for m in messages)
        assert all(f.shape == (4, WIDTH) for f in image_features)
        self.engine.scripts[request_id] = script(messages, list(image_features), list(region_tokens))
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
    "fail": lambda: _invoke(Module.IMAGE_GENERATION, "generation: fail", "I will try."),
    "broken": lambda: "Let me see. <Module>Nobody</Module><Instruction>x: y</Instruction>",
    "long": lambda: "word " * 400,
    "full": lambda: "FULL",
    "huge": lambda: "TOO LONG",
    "crash": lambda: "CRASH",
    "umlaut": lambda: "Grüße 😀 <b>not a tag</b>",
}


def script(messages: Sequence[Message], features: list[Tensor], regions: list[Tensor]) -> str:
    last = messages[-1].text
    for word, make in SCRIPTS.items():
        if word in last:
            return make()
    colours = [round(float(f.mean())) for f in features]
    shares = [round(float(r.mean()), 2) for r in regions]
    return f"Heard {len(messages)} turns, pictures {colours}, regions {shares}."


class FakeSpecialist:
    """Segments the left half, or paints a plain picture by seed; the signal's mean is the score."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def run(self, request: SpecialistRequest, *, on_progress: Any = None, cancelled: Any = None) -> SpecialistOutput:
        if request.instruction == "fail":
            raise SpecialistError("fake", "it would not")
        if self.module is Module.IMAGE_GENERATION:
            check_options(request.options, {"steps": (1, 100), "guidance_scale": (0, 20), "num_images": (1, 4)})
            count = int(request.options.get("num_images", 1))
            value = (request.seed + 10 * len(request.regions)) % 256
            return SpecialistOutput(images=tuple(np.full((8, 8, 3), value, np.uint8) for _ in range(count)))
        check_options(request.options, {"threshold": (0, 1), "multiple": (0, 1)})
        assert request.image is not None
        mask = np.zeros(request.image.shape[:2], np.bool_)
        mask[:, : max(1, mask.shape[1] // 2)] = True
        score = 1.0 if request.signal is None else float(request.signal.mean() > 0) / 2
        return SpecialistOutput(detections=(Detection(mask, (0.0, 0.0, 0.5, 1.0), score),))

    def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
        return [self.run(request) for request in requests]


class FakeLoaders:
    """Loads the fakes."""

    def revision(self, args: AppArgs) -> str:
        return "fake"

    def image_encoder(self, args: AppArgs) -> Any:
        return FakeImageEncoder()

    def region_encoder(self, args: AppArgs) -> Any:
        return FakeRegionEncoder()

    def language(self, args: AppArgs) -> Any:
        return FakeLanguage()

    def specialist(self, args: AppArgs, name: str) -> Any:
        return FakeSpecialist({"gligen": Module.IMAGE_GENERATION, "seem": Module.IMAGE_SEGMENTATION}[name])

    def route(
        self,
        invocation: Invocation,
        messages: Sequence[Message],
        signal: Tensor | None,
        mode: MessageMode,
        seed: int,
        options: Mapping[str, Option],
    ) -> tuple[str, SpecialistRequest]:
        return route(invocation, messages, signal, mode, seed, options)
