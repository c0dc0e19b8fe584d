"""Stopping a run in good order: at the next step's boundary, after a checkpoint, so that the same command goes on."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any


class Interrupted(Exception):
    """A run was asked to stop before its last step, and did so after a checkpoint.

    Attributes:
        step: steps done.
        status: exit status for the process: 128 plus the signal's number.
    """

    def __init__(self, run: str, step: int, status: int = 128 + signal.SIGINT) -> None:
        super().__init__(f"{run}: stopped after step {step}; the same command goes on from there")
        self.step, self.status = step, status


class Signals:
    """Takes Ctrl-C and SIGTERM as a wish to stop, while it is entered. Other threads than the main one get no signals.

    A second signal ends the process as if this were not there. One that comes within two seconds counts as the first:
    torchrun passes on what the terminal has already sent to everybody.
    """

    SAME_SECONDS = 2.0

    def __init__(self) -> None:
        self.received: int | None = None
        self._at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        """Take over."""
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give back."""
        self._restore()

    def __call__(self) -> bool:
        """Tell whether a signal came: what `Trainer.run` asks at every step's boundary."""
        return self.received is not None

    @property
    def status(self) -> int:
        """Exit status after a stop."""
        return 128 + (self.received or signal.SIGINT)

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._at = number, now
        elif now - self._at > self.SAME_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
