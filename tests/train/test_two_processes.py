"""Two processes that share a run: under torchrun, by DDP, FSDP2 or DeepSpeed's ZeRO."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from safetensors.torch import load_file

from tests.train.two_processes import STEPS, settings_of
from tests.unit.train import toy
from tests.unit.train.runs import WEIGHTS, held, run_of
from train.optimizers import Optimizers
from train.session import train_here
from train.settings import Settings
from train.world import World
from train.zero import Zero

pytestmark = pytest.mark.slow
TOLERANCE = {"atol": 1e-5, "rtol": 1e-4}
"""Two workers add up a step's gradient in another order than one."""

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="the extra `deepspeed` is not installed"
)


def torchrun(storage: Path, *plans: str, module: str = "tests.train.two_processes") -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    done = subprocess.run(
        [*launcher, "-m", module, str(storage), *plans],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def alone(folder: Path, settings: Settings) -> None:
    """The same run in this process."""
    train_here(run_of(str(folder), settings, toy.deep), say=lambda line: None)


def compare(run: Path, other: Path, *parts: str) -> None:
    """State and served parts of two runs have one layout and, but for rounding, one content."""
    pairs = [(held(run), held(other))]
    for part in ("head", "tail", *parts):
        name = f"step-{STEPS:08d}/{part}.safetensors"
        pairs.append((load_file(run / name), load_file(other / name)))
    for a, b in pairs:
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            torch.testing.assert_close(a[name], b[name], **TOLERANCE)  # type: ignore[call-overload]


def test_two_processes_train_as_one_whatever_the_strategy_and_go_on_from_each_other(tmp_path: Path) -> None:
    torchrun(
        tmp_path,
        *("ddp:ddp:0", "fsdp:fsdp:0", "muon-ddp:ddp:0", "muon-fsdp:fsdp:0"),
        *("there:ddp:3", "there:fsdp:0", "back:fsdp:3", "back:ddp:0", "less:fsdp:3"),
        *("seldom-ddp:ddp:0", "seldom-fsdp:fsdp:0"),
    )
    alone(tmp_path / "one", settings_of())
    # A part that only the second worker's micro-batches run.
    train_here(run_of(str(tmp_path / "seldom"), settings_of(), toy.seldom), say=lambda line: None)
    for name in ("seldom-ddp", "seldom-fsdp"):
        compare(tmp_path / name, tmp_path / "seldom", "extra")
    alone(tmp_path / "less", settings_of("fsdp"))  # one process has nothing to divide
    for name in ("ddp", "fsdp", "there", "back", "less"):
        compare(tmp_path / name, tmp_path / "one")
    alone(tmp_path / "muon", settings_of(ema=0.9, muon_lr=0.01))
    for name in ("muon-ddp", "muon-fsdp"):
        compare(tmp_path / name, tmp_path / "muon")


@needs_deepspeed
def test_deepspeed_trains_as_one_process_does_and_checkpoints_in_the_same_layout(tmp_path: Path) -> None:
    torchrun(
        tmp_path,
        *("zero1:deepspeed1:0", "zero2:deepspeed2:0", "zero3:deepspeed3:0"),
        *("there:ddp:3", "there:deepspeed3:0", "back:deepspeed2:3", "back:ddp:0", "less:deepspeed3:3"),
    )
    alone(tmp_path / "one", settings_of())
    alone(tmp_path / "less", settings_of("deepspeed"))
    for name in ("zero1", "zero2", "zero3", "there", "back", "less"):
        compare(tmp_path / name, tmp_path / "one")


def test_deepspeed_does_not_go_on_from_muon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", MagicMock())
    settings, recipe = settings_of("deepspeed"), toy.deep("tiny")
    job = recipe.build(WEIGHTS, settings)
    zero = Zero(job, Optimizers(job.objective, settings, recipe.rates, ()), settings, World())
    with pytest.raises(ValueError, match=r"muon_lr: got 0.0, but head.first.weight was trained by Muon in the checkp"):
        zero.load({"tail.bias/step": torch.tensor(3.0), "head.first.weight/momentum": torch.zeros(32, 8)})


def test_deepspeed_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    settings, recipe = settings_of("deepspeed"), toy.deep("tiny")
    job = recipe.build(WEIGHTS, settings)
    optimizers = Optimizers(job.objective, settings, recipe.rates, ())
    with pytest.raises(ModuleNotFoundError, match="strategy: deepspeed is not installed: DS_BUILD_OPS=0 pip install"):
        Zero(job, optimizers, settings, World())
    with pytest.raises(ValueError, match="zero_stage: got 3, expected 1: not every micro-batch runs head, and"):
        Zero(dataclasses.replace(job, occasional=frozenset({"head"})), optimizers, settings, World())
