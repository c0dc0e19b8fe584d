"""The thread that drives the LLM engine for concurrent callers, with a callback per request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vitron.engine_thread import SteppingThread
from vitron.llm.request import GenerationRequest, GenerationResult, TokenEvent
from vitron.llm.scheduler import Engine

EventCallback = Callable[[TokenEvent | GenerationResult | BaseException], None]


class EngineThread(SteppingThread[GenerationRequest, TokenEvent | GenerationResult]):
    """Runs an `Engine` in one daemon thread, from construction until `stop`.

    A cancelled request's `GenerationResult` has the tokens so far. A step that fails ends the thread too: the
    engine does not survive it.

    Attributes:
        engine: The engine, for its counts; only this object may step it.
    """

    def __init__(self, engine: Engine) -> None:
        """Take the engine over and start the thread."""
        self.engine: Final = engine
        super().__init__(engine, name="llm-engine", result_type=GenerationResult)
