"""One thread that drives a denoise engine for concurrent callers, with a callback per request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from vitron.diffusion.engine import DenoiseEngine
from vitron.diffusion.request import (
    DenoiseRequest,
    DenoiseResult,
    EngineStoppedError,
    StepEvent,
)

EventCallback = Callable[[StepEvent | DenoiseResult | BaseException], None]

_logger = logging.getLogger(__name__)


class DenoiseThread:
    """Runs `step()` of an engine in one daemon thread, from construction until `stop`.

    `submit` and `cancel` never wait for a forward. Callbacks run in the engine's thread, so they must be quick;
    the last one of a request gets its `DenoiseResult` or the exception that ended it. A forward that fails
    ends the requests in progress and those waiting, not the thread: the next request may well fit in memory.
    """

    def __init__(self, engine: DenoiseEngine[Any]) -> None:
        """Take the engine over and start the thread."""
        self._engine = engine
        self._wake = threading.Condition()  # guards the two below
        self._callbacks: dict[str, EventCallback] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="denoise-engine", daemon=True)
        self._thread.start()

    @property
    def engine(self) -> DenoiseEngine[Any]:
        """The engine, for its counts; only this object may step it."""
        return self._engine

    @property
    def healthy(self) -> bool:
        """Whether requests are served."""
        return self._thread.is_alive() and not self._stopping

    def submit(self, request: DenoiseRequest[Any], on_event: EventCallback) -> None:
        """Queue a request.

        Raises:
            ValueError, EngineFullError: As `DenoiseEngine.submit`; `on_event` is not called then.
            EngineStoppedError: The thread was stopped.
        """
        with self._wake:
            if self._stopping:
                raise EngineStoppedError("the engine was stopped")
            self._engine.submit(request)
            self._callbacks[request.request_id] = on_event
            self._wake.notify()

    def cancel(self, request_id: str) -> bool:
        """End a request at the next step; its callback gets a result without latents."""
        return self._engine.cancel(request_id)

    def stop(self) -> None:
        """End the thread after its current step; live requests get an `EngineStoppedError`."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                events = self._engine.step()
            # Whatever a forward raises (out of memory, a device fault, a bug) must reach the
            # callers, who would wait for ever otherwise.
            except Exception as error:
                _logger.exception("a denoising step failed")
                self._end_all(error)
                continue
            for request_id, event in events:
                self._deliver(request_id, event)
        self._end_all(EngineStoppedError("the engine was stopped"))

    def _wait_for_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._engine.has_work)
            return not self._stopping

    def _deliver(self, request_id: str, event: StepEvent | DenoiseResult) -> None:
        with self._wake:
            callback = self._callbacks.get(request_id)
            if isinstance(event, DenoiseResult):
                self._callbacks.pop(request_id, None)
        if callback is None:  # its callback failed earlier
            return
        if not _call(callback, request_id, event) and isinstance(event, StepEvent):
            with self._wake:
                self._callbacks.pop(request_id, None)
            self._engine.cancel(request_id)

    def _end_all(self, error: Exception) -> None:
        with self._wake:
            self._engine.clear()
            callbacks, self._callbacks = self._callbacks, {}
        for request_id, callback in callbacks.items():
            _call(callback, request_id, error)


def _call(callback: EventCallback, request_id: str, event: StepEvent | DenoiseResult | BaseException) -> bool:
    """Call back; tell whether that went well, for one caller's fault must not stop the others."""
    try:
        callback(event)
    except Exception:
        _logger.exception("the callback of request %s failed", request_id)
        return False
    return True
