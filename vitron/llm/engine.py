"""The LLM engine's public names; its parts are in the files they come from.

`Engine` schedules (scheduler), `ModelRunner` computes (runner), `SlotCache` and `PrefixCache`
remember (cache), `Sampler` chooses (sampling), `EngineThread` serves concurrent callers (thread).
"""

from vitron.engine_thread import EngineFullError, EngineStoppedError
from vitron.llm.request import (
    Choices,
    EngineConfig,
    Event,
    FinishReason,
    GenerationRequest,
    GenerationResult,
    Guide,
    TokenEvent,
)
from vitron.llm.sampling import SamplingParams
from vitron.llm.scheduler import Engine
from vitron.llm.thread import EngineThread, EventCallback

__all__ = [
    "Choices",
    "Engine",
    "EngineConfig",
    "EngineFullError",
    "EngineStoppedError",
    "EngineThread",
    "Event",
    "EventCallback",
    "FinishReason",
    "GenerationRequest",
    "GenerationResult",
    "Guide",
    "SamplingParams",
    "TokenEvent",
]
