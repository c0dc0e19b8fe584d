"""The training loop: it owns optimizer, schedule, accumulation, checkpoints, validation and progress.

It knows neither Ray nor what is trained. The same loop runs in one process, under torchrun and in Ray Train's workers.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train import checkpoint
from train.optimizers import Average, Optimizers, schedule
from train.order import load, numbers_of, seed_of
from train.precision import mixed_precision
from train.progress import Meter, Progress, open_trackers
from train.recipe import Job, Recipe
from train.saver import FolderSaver, Saver
from train.settings import Settings
from train.strategy import Replicated, Sharded, agree_on_norm, shard
from train.world import World, open_world


class Trainer:
    """Trains one job to the end of its steps, from the newest checkpoint if there is one."""

    def __init__(
        self,
        recipe: Recipe,
        job: Job,
        settings: Settings,
        world: World,
        saver: Saver,
        progress: Progress,
        *,
        base: str,
    ) -> None:
        """Set a run up and load its newest checkpoint.

        Args:
            base: the weights that the job started from, by folder or preset, for the manifest.
        """
        self.recipe, self.job, self.settings, self.world = recipe, job, settings, world
        self.saver, self.progress, self.base = saver, progress, base
        self.step, self.seconds = 0, 0.0
        if settings.strategy == "fsdp":
            shard(job.objective)
        self.optimizers = Optimizers(job.objective, settings, recipe.rates, job.adam_names)
        self.average = Average(self.optimizers.named, settings.ema)
        self._score: float | None = None
        self._table()
        self._resume()
        kind = Sharded if settings.strategy == "fsdp" else Replicated
        self.strategy = kind(job.objective, settings, world)

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
            meter.samples += settings.batch
            now, done = time.monotonic(), self.step == settings.steps
            due = self.step % settings.save_steps == 0 if settings.save_steps else now - saved > settings.save_seconds
            log, save, go = self.world.agree(now - meter.since > settings.log_seconds, due, leave())
            check = done or bool(settings.validate_steps and self.step % settings.validate_steps == 0)
            if log or done or go:
                self.progress.line(self.step, meter, norm, factor)
                meter.reset()
            if check:
                self._validate()
            if save or done or go or check:
                self.seconds += time.monotonic() - saved
                self.save()
                saved = time.monotonic()
                meter.reset()
            if go and not done:
                return False
        return True

    def save(self) -> None:
        """Write a checkpoint."""
        state = checkpoint.gather(self.job.objective, self.optimizers, self.average)
        manifest = self._manifest()
        metrics = {"step": float(self.step), **({"score": self._score} if self._score is not None else {})}
        self.saver.save(
            self.step,
            lambda folder: checkpoint.write(folder, self.job.objective, state, manifest),
            metrics,
            self._score,
        )

    def _batches(self) -> Any:
        steps = range(self.step, self.settings.steps)
        numbers = [n for step in steps for n in numbers_of(step, self.settings.micro_batches, self.world)]
        return load(self.job.batches, numbers, self.settings.loader_workers)

    def _update(self, batches: Any, meter: Meter) -> tuple[float, float]:
        """Take one optimizer step; return the gradient's norm and the factor on the rates."""
        self.optimizers.clear()
        numbers = numbers_of(self.step, self.settings.micro_batches, self.world)
        losses: dict[str, float] = {}
        for number in numbers:
            since = time.monotonic()
            batch = _move(next(batches), self.world.device)
            meter.waited += time.monotonic() - since
            losses = self._backward(number, batch, last=number == numbers[-1])
            meter.add(losses)
        norm = self.strategy.clip(self.optimizers, self.settings.clip)
        agree_on_norm(norm, losses, self.step)
        factor = self.optimizers.step(self.step)
        self.average.update(self.step)
        return norm, factor

    def _backward(self, number: int, batch: Any, *, last: bool) -> dict[str, float]:
        torch.manual_seed(seed_of(self.settings.seed, number))
        with self.strategy.unshared(last):
            with self._precision():
                losses = self.strategy.losses(batch)
            self.strategy.backward(torch.stack([value.float() for value in losses.values()]).sum(), last=last)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _precision(self) -> Any:
        if self.settings.precision == "fp32":
            return nullcontext()
        if self.settings.precision == "bf16":
            return torch.autocast(self.world.device.type, torch.bfloat16)
        return mixed_precision(self.world.device.type)

    def _validate(self) -> None:
        """Measure averaged weights on held-out samples and draw some; the other workers wait at the checkpoint."""
        if self.settings.strategy == "fsdp" or self.world.first:
            objective = self.job.objective.eval()
            with self.average, torch.no_grad():
                metrics = dict(self.job.validate())
                if self.world.first and self.job.draw:
                    folder = self.progress.folder / "samples"
                    folder.mkdir(exist_ok=True)
                    self.job.draw(folder)
                    self.progress.pictures(self.step, folder)
            objective.train()
            self._score = metrics[self.job.score]
            self.progress.record(self.step, metrics, "val")
            if self.world.first:
                self.progress.say(f"val {self.step} | " + " ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        self.world.barrier()

    def _resume(self) -> None:
        folder = self.saver.latest()
        if folder is None:
            return
        manifest = checkpoint.read(folder, self.job.objective, self.optimizers, self.average)
        self.step, self.seconds = int(manifest["step"]), float(manifest["seconds"])
        self._score = manifest["score"].get(self.job.score)
        if self.world.first:
            self.progress.say(f"resumed at step {self.step} from {folder.name}")
            self.progress.record(self.step, {"workers": self.world.size}, "resumed")

    def _manifest(self) -> Mapping[str, Any]:
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
            "score": {self.job.score: self._score},
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
            source = "new" if name in self.job.new else self.base
            say(f"{name:<20} {every:>12,} {trained:>12,} {rate:>9.1e}  {source}")
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


def train_here(
    recipe: Recipe,
    weights: Any,
    settings: Settings,
    out: str,
    *,
    trackers: tuple[str, ...] = (),
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train without Ray: in this process, or in this one of torchrun's; return the folder of logs and samples.

    Args:
        recipe: what to train.
        weights: a `Weights` to start from.
        settings: the numbers.
        out: folder of the run, on any fsspec file system; logs stay on this machine if that is remote.
        trackers: names of trackers beside the JSONL log.
        say: takes progress lines; default: standard output.
    """
    world = open_world()
    folder = Path(out) if "://" not in out else Path(tempfile.mkdtemp(prefix="vitron-run-"))
    opened = open_trackers(trackers, folder, Path(out).name) if world.first else []
    progress = Progress(folder, world, settings.steps, opened, say=say or _print)
    saver = FolderSaver(out, world, settings.keep)
    job = recipe.build(weights, settings, world.device)
    Trainer(recipe, job, settings, world, saver, progress, base=str(weights.folder)).run()
    progress.close()
    return folder


def _print(line: str) -> None:
    print(line, flush=True)
