"""Folders of computed arrays that runs share: the first to ask computes one, the others wait for it."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def filled(cache: Path, name: str, fill: Callable[[Path], None]) -> Path:
    """Return the folder `name` of a cache, filling it first if nobody has.

    Processes of one machine that ask at the same time get one folder. One that is being filled has another name, so
    that what a killed process leaves behind is never taken for whole.

    Args:
        cache: folder that holds such folders.
        name: says what the folder is made from.
        fill: writes its files.
    """
    cache = cache.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / name
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however that ends
        if not folder.exists():
            partial = cache / f".{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fill(partial)
            partial.rename(folder)
    return folder
