"""The thread that drives a denoise engine for concurrent callers, with a callback per request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from vitron.diffusion.engine import DenoiseEngine
from vitron.diffusion.request import DenoiseRequest, DenoiseResult, StepEvent
from vitron.engine_thread import SteppingThread

EventCallback = Callable[[StepEvent | DenoiseResult | BaseException], None]


class DenoiseThread(SteppingThread[DenoiseRequest[Any], StepEvent | DenoiseResult]):
    """Runs a `DenoiseEngine` in one daemon thread, from construction until `stop`.

    A cancelled request's `DenoiseResult` has no latents. A forward that fails ends the requests in progress and
    those waiting, not the thread: the next request may well fit in memory.

    Attributes:
        engine: The engine, for its counts; only this object may step it.
    """

    def __init__(self, engine: DenoiseEngine[Any]) -> None:
        """Take the engine over and start the thread."""
        self.engine: Final = engine
        super().__init__(engine, name="denoise-engine", result_type=DenoiseResult, clear=engine.clear)
