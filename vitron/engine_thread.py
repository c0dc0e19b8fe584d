"""One thread that steps an engine for concurrent callers, with a callback per request.

It knows nothing of what the engine computes: the LLM's and the denoiser's threads derive from it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

_logger = logging.getLogger(__name__)


class EngineFullError(RuntimeError):
    """The waiting queue is full: try again later, or another replica."""


class EngineStoppedError(RuntimeError):
    """The engine's thread has ended; the cause, if it died of one, is `__cause__`."""


class EngineRequest(Protocol):
    """What the thread must know of a request."""

    @property
    def request_id(self) -> str:
        """Unique among the engine's live requests."""
        ...


RequestT = TypeVar("RequestT", bound=EngineRequest)
RequestT_contra = TypeVar("RequestT_contra", bound=EngineRequest, contravariant=True)
EventT = TypeVar("EventT")
EventT_co = TypeVar("EventT_co", covariant=True)


class SteppedEngine(Protocol[RequestT_contra, EventT_co]):
    """What the thread needs of an engine; all but `step` may be called from any thread."""

    @property
    def has_work(self) -> bool:
        """Whether a further `step` would do anything."""
        ...

    def submit(self, request: RequestT_contra) -> None:
        """Queue a request, or raise the reason why not; must not wait for a step."""
        ...

    def cancel(self, request_id: str) -> bool:
        """End a live request at the next step, which reports its result; False if there is none."""
        ...

    def step(self) -> Sequence[tuple[str, EventT_co]]:
        """Advance the live requests; return events by request id, a request's result as its last."""
        ...


class SteppingThread(Generic[RequestT, EventT]):
    """Runs `step()` of an engine in one daemon thread, from construction until `stop`.

    `submit` and `cancel` never wait for a step. Callbacks run in the engine's thread, so they must be quick
    (hand over to a queue or an event loop); the last one of a request gets its result or the exception that
    ended it.
    """

    def __init__(
        self,
        engine: SteppedEngine[RequestT, EventT],
        *,
        name: str,
        result_type: type[EventT],
        clear: Callable[[], object] | None = None,
    ) -> None:
        """Take the engine over and start the thread.

        Args:
            engine: Only this object may step it from now on.
            name: Of the thread, for logs and debuggers.
            result_type: The class of the event that ends a request; all others are progress.
            clear: Drops all requests of the engine. With it, a step that fails ends the live requests and the
                engine goes on; without it, the engine is lost, and the thread ends.
        """
        self._engine, self._result_type, self._clear = engine, result_type, clear
        self._wake = threading.Condition()  # guards the three below
        self._callbacks: dict[str, Callable[[EventT | BaseException], None]] = {}
        self._stopping = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Whether requests are served."""
        return self._thread.is_alive() and not self._stopping

    @property
    def error(self) -> Exception | None:
        """What a step raised, if that ended the engine."""
        return self._error

    def submit(self, request: RequestT, on_event: Callable[[EventT | BaseException], None]) -> None:
        """Queue a request.

        Raises:
            ValueError, EngineFullError: As the engine's `submit`; `on_event` is not called then.
            EngineStoppedError: The engine was stopped or has failed.
        """
        with self._wake:
            if not self.healthy:
                raise EngineStoppedError("the engine does not run any more") from self._error
            self._engine.submit(request)
            self._callbacks[request.request_id] = on_event
            self._wake.notify()

    def cancel(self, request_id: str) -> bool:
        """End a live request; its callback gets the engine's result for it. False if there is none."""
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
                _logger.exception("a step of the %s failed", self._thread.name)
                self._fail(error)
                continue
            for request_id, event in events:
                self._deliver(request_id, event)
        self._end_requests(EngineStoppedError("the engine was stopped"))

    def _wait_for_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._engine.has_work)
            return not self._stopping

    def _deliver(self, request_id: str, event: EventT) -> None:
        over = isinstance(event, self._result_type)
        with self._wake:
            callback = self._callbacks.get(request_id)
            if over:
                self._callbacks.pop(request_id, None)
        if callback is None:  # its callback failed earlier, or it ran outside this object
            return
        if not _call(callback, request_id, event) and not over:
            with self._wake:
                self._callbacks.pop(request_id, None)
            self._engine.cancel(request_id)

    def _fail(self, error: Exception) -> None:
        if self._clear is None:
            with self._wake:
                self._stopping, self._error = True, error
        self._end_requests(error)

    def _end_requests(self, error: Exception) -> None:
        with self._wake:
            if self._clear is not None:
                self._clear()
            callbacks, self._callbacks = self._callbacks, {}
        for request_id, callback in callbacks.items():
            _call(callback, request_id, error)


def _call(callback: Callable[[EventT | BaseException], None], request_id: str, event: EventT | BaseException) -> bool:
    """Call back; tell whether that went well, for one caller's fault must not stop the others."""
    try:
        callback(event)
    except Exception:
        _logger.exception("the callback of request %s failed", request_id)
        return False
    return True
