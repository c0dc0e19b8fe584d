"""Telling how a run goes: one line per interval, a JSONL file always, and trackers by choice. Rank 0 only."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from train.world import World

TRACKERS = ("tensorboard", "wandb", "mlflow")


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


class Meter:
    """Sums of the losses since the last line, and the samples that took part."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a new interval."""
        self.sums, self.counts = dict[str, float](), dict[str, int]()
        self.samples, self.since = 0, time.monotonic()
        self.waited = 0.0

    def add(self, losses: Mapping[str, float]) -> None:
        """Count one micro-batch of this process."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1


class Progress:
    """Writes the records of one run."""

    def __init__(
        self, folder: Path, world: World, steps: int, trackers: Sequence[Tracker] = (), *, say: Callable[[str], None]
    ) -> None:
        self.folder, self.world, self.steps = folder, world, steps
        self.trackers, self.say = trackers, say
        self._started: tuple[float, int] | None = None
        if world.first:
            folder.mkdir(parents=True, exist_ok=True)

    def line(self, step: int, meter: Meter, norm: float, rate: float) -> None:
        """Report an interval; called in every process, as the losses are averaged over all of them.

        Args:
            step: steps done.
            meter: what this process counted since the last line; `samples` counts all processes'.
            norm: gradient norm of the last step.
            rate: factor on the learning rates.
        """
        means = self.world.means(meter.sums, meter.counts)
        if not self.world.first:
            return
        now = time.monotonic()
        self._started = self._started or (meter.since, step - 1)
        speed = meter.samples / max(now - meter.since, 1e-9)
        eta = (self.steps - step) * (now - self._started[0]) / max(1, step - self._started[1])
        loss = sum(means.values())
        shown = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        self.say(
            f"step {step}/{self.steps} {100 * step / self.steps:.1f}% | loss {loss:.4f} | {shown} | norm {norm:.2f} | "
            f"lr x{rate:.3f} | {speed:.1f} samples/s | eta {_clock(eta)}"
        )
        extra = {"loss": loss, "norm": norm, "lr_factor": rate, "samples_per_s": speed, "eta_s": eta}
        self.record(step, {**means, **extra, "data_share": meter.waited / max(now - meter.since, 1e-9)})

    def record(self, step: int, values: Mapping[str, float], kind: str = "train") -> None:
        """Write values to the JSONL file and the trackers."""
        if not self.world.first:
            return
        entry = {"time": round(time.time(), 3), "kind": kind, "step": step, **values}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        for tracker in self.trackers:
            tracker.log(step, {f"{kind}/{name}": value for name, value in values.items()})

    def pictures(self, step: int, folder: Path) -> None:
        """Hand the PNGs of a folder to the trackers."""
        for path in sorted(folder.glob("*.png")) if self.world.first else ():
            for tracker in self.trackers:
                tracker.picture(step, path)

    def close(self) -> None:
        """Close the trackers."""
        for tracker in self.trackers:
            tracker.close()


def open_trackers(names: Sequence[str], folder: Path, run: str) -> list[Tracker]:
    """Open trackers by name.

    Raises:
        ValueError: an unknown name.
        ModuleNotFoundError: its package is not installed; the message says how to.
    """
    made: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(folder),
        "wandb": lambda: Wandb(folder, run),
        "mlflow": lambda: Mlflow(run),
    }
    unknown = [name for name in names if name not in made]
    if unknown:
        raise ValueError(f"track: got {unknown[0]!r}, expected some of {', '.join(TRACKERS)}")
    return [made[name]() for name in names]


class TensorBoard:
    """Event files beside the log; read with `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter  # seconds to import

        self._writer = SummaryWriter(str(folder / "tensorboard"))

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
        self._wandb = _optional("wandb")
        self._run = self._wandb.init(name=run, id=run, resume="allow", dir=str(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log a dictionary."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, path: Path) -> None:
        """Log a picture."""
        self._run.log({path.stem: self._wandb.Image(str(path))}, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Mlflow:
    """MLflow; the server from `MLFLOW_TRACKING_URI`."""

    def __init__(self, run: str) -> None:
        self._mlflow = _optional("mlflow")
        self._mlflow.start_run(run_name=run)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log a dictionary."""
        self._mlflow.log_metrics(dict(values), step=step)

    def picture(self, step: int, path: Path) -> None:
        """Log a picture."""
        self._mlflow.log_artifact(str(path), artifact_path=f"samples/{step}")

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


def _optional(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"track: {package} is not installed: pip install {package}") from error


def _clock(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
