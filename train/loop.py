"""The training loop's core: resumable, one process, no Ray.

A recipe hands over its parts and a function that returns the losses of one step; the loop owns the optimizer, the
schedule, checkpoints and progress. The data of a step depend on the step number alone, so that a resumed run sees
exactly the samples of an undisturbed one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from train.muon import Muon

Losses = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How to train.

    Attributes:
        out: folder of checkpoints and logs.
        steps: optimizer steps of the whole run.
        batch: samples a step, for the samples/s figure only.
        lr, warmup, floor: AdamW's peak rate, steps to reach it, and the fraction of it where the cosine ends.
        muon_lr: peak rate of Muon for inner matrices (0: AdamW trains them too).
        adam_names: matrices whose name holds one of these stay with AdamW: first and last layers, embeddings.
        weight_decay: AdamW's, on matrices only.
        clip: largest gradient norm.
        ema: decay of an average of the weights (0: none); the average is what is exported.
        save_seconds, log_seconds: intervals.
    """

    out: Path
    steps: int
    batch: int
    lr: float = 1e-3
    muon_lr: float = 0.0
    adam_names: tuple[str, ...] = ()
    warmup: int = 200
    floor: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.0
    save_seconds: float = 150.0
    log_seconds: float = 20.0


class Loop:
    """Trains `parts`; see `run`."""

    def __init__(self, parts: Mapping[str, nn.Module], config: LoopConfig) -> None:
        self.parts, self.config = dict(parts), config
        self.step = 0
        self.seconds = 0.0
        named = [(n, p) for k, m in self.parts.items() for n, p in m.named_parameters(k) if p.requires_grad]
        self.names = [n for n, _ in named]
        self.parameters = [p for _, p in named]
        self.optimizers = make_optimizers(named, config)
        self.peaks = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        self.average = [p.detach().clone() for p in self.parameters] if config.ema else []
        config.out.mkdir(parents=True, exist_ok=True)

    def run(
        self,
        losses: Callable[[int], Losses],
        on_save: Callable[[int], Mapping[str, float]] | None = None,
    ) -> None:
        """Train to `config.steps`, resuming from `out/last.pt` if it is there.

        Args:
            losses: step number -> parts of the loss; their sum is minimised.
            on_save: called after every checkpoint with averaged weights in place; returns metrics to log.
        """
        self._resume()
        started = saved = logged = time.monotonic()
        first, window = self.step, 0
        while self.step < self.config.steps:
            parts = losses(self.step)
            norm = self._update(parts)
            self.step += 1
            window += 1
            now = time.monotonic()
            if now - logged > self.config.log_seconds or self.step == self.config.steps:
                rate = window * self.config.batch / (now - logged)
                eta = (self.config.steps - self.step) * (now - started) / (self.step - first)
                self._log({k: v.item() for k, v in parts.items()}, norm, rate, eta)
                logged, window = now, 0
            if now - saved > self.config.save_seconds or self.step == self.config.steps:
                self.seconds += now - saved
                self.save()
                if on_save:
                    with self.averaged():
                        self._write({"step": self.step, **on_save(self.step)})
                saved = time.monotonic()

    def _update(self, parts: Losses) -> float:
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, peak in zip(groups, self.peaks, strict=True):
            group["lr"] = peak * self._schedule()
        total = torch.stack([value.float() for value in parts.values()]).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"step {self.step}: loss is not finite: { {k: v.item() for k, v in parts.items()} }"
            )
        for parameter in self.parameters:
            parameter.grad = None
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip).item()
        for optimizer in self.optimizers:
            optimizer.step()
        if self.average:
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        return norm

    def _schedule(self) -> float:
        if self.step < self.config.warmup:
            return (self.step + 1) / self.config.warmup
        done = (self.step - self.config.warmup) / max(1, self.config.steps - self.config.warmup)
        floor = self.config.floor
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def averaged(self) -> _Averaged:
        """Return a context in which the parts hold the averaged weights (if averaging is on)."""
        return _Averaged(self.parameters, self.average)

    def save(self) -> None:
        """Write `last.pt` atomically: parts, optimizer, average, step, configuration."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": dict(zip(self.names, self.average, strict=False)),
            "config": {k: str(v) for k, v in asdict(self.config).items()},
        }
        target = self.config.out / "last.pt"
        torch.save(state, target.with_suffix(".tmp"))
        os.replace(target.with_suffix(".tmp"), target)

    def _resume(self) -> None:
        path = self.config.out / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        for name, mine in zip(self.names, self.average, strict=False):
            mine.copy_(state["average"][name])
        self.step, self.seconds = state["step"], state["seconds"]
        self._write({"resumed_at": self.step})

    def _log(self, parts: Mapping[str, float], norm: float, rate: float, eta: float) -> None:
        lr = self.optimizers[-1].param_groups[0]["lr"]
        values = " ".join(f"{name} {value:.4f}" for name, value in parts.items())
        percent = 100 * self.step / self.config.steps
        print(
            f"step {self.step}/{self.config.steps} {percent:.1f}% | {values} | norm {norm:.2f} | lr {lr:.1e} | "
            f"{rate:.1f} samples/s | eta {eta / 60:.1f} min",
            flush=True,
        )
        self._write({"step": self.step, **parts, "norm": norm, "lr": lr, "samples_per_s": rate, "eta_s": eta})

    def _write(self, record: Mapping[str, float]) -> None:
        with (self.config.out / "log.jsonl").open("a") as file:
            file.write(json.dumps({"time": time.time(), **record}) + "\n")


class _Averaged:
    """Swaps averaged weights in and back out."""

    def __init__(self, parameters: list[nn.Parameter], average: list[Tensor]) -> None:
        self.parameters, self.average = parameters, average

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *exc: object) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self.parameters, self.average, strict=False):
            current = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(current)


def make_optimizers(named: list[tuple[str, nn.Parameter]], config: LoopConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for inner matrices (if it has a rate) and AdamW for the rest; AdamW is last.

    Vectors (norms, biases) and embeddings are not decayed.
    """
    keep = ("embed", *config.adam_names)
    inner = [p for n, p in named if config.muon_lr and p.ndim > 1 and not any(k in n for k in keep)]
    taken = {id(p) for p in inner}
    rest = [(n, p) for n, p in named if id(p) not in taken]
    decayed = [p for n, p in rest if p.ndim > 1 and "embed" not in n]
    kept = [p for n, p in rest if p.ndim <= 1 or "embed" in n]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))
    return [Muon(inner, config.muon_lr), adam] if inner else [adam]


def load_parts(parts: Mapping[str, nn.Module], run: Path) -> None:
    """Start `parts` from another run's checkpoint and say which of them are new."""
    stored = torch.load(run / "last.pt", map_location="cpu", weights_only=True)["parts"]
    for name, part in parts.items():
        print(f"{name}: {'from ' + str(run) if name in stored else 'new'}", flush=True)
        if name in stored:
            part.load_state_dict(stored[name])


def arguments(description: str | None, **defaults: float | str) -> argparse.ArgumentParser:
    """Return the parser that every recipe shares: --out, --steps, --batch, --lr and what it adds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and logs")
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help="default: %(default)s")
    return parser


def one_thread() -> None:
    """Run torch on one thread: two processes on two cores beat one process on two (measured)."""
    torch.set_num_threads(1)
