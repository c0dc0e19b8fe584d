"""Which failures of a run on Ray are worth another try.

Ray Train starts the workers again after any failure, as often as it is told to. A lost process or node deserves that.
An error of the recipe would come back for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.train import UserCallback
from ray.train.v2._internal.exceptions import RayTrainError

from train.progress import append
from train.saver import FolderSaver
from train.world import World

TRIES = 3
"""Failures without a new checkpoint in between that end a run, if they may be the network's or the storage's."""
LOSSES = 10
"""The same for lost workers: machines are not taken away that often, but a worker that needs too much memory is."""


class RunFailed(Exception):
    """The controller ends a run; its argument is the worker's error."""


class Verdict(UserCallback):
    """Lets Ray Train go on after a lost worker and ends the run after an error of its own.

    Called in the controller's process, which gives up where a callback raises.
    """

    def __init__(self, url: str) -> None:
        """Watch the run whose folder is `url`."""
        self._url = url
        self._newest: str | None = None
        self._failed, self._lost = 0, 0

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Judge the errors of the workers, by rank.

        Raises:
            RunFailed: another try would end the same way.
        """
        saver = FolderSaver(self._url, World())
        self._tell(saver, worker_exceptions)
        # Ray's own errors say that a worker is lost. The others then often fail as well, in a broken connection.
        own = [error for error in worker_exceptions.values() if not isinstance(error, RayError | RayTrainError)]
        lost = [error for error in worker_exceptions.values() if error not in own]
        for error in own:
            # Torch reports broken connections and full devices as RuntimeError, storage fails with OSError: these may
            # pass. Others never do.
            if not isinstance(error, RuntimeError | OSError):
                raise RunFailed(error)
        self._count(saver.newest(), lost=bool(lost))
        if self._lost >= LOSSES:
            where = self._newest or "the start"
            raise RunFailed(RuntimeError(f"{self._lost} workers were lost since {where}, the last one: {lost[0]}"))
        if self._failed >= TRIES:
            raise RunFailed(own[0])

    def _count(self, newest: str | None, *, lost: bool) -> None:
        if newest != self._newest:
            self._newest, self._failed, self._lost = newest, 0, 0
        self._lost += lost
        self._failed += not lost

    def _tell(self, saver: FolderSaver, errors: Mapping[int, Exception]) -> None:
        if saver.local:
            said = {str(rank): f"{type(error).__name__}: {error}"[:500] for rank, error in errors.items()}
            append(Path(saver.root) / "log.jsonl", "failed", saver.step(), {"workers": said})
