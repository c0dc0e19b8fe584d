"""One thread that drives an engine for concurrent callers, with a callback per request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from vitron.llm.request import (
    EngineStoppedError,
    GenerationRequest,
    GenerationResult,
    TokenEvent,
)
from vitron.llm.scheduler import Engine

EventCallback = Callable[[TokenEvent | GenerationResult | BaseException], None]

_logger = logging.getLogger(__name__)


class EngineThread:
    """Runs `step()` of an engine in one daemon thread, from construction until `stop`.

    `submit` and `cancel` never wait for a forward. Callbacks run in the engine's thread, so they
    must be quick (hand over to a queue or an event loop); the last one of a request gets its
    `GenerationResult` or the exception that ended it.
    """

    def __init__(self, engine: Engine) -> None:
        """Take the engine over and start the thread."""
        self._engine = engine
        self._wake = threading.Condition()  # guards the three below
        self._callbacks: dict[str, EventCallback] = {}
        self._stopping = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="llm-engine", daemon=True)
        self._thread.start()

    @property
    def engine(self) -> Engine:
        """The engine, for its counts; only this object may step it."""
        return self._engine

    @property
    def healthy(self) -> bool:
        """Whether requests are served."""
        return self._error is None and not self._stopping

    @property
    def error(self) -> Exception | None:
        """What a step raised, which ended the engine."""
        return self._error

    def submit(self, request: GenerationRequest, on_event: EventCallback) -> None:
        """Queue a request.

        Raises:
            ValueError, EngineFullError: As `Engine.submit`; `on_event` is not called then.
            EngineStoppedError: The engine was stopped or has failed.
        """
        with self._wake:
            if not self.healthy:
                raise EngineStoppedError("the engine does not run any more") from self._error
            self._engine.submit(request)
            self._callbacks[request.request_id] = on_event
            self._wake.notify()

    def cancel(self, request_id: str) -> bool:
        """End a live request; its callback gets the tokens so far. False if there is none."""
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
            # callers: they would wait for ever for a thread that died in silence.
            except Exception as error:
                _logger.exception("the engine failed")
                self._end(error)
                return
            for request_id, event in events:
                self._deliver(request_id, event)
        self._end(None)

    def _wait_for_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._engine.has_work)
            return not self._stopping

    def _deliver(self, request_id: str, event: TokenEvent | GenerationResult) -> None:
        with self._wake:
            callback = self._callbacks.get(request_id)
            if isinstance(event, GenerationResult):
                self._callbacks.pop(request_id, None)
        if callback is None:  # its callback failed earlier, or it ran outside this object
            return
        if not _call(callback, request_id, event) and isinstance(event, TokenEvent):
            with self._wake:
                self._callbacks.pop(request_id, None)
            self._engine.cancel(request_id)

    def _end(self, error: Exception | None) -> None:
        with self._wake:
            self._stopping, self._error = True, error
            callbacks, self._callbacks = self._callbacks, {}
        for request_id, callback in callbacks.items():
            _call(callback, request_id, error or EngineStoppedError("the engine was stopped"))


def _call(callback: EventCallback, request_id: str, event: TokenEvent | GenerationResult | BaseException) -> bool:
    """Call back; tell whether that went well, for one caller's fault must not stop the others."""
    try:
        callback(event)
    except Exception:
        _logger.exception("the callback of request %s failed", request_id)
        return False
    return True
