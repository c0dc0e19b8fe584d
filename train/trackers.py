"""Who draws curves: TensorBoard by default, Weights & Biases and MLflow by choice. Rank 0 only."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

TRACKERS: Mapping[str, str] = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
"""Name -> the package it needs."""
ENVIRONMENT = ("WANDB_", "MLFLOW_")
"""Beginnings of the environment variables that trackers read: keys, projects, servers."""
KEPT = ("mlflow-run",)
"""Files in the folder of a run by which trackers go on where they left off."""


class Tracker(Protocol):
    """Something that draws curves."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a step."""
        ...

    def picture(self, step: int, path: Path) -> None:
        """Take a PNG of samples."""
        ...

    def close(self) -> None:
        """Write what is held back."""
        ...


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that cannot be opened, before anything starts.

    Raises:
        ValueError: an unknown name.
        ModuleNotFoundError: its package is not installed; the message says how to.
    """
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"track: got {name!r}, expected some of {', '.join(TRACKERS)}")
        _package(name)


def open_trackers(names: Sequence[str], folder: Path, run: str) -> list[Tracker]:
    """Open trackers by name, to go on where the run left off.

    Args:
        names: of `TRACKERS`.
        folder: of the run, on this machine.
        run: its name.
    """
    check_trackers(names)
    made: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(folder),
        "wandb": lambda: Wandb(folder, run),
        "mlflow": lambda: Mlflow(folder, run),
    }
    return [made[name]() for name in names]


class TensorBoard:
    """Event files beside the log; read with `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        self._writer = _package("tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, step: int, path: Path) -> None:
        """Add a picture."""
        import numpy as np
        from PIL import Image

        self._writer.add_image(path.stem, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class Wandb:
    """Weights & Biases; project and key from its own environment variables."""

    def __init__(self, folder: Path, run: str) -> None:
        self._wandb = _package("wandb")
        self._run = self._wandb.init(name=run, id=run, resume="allow", dir=str(folder))
        # Its own step may never go back, ours does after a restart.
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log a dictionary."""
        self._run.log({**values, "step": step})

    def picture(self, step: int, path: Path) -> None:
        """Log a picture."""
        self._run.log({path.stem: self._wandb.Image(str(path)), "step": step})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Mlflow:
    """MLflow; the server from `MLFLOW_TRACKING_URI`."""

    def __init__(self, folder: Path, run: str) -> None:
        self._mlflow = _package("mlflow")
        known = folder / KEPT[0]
        if known.exists():
            self._mlflow.start_run(run_id=known.read_text())
        else:
            known.write_text(self._mlflow.start_run(run_name=run).info.run_id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log a dictionary."""
        self._mlflow.log_metrics(dict(values), step=step)

    def picture(self, step: int, path: Path) -> None:
        """Log a picture."""
        self._mlflow.log_artifact(str(path), artifact_path=f"samples/{step}")

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


def _package(tracker: str) -> Any:
    """Import a tracker's package, which may take seconds and may not be there."""
    package = TRACKERS[tracker]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"track: {package} is not installed: pip install {package}") from error
