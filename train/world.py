"""The processes of a run: who am I, how many are we, and what do we agree on. Knows no Ray."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

GROUP_SECONDS = 1800
"""Longest wait of a process for another one, as when rank 0 validates; NCCL's own limit is ten minutes."""


@dataclass(frozen=True, kw_only=True)
class World:
    """One process among `size`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes checkpoints and progress."""
        return self.rank == 0

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """Return rank 0's flags in every process: clocks differ, decisions must not."""
        if self.size == 1:
            return flags
        told = torch.tensor(flags, dtype=torch.uint8, device=self.device)
        dist.broadcast(told, 0)
        return tuple(bool(flag) for flag in told.tolist())

    def share(self, value: Any) -> Any:
        """Return rank 0's value in every process."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, 0, device=self.device)
        return held[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank, in every process."""
        if self.size == 1:
            return [value]
        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, value)
        return held

    def means(self, sums: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
        """Return the mean of every quantity over what all processes counted."""
        gathered = self.gather((dict(sums), dict(counts)))
        names = sorted({name for part, _ in gathered for name in part})
        return {
            name: sum(s.get(name, 0.0) for s, _ in gathered) / sum(c.get(name, 0) for _, c in gathered)
            for name in names
        }

    def barrier(self) -> None:
        """Wait for all."""
        if self.size > 1:
            dist.barrier()


def open_world() -> World:
    """Return the world that torchrun set up in the environment, or that of a process on its own."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size > 1 and not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=GROUP_SECONDS))
    return World(rank=rank, size=size, device=device)


def close_world() -> None:
    """Leave the group of processes, so that none of them is waited for."""
    if dist.is_initialized():
        dist.destroy_process_group()
