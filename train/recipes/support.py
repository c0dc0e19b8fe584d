"""What the small single-process pre-training runs share: resume, schedule, log, picture grids.

These runs make the weights of the tiny preset and nothing else; they need no cluster.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor, nn

from train.muon import Muon, split_parameters
from vitron.types import Image

logger = logging.getLogger(__name__)

REPORT_EVERY = 50


class Budget:
    """How far a run is, by steps and optionally by minutes of work, whichever is further.

    The time is what was spent over all resumes, so that the learning rate ends at zero on time
    whatever else the machine does.
    """

    def __init__(self, steps: int, minutes: float | None = None) -> None:
        if steps < 1:
            raise ValueError(f"steps: got {steps}, expected 1 or more")
        if minutes is not None and minutes <= 0:
            raise ValueError(f"minutes: got {minutes}, expected a number above 0")
        self.steps, self.minutes = steps, minutes
        self.step = 0
        self._spent = 0.0
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of work so far."""
        return self._spent + time.monotonic() - self._since

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        by_time = self.seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(max(self.step / self.steps, by_time), 1.0)

    @property
    def eta(self) -> float:
        """Expected seconds to the end."""
        return self.seconds * (1.0 / max(self.progress, 1e-6) - 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return step and seconds."""
        return {"step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where a saved budget was."""
        self.step, self._spent = int(state["step"]), float(state["seconds"])
        self._since = time.monotonic()


def cosine(progress: float, step: int, warmup: int, floor: float = 0.02) -> float:
    """Return the factor on the learning rate: linear warm-up, then half a cosine to `floor`."""
    decay = floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
    return decay * min(1.0, (step + 1) / warmup)


class Ema:
    """A moving average of a module's parameters and buffers, ramped up in the first steps."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self._decay = decay
        self.shadow = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's present values."""
        weight = 1.0 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in module.state_dict().items():
                if value.is_floating_point():
                    self.shadow[name].lerp_(value, weight)
                else:
                    self.shadow[name].copy_(value)


class RunLog:
    """One JSON line per report in `log.jsonl`, and the same in words through logging."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self._path, self._budget = folder / "log.jsonl", budget
        self._items, self._sums, self._count = 0, dict[str, float](), 0
        self._since = time.monotonic()

    def add(self, parts: Mapping[str, Tensor], num_items: int) -> None:
        """Count one step."""
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        self._items += num_items
        self._count += 1

    def report(self, **extra: float) -> None:
        """Write the means since the last report."""
        passed = max(time.monotonic() - self._since, 1e-6)
        means = {name: round(total / self._count, 5) for name, total in self._sums.items()}
        record = {"step": self._budget.step, **means, "per_second": round(self._items / passed, 1)}
        record |= {name: round(value, 4) for name, value in extra.items()}
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        logger.info(
            "step %d  %.1f%%  %s  eta %.1f min",
            self._budget.step,
            100 * self._budget.progress,
            "  ".join(f"{name} {value}" for name, value in record.items() if name != "step"),
            self._budget.eta / 60,
        )
        self._items, self._sums, self._count = 0, {}, 0
        self._since = time.monotonic()


class Run:
    """Module, optimizers, averaged weights and budget of one run, resumed from `last.pt` if it is there."""

    def __init__(
        self,
        module: nn.Module,
        out: Path,
        budget: Budget,
        *,
        muon_lr: float,
        adam_lr: float,
        adam_names: tuple[str, ...],
        warmup: int = 30,
        ema: float = 0.999,
    ) -> None:
        """Set a run up.

        Args:
            module: What is trained.
            out: Folder of checkpoints and logs.
            budget: How long.
            muon_lr: Peak rate of inner matrices.
            adam_lr: Peak rate of everything else.
            adam_names: See `train.muon.split_parameters`.
            warmup: Steps to the peak rate.
            ema: Decay of the averaged weights.
        """
        out.mkdir(parents=True, exist_ok=True)
        self.module, self.out, self.budget = module, out, budget
        matrices, others = split_parameters(module, adam_names)
        self._optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, muon_lr),
            torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self._peaks, self._warmup = (muon_lr, adam_lr), warmup
        self._ema = Ema(module, ema)
        self._log = RunLog(out, budget)
        self._resume()
        self._saved = time.monotonic()

    def update(self, parts: Mapping[str, Tensor], num_items: int) -> None:
        """Take one optimizer step on `parts["loss"]` and count it."""
        if not torch.isfinite(parts["loss"]):
            raise FloatingPointError(f"loss at step {self.budget.step} is {parts['loss'].item()}")
        factor = cosine(self.budget.progress, self.budget.step, self._warmup)
        self.module.zero_grad()
        parts["loss"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        for optimizer, peak in zip(self._optimizers, self._peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
            optimizer.step()
        self.budget.step += 1
        self._ema.update(self.module, self.budget.step)
        self._log.add(parts, num_items)
        if self.budget.step % REPORT_EVERY == 0:
            self._log.report(factor=factor)

    def due(self, seconds: float) -> bool:
        """Tell whether the last checkpoint is older than this."""
        return time.monotonic() - self._saved > seconds

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "module": self.module.state_dict(),
            "ema": self._ema.shadow,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "budget": self.budget.state_dict(),
        }
        save_atomically(self.out / "last.pt", state)
        self._saved = time.monotonic()

    def averaged(self) -> dict[str, Tensor]:
        """Return the averaged weights: the ones to look at and to export."""
        return self._ema.shadow

    def _resume(self) -> None:
        path = self.out / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.module.load_state_dict(state["module"])
        self._ema.shadow = state["ema"]
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.budget.load_state_dict(state["budget"])
        logger.info("resumed at step %d", self.budget.step)


def save_atomically(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a killed process leaves the old one whole."""
    partial = path.with_suffix(".partial")
    torch.save(dict(state), partial)
    os.replace(partial, path)


def save_grid(path: Path, rows: Iterable[Sequence[Image]], scale: int = 2) -> None:
    """Write pictures of one size as rows of a PNG, enlarged without smoothing."""
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    picture = PilImage.fromarray(grid)
    picture = picture.resize((picture.width * scale, picture.height * scale), PilImage.Resampling.NEAREST)
    picture.save(path)
