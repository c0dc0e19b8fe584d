"""The training loop: it owns optimizer, schedule, accumulation, checkpoints, validation and progress.

It knows neither Ray nor what is trained. The same loop runs in one process, under torchrun and in Ray Train's workers.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train import checkpoint
from train.optimizers import Average, schedule
from train.order import load, numbers_of, seed_of
from train.progress import Meter, Progress
from train.recipe import Job, Recipe
from train.saver import FolderSaver
from train.settings import Settings
from train.strategy import open_strategy
from train.world import World


class Trainer:
    """Trains one job to the end of its steps, from the newest checkpoint if there is one."""

    def __init__(
        self,
        recipe: Recipe,
        job: Job,
        settings: Settings,
        world: World,
        saver: FolderSaver,
        progress: Progress,
        *,
        base: str,
    ) -> None:
        """Set a run up and load its newest checkpoint.

        Args:
            recipe: what is trained.
            job: the recipe at work in this process.
            settings: the numbers.
            world: who else takes part.
            saver: where checkpoints are.
            progress: who is told.
            base: the weights that the job started from, by folder or preset, for the manifest.

        Raises:
            ValueError: so many workers cannot share a step, or the checkpoint is not one of this run.
        """
        self.recipe, self.job, self.settings, self.world = recipe, job, settings, world
        self.saver, self.progress, self.base = saver, progress, base
        self.step, self.seconds = 0, 0.0
        self.strategy = open_strategy(job, settings, world, recipe.rates)
        self.average = Average(self.strategy.optimizers.named, settings.ema)
        self._metrics: Mapping[str, float] = {}
        self._odd: list[str] = []
        self._table()
        self._resume()

    def run(self, leave: Callable[[], bool] = lambda: False) -> bool:
        """Train until the steps are done or `leave` says so; return whether they are done.

        Args:
            leave: asked by rank 0 at every step's boundary; all workers leave on the same step, after a checkpoint.
        """
        settings, meter = self.settings, Meter()
        saved = time.monotonic()
        batches = self._batches()
        while self.step < settings.steps:
            self.job.objective.train()
            norm, factor = self._update(batches, meter)
            self.step += 1
            meter.steps += 1
            meter.samples += settings.batch
            now, done = time.monotonic(), self.step == settings.steps
            due = self.step % settings.save_steps == 0 if settings.save_steps else now - saved > settings.save_seconds
            log, save, go = self.world.agree(now - meter.since > settings.log_seconds, due, leave())
            check = done or bool(settings.validate_steps and self.step % settings.validate_steps == 0)
            if log or done or go:
                self.progress.line(self.step, meter, norm, settings.lr, factor)
                meter.reset()
            if save or done or go or check:
                self._metrics = self._validate() if check else {}
                self.seconds += time.monotonic() - saved
                self.save()
                saved = time.monotonic()
                meter.leave_out(saved - now)
            if go and not done:
                return False
        return True

    def save(self) -> None:
        """Write a checkpoint."""
        state = checkpoint.gather(self.job.objective, self.strategy, self.average, keep=self.world.first)
        manifest = self._manifest()
        self.saver.save(
            self.step,
            lambda folder: checkpoint.write(folder, self.job.objective, state, manifest),
            self._metrics.get(self.job.score),
        )
        self.saver.upload(self.progress.log)

    def _batches(self) -> Iterator[Any]:
        steps = range(self.step, self.settings.steps)
        numbers = [n for step in steps for n in numbers_of(step, self.settings.micro_batches, self.world)]
        return load(self.job.batches, numbers, self.settings.loader_workers)

    def _update(self, batches: Iterator[Any], meter: Meter) -> tuple[float, float]:
        """Take one optimizer step; return the gradient's norm and the factor on the rates."""
        self.strategy.optimizers.clear()
        numbers = numbers_of(self.step, self.settings.micro_batches, self.world)
        for number in numbers:
            since = time.monotonic()
            batch = _move(next(batches), self.world.device)
            meter.waited += time.monotonic() - since
            meter.add(self._backward(number, batch, last=number == numbers[-1]))
        norm, factor = self.strategy.step(self.step)
        if not math.isfinite(norm):
            # The gradient is shared, so that all workers are here.
            odd = [text for texts in self.world.gather(self._odd) for text in texts]
            raise FloatingPointError(f"step {self.step + 1} not taken: {'; '.join(odd) or f'gradient norm {norm}'}")
        self.average.update(self.step)
        return norm, factor

    def _backward(self, number: int, batch: Any, *, last: bool) -> dict[str, float]:
        torch.manual_seed(seed_of(self.settings.seed, number))
        with self.strategy.unshared(last):
            losses = self.strategy.losses(batch)
            total = torch.stack([value.float() for value in losses.values()]).sum()
            # A loss that is not finite may have finite gradients: this one's never are, and all workers see them.
            self.strategy.backward(total * torch.where(total.isfinite(), 1.0, math.nan), last=last)
        values = {name: float(value.detach()) for name, value in losses.items()}
        self._odd += [
            f"loss {name} is {value} in micro-batch {number}"
            for name, value in values.items()
            if not math.isfinite(value)
        ]
        return values

    def _validate(self) -> Mapping[str, float]:
        """Measure averaged weights on held-out samples and draw some; the others wait, unless all must take part."""
        metrics: Mapping[str, float] = {}
        if self.strategy.together or self.world.first:
            objective = self.job.objective.eval()
            with self.average, self.strategy.outside(), torch.no_grad():
                metrics = dict(self.job.validate())
                self._draw()
            objective.train()
            if self.job.score not in metrics:
                raise ValueError(f"score: got {self.job.score!r}, expected one of {', '.join(metrics)}")
            self.progress.record(self.step, metrics, "val")
            if self.world.first:
                self.progress.say(f"val {self.step} | " + " ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        self.world.barrier()
        return metrics

    def _draw(self) -> None:
        if self.job.draw is None:
            return
        if not self.world.first:
            with tempfile.TemporaryDirectory(prefix="vitron-samples-") as scratch:
                self.job.draw(Path(scratch))
            return
        folder = self.progress.folder / "samples"
        folder.mkdir(exist_ok=True)
        self.job.draw(folder)
        self.progress.pictures(self.step, folder)

    def _resume(self) -> None:
        folder = self.saver.latest()
        held = checkpoint.open_checkpoint(folder, self._manifest()) if folder else None
        if held:
            checkpoint.place(held, self.job.objective, self.strategy, self.average)
        self.strategy.start()
        if folder is None or held is None:
            return
        self.strategy.load(checkpoint.quantities(held))
        self.step, self.seconds = int(held.manifest["step"]), float(held.manifest["seconds"])
        if self.world.first:
            self.progress.say(f"resumed at step {self.step} from {folder.name}")
            self.progress.record(self.step, {"workers": self.world.size}, "resumed")

    def _manifest(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "recipe": self.recipe.name,
            "preset": self.recipe.preset,
            "settings": asdict(self.settings),
            "rates": dict(self.recipe.rates),
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "workers": self.world.size,
            "data": "shapes-1",
            "revision": f"{self.recipe.name}-{self.settings.seed}-{self.step}",
            "metrics": dict(self._metrics),
        }

    def _table(self) -> None:
        """Say what is trained, at what rate, and where it came from."""
        if not self.world.first:
            return
        say = self.progress.say
        say(f"{self.recipe.name}: {self.recipe.about}")
        say(f"{'part':<20} {'parameters':>12} {'trainable':>12} {'lr':>9}  loaded from")
        for name, part in self.job.objective.parts.items():
            every = sum(p.numel() for p in part.parameters())
            trained = sum(p.numel() for p in part.parameters() if p.requires_grad)
            rate = self.recipe.rates[name] * self.settings.lr
            say(f"{name:<20} {every:>12,} {trained:>12,} {rate:>9.1e}  {self.job.sources[name]}")
        for note in self.job.notes:
            say(note)
        s = self.settings
        say(
            f"{s.steps} steps of {s.batch} samples in {s.micro_batches} micro-batches over {self.world.size} worker(s) "
            f"on {self.world.device}, first rate x{schedule(s, 0):.3f}"
        )


def _move(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch (a tensor, dataclass, mapping or sequence of them) to a device."""
    if device.type == "cpu":
        return batch
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: _move(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_move(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_move(value, device) for value in batch)
    if hasattr(batch, "__dataclass_fields__"):
        changed = {name: _move(getattr(batch, name), device) for name in batch.__dataclass_fields__}
        return type(batch)(**changed)
    return batch
