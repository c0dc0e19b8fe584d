"""What each of two processes under torchrun does in the tests of the LLM's recipes: run after run of a twin preset.

    torchrun --nproc-per-node 2 -m tests.train.two_llms FOLDER NAME:PRESET:RECIPE:STRATEGY ...

FOLDER holds `weights` to start from and the `stock` LLM.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.train.two_processes import leave, open_group
from tests.unit.train.language_presets import QUICK, register
from train.recipes import find
from train.session import Run, take_part

DATA = "caption=1,region_caption=1,segment_text=1,generate=1,video_qa=1,track_text=1"
"""Single requests, so that every micro-batch is one pass through the LLM, as FSDP and ZeRO need it."""


def run_of(folder: Path, plan: str) -> Run:
    """Return the run that a plan names."""
    name, kind, recipe, strategy = plan.split(":")
    made = find(recipe, kind)
    changes = {"data": DATA, "strategy": strategy, "zero_stage": "1", "muon_lr": "0"}  # ZeRO has no Muon
    settings = made.settings.changed({**QUICK, **changes})
    return Run(name, made, settings, str(folder / name), str(folder / "weights"))


def main(folder: Path, plans: list[str]) -> None:
    """Train all plans one after the other."""
    world = open_group(plans)
    register(pytest.MonkeyPatch(), folder / "stock")
    for plan in plans:
        take_part(run_of(folder, plan), world, lambda: False)
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
