"""What each of two processes under torchrun does in the tests: run after run of the toy, as many as are asked for.

    torchrun --nproc-per-node 2 -m tests.train.two_processes STORAGE NAME:STRATEGY:UNTIL ...

A strategy may end with ZeRO's stage. UNTIL is the step after which the run stops; 0: its last. A run that is named
twice goes on where the first left off.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any

import torch.distributed as dist

from tests.unit.train import toy
from train.session import Run, take_part
from train.settings import Settings
from train.world import World

STEPS = 6


def settings_of(strategy: Any = "ddp", stage: int = 3, **changes: Any) -> Settings:
    """Of all runs that are compared with each other."""
    plain = dataclasses.replace(toy.SETTINGS, steps=STEPS, ema=0.0, save_steps=0)
    return dataclasses.replace(plain, strategy=strategy, zero_stage=stage, **changes)


class Until:
    """Leaves at the boundary after a step."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    def __call__(self) -> bool:
        self._left -= 1
        return self._left == 0


def open_group(plans: list[str]) -> World:
    """Join the processes that torchrun started."""
    if any("deepspeed" in plan for plan in plans):
        import deepspeed.ops

        # Gloo's collectives will do: DeepSpeed would compile its own for a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    dist.init_process_group("gloo")
    return World(rank=dist.get_rank(), size=dist.get_world_size())


def leave() -> None:
    """End this process when all have come here."""
    dist.barrier()
    # DeepSpeed's threads can outlive the interpreter's end.
    sys.stdout.flush()
    os._exit(0)


def main(storage: str, plans: list[str]) -> None:
    """Train all plans one after the other."""
    world = open_group(plans)
    for plan in plans:
        name, strategy, until = plan.split(":")
        changes = {"ema": 0.9, "muon_lr": 0.01} if name.startswith("muon") else {}
        kind = strategy.rstrip("123")
        settings = settings_of(kind, int(strategy.removeprefix(kind) or 3), **changes)
        recipe = toy.seldom if name.startswith("seldom") else toy.deep
        run = Run(name, recipe("tiny"), settings, f"{storage}/{name}")
        take_part(run, world, Until(int(until)))
    leave()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
