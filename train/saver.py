"""Where checkpoints go when there is no Ray: a folder of any fsspec file system.

A checkpoint counts from the moment that the file `latest` names it: a process killed before leaves the old one whole.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import fsspec

from train.world import World

Write = Callable[[Path], None]


class Saver(Protocol):
    """Stores checkpoints of a run."""

    def latest(self) -> Path | None:
        """Return a local folder with the newest committed checkpoint; None before the first."""
        ...

    def save(self, step: int, write: Write, metrics: Mapping[str, float], score: float | None) -> None:
        """Store what `write` writes. Called in every process; rank 0 writes."""
        ...


class FolderSaver:
    """Checkpoints as folders `step-00001200` under a URL, with `latest` and `best.json` beside them."""

    def __init__(self, url: str, world: World, keep: int = 2) -> None:
        self.files, self.root = fsspec.core.url_to_fs(url)
        self.world, self.keep = world, keep
        if world.first:
            self.files.makedirs(self.root, exist_ok=True)

    def latest(self) -> Path | None:
        """Fetch the newest checkpoint, or return its own folder where that is local."""
        path = f"{self.root}/latest"
        if not self.files.exists(path):
            return None
        name = self.files.cat_file(path).decode().strip()
        if "file" in _protocols(self.files):
            return Path(self.root) / name
        local = Path(tempfile.mkdtemp(prefix="vitron-checkpoint-"))
        self.files.get(f"{self.root}/{name}", str(local), recursive=True)
        found = local / name
        return found if found.exists() else local

    def save(self, step: int, write: Write, metrics: Mapping[str, float], score: float | None) -> None:
        """Write, move into place, then point `latest` at it; drop checkpoints that are neither new nor best."""
        if self.world.first:
            name = f"step-{step:08d}"
            with tempfile.TemporaryDirectory(prefix="vitron-checkpoint-") as scratch:
                folder = Path(scratch) / name
                write(folder)
                self._put(folder, name)
            self._point("latest", name)
            self._rank(name, score)
            self._prune()
        self.world.barrier()

    def _put(self, folder: Path, name: str) -> None:
        partial, target = f"{self.root}/.partial-{name}", f"{self.root}/{name}"
        for path in (partial, target):
            if self.files.exists(path):
                self.files.rm(path, recursive=True)
        if "file" in _protocols(self.files):
            shutil.copytree(folder, partial)
            Path(partial).rename(target)
        else:
            self.files.put(str(folder) + "/", target, recursive=True)

    def _point(self, name: str, text: str) -> None:
        partial = f"{self.root}/.{name}"
        self.files.pipe_file(partial, text.encode())
        self.files.mv(partial, f"{self.root}/{name}")

    def _rank(self, name: str, score: float | None) -> None:
        best = self.best()
        if score is not None and (best is None or score >= best[1]):
            self._point("best.json", json.dumps({"checkpoint": name, "score": score}))

    def best(self) -> tuple[str, float] | None:
        """Return the name and score of the best checkpoint so far."""
        path = f"{self.root}/best.json"
        if not self.files.exists(path):
            return None
        held = json.loads(self.files.cat_file(path))
        return held["checkpoint"], held["score"]

    def _prune(self) -> None:
        names = sorted(Path(path).name for path in self.files.glob(f"{self.root}/step-*"))
        best = self.best()
        for name in names[: -self.keep]:
            if best is None or name != best[0]:
                self.files.rm(f"{self.root}/{name}", recursive=True)


def _protocols(files: fsspec.AbstractFileSystem) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)
