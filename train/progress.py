"""Telling how a run goes: one line per interval, a JSONL file always, and trackers. Rank 0 only."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.trackers import Tracker
from train.world import World


class Meter:
    """Sums of the losses since the last line, and the steps and samples that took part."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a new interval."""
        self.sums, self.counts = dict[str, float](), dict[str, int]()
        self.steps, self.samples, self.since = 0, 0, time.monotonic()
        self.waited = 0.0

    def add(self, losses: Mapping[str, float]) -> None:
        """Count one micro-batch of this process."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def leave_out(self, seconds: float) -> None:
        """Leave time that was not spent training out of the interval."""
        self.since += seconds


class Progress:
    """Writes the records of one run."""

    def __init__(
        self, folder: Path, world: World, steps: int, trackers: Sequence[Tracker] = (), *, say: Callable[[str], None]
    ) -> None:
        self.folder, self.world, self.steps = folder, world, steps
        self.say = say
        self._trackers = list(trackers)
        self._started: tuple[float, int] | None = None
        if world.first:
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def log(self) -> Path:
        """The JSONL file."""
        return self.folder / "log.jsonl"

    def line(self, step: int, meter: Meter, norm: float, rate: float, factor: float) -> None:
        """Report an interval; called in every process, as the losses are averaged over all of them.

        Args:
            step: steps done.
            meter: what this process counted since the last line; `samples` counts all processes'.
            norm: gradient norm of the last step.
            rate: peak learning rate of the run.
            factor: on all learning rates, in the last step.
        """
        means = self.world.means(meter.sums, meter.counts)
        if not self.world.first:
            return
        now = time.monotonic()
        self._started = self._started or (meter.since, step - meter.steps)
        seconds = max(now - meter.since, 1e-9)
        speed, lr = meter.samples / seconds, rate * factor
        eta = (self.steps - step) * (now - self._started[0]) / (step - self._started[1])
        loss = sum(means.values())
        shown = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        self.say(
            f"step {step}/{self.steps} {100 * step / self.steps:.1f}% | loss {loss:.4f} | {shown} | norm {norm:.2f} | "
            f"lr {lr:.2e} | {speed:.1f} samples/s | eta {_clock(eta)}"
        )
        extra = {"loss": loss, "norm": norm, "lr": lr, "lr_factor": factor, "samples_per_s": speed, "eta_s": eta}
        self.record(step, {**means, **extra, "data_share": meter.waited / seconds})

    def record(self, step: int, values: Mapping[str, float], kind: str = "train") -> None:
        """Write values to the JSONL file and the trackers."""
        if not self.world.first:
            return
        append(self.log, kind, step, values)
        named = {f"{kind}/{name}": value for name, value in values.items()}
        self._tell(lambda tracker: tracker.log(step, named))

    def pictures(self, step: int, folder: Path) -> None:
        """Hand the PNGs of a folder to the trackers."""
        for path in sorted(folder.glob("*.png")) if self.world.first else ():
            self._tell(lambda tracker, path=path: tracker.picture(step, path))  # type: ignore[misc]

    def close(self) -> None:
        """Close the trackers."""
        self._tell(lambda tracker: tracker.close())

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                what(tracker)
            except Exception as error:  # somebody else's server must not end a training run
                name = type(tracker).__name__
                print(f"{name} is left out from here on: {type(error).__name__}: {error}", file=sys.stderr)
                self._trackers.remove(tracker)


def append(log: Path, kind: str, step: int, values: Mapping[str, Any]) -> None:
    """Add a record to a JSONL file."""
    entry = {"time": round(time.time(), 3), "kind": kind, "step": step, **values}
    with log.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def _clock(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
