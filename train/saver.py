"""Where the checkpoints of a run are: folders on any fsspec file system, the same for every way of running.

    STORAGE/NAME/step-00001200/   a checkpoint (train/checkpoint.py)
    STORAGE/NAME/latest           the name of the newest one
    STORAGE/NAME/best.json        the name of the one with the best validation, and its score

A checkpoint is committed when `latest` names it, which is after all of it is stored: a process killed before leaves
the old one whole. Ray's own way (`ray.train.report`) commits only when its controller looks next, so that a resize
loses the newest checkpoint; it keeps a list that no other version of Ray reads, and knows no runs without Ray.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import fsspec
from safetensors import SafetensorError

from train.world import World
from vitron.weights import Weights, open_weights

Write = Callable[[Path], None]


class FolderSaver:
    """Stores and finds the checkpoints of one run. Rank 0 writes."""

    def __init__(self, url: str, world: World, keep: int = 2) -> None:
        """Open the folder of a run.

        Args:
            url: folder, or URL of a file system that fsspec knows.
            world: who else takes part.
            keep: newest checkpoints that are kept beside the best one.
        """
        self.files, self.root = fsspec.core.url_to_fs(url)
        self.local = "file" in _protocols(self.files)
        self.world, self.keep = world, keep
        if world.first:
            self.files.makedirs(self.root, exist_ok=True)

    def newest(self) -> str | None:
        """Return the name of the newest committed checkpoint; None before the first."""
        path = f"{self.root}/latest"
        return self.files.cat_file(path).decode().strip() if self.files.exists(path) else None

    def step(self) -> int:
        """Return the steps done at the newest committed checkpoint."""
        name = self.newest()
        return int(name.removeprefix("step-")) if name else 0

    def latest(self) -> Path | None:
        """Return a local folder with the newest committed checkpoint, the same one in every process."""
        name = self.world.share(self.newest() if self.world.first else None)
        return self._fetch(name) if name else None

    def save(self, step: int, write: Write, score: float | None) -> None:
        """Store what `write` writes into an empty folder and commit it; called in every process.

        Raises:
            OSError: it cannot be stored; what was committed before is as it was.
        """
        if self.world.first:
            name = f"step-{step:08d}"
            try:
                self._store(name, write)
                self._put("latest", name)
            except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
                raise OSError(f"checkpoint: cannot store {self.root}/{name}: {error}") from error
            self._rank(name, score)
            self._prune()
        self.world.barrier()

    def best(self) -> tuple[str, float] | None:
        """Return the name and score of the best checkpoint so far."""
        path = f"{self.root}/best.json"
        if not self.files.exists(path):
            return None
        held = json.loads(self.files.cat_file(path))
        return held["checkpoint"], held["score"]

    def upload(self, file: Path) -> None:
        """Keep a copy of a file, if there is one, beside the checkpoints where they are not on this machine."""
        if self.world.first and not self.local and file.exists():
            self.files.put_file(str(file), f"{self.root}/{file.name}")

    def download(self, file: Path) -> None:
        """Fetch the copy of a file, if there is one and the checkpoints are not on this machine."""
        path = f"{self.root}/{file.name}"
        if self.world.first and not self.local and self.files.exists(path):
            self.files.get_file(path, str(file))

    def _fetch(self, name: str) -> Path:
        if self.local:
            return Path(self.root) / name
        local = Path(tempfile.mkdtemp(prefix="vitron-checkpoint-")) / name
        self.files.get(f"{self.root}/{name}/", f"{local}/", recursive=True)
        return local

    def _store(self, name: str, write: Write) -> None:
        target = f"{self.root}/{name}"
        # What a killed process left: half written here, or whole but never named by `latest`.
        for path in (*self.files.glob(f"{self.root}/.partial-*"), target):
            if self.files.exists(path):
                self.files.rm(path, recursive=True)
        if not self.local:
            with tempfile.TemporaryDirectory(prefix="vitron-checkpoint-") as scratch:
                folder = Path(scratch) / name
                write(folder)
                self.files.put(f"{folder}/", f"{target}/", recursive=True)
            return
        partial = Path(self.root) / f".partial-{name}"
        try:
            write(partial)
            _flush(partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _put(self, name: str, text: str) -> None:
        """Replace a small file as a whole. Object stores do so by themselves."""
        if not self.local:
            self.files.pipe_file(f"{self.root}/{name}", text.encode())
            return
        partial = Path(self.root) / f".{name}"
        partial.write_text(text)
        _flush(partial)
        partial.replace(Path(self.root) / name)

    def _rank(self, name: str, score: float | None) -> None:
        best = self.best()
        if score is not None and (best is None or score >= best[1]):
            self._put("best.json", json.dumps({"checkpoint": name, "score": score}))

    def _prune(self) -> None:
        names = sorted(Path(path).name for path in self.files.glob(f"{self.root}/step-*"))
        best = self.best()
        for name in names[: -self.keep]:
            if best is None or name != best[0]:
                self.files.rm(f"{self.root}/{name}", recursive=True)


def open_run(preset: str, location: str | None) -> Weights:
    """Return weights to start from: a folder's, the newest checkpoint of a run (also by URL), or the preset's own.

    Raises:
        FileNotFoundError: there is nothing at that place.
    """
    if not location or "://" not in location:
        weights = open_weights(preset, location)
        if location and not weights.folder.is_dir():
            raise FileNotFoundError(f"start: got {location!r}, expected a folder of weights or of a run")
        return Weights(weights.folder.absolute())
    saver = FolderSaver(location, World())
    folder = saver.latest()
    if folder is None:
        raise FileNotFoundError(f"start: got {location!r}, which holds no checkpoint of a run")
    if not saver.local:
        _fetch_base(preset, folder)
    return Weights(folder)


def _fetch_base(preset: str, folder: Path) -> None:
    """Fetch what a fetched checkpoint was trained from as well: parts that it did not train are found there."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    if "://" in manifest.get("base", ""):
        manifest["base"] = str(open_run(preset, manifest["base"]).folder)
        file.write_text(json.dumps(manifest, indent=1) + "\n")


def _flush(path: Path) -> None:
    """Bring a file, or all files of a folder, to the disk, so that they survive a machine that stops."""
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _protocols(files: fsspec.AbstractFileSystem) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)
