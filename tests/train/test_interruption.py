"""Processes without Ray that are killed or told to stop, and what the same command makes of it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.unit.train import toy
from tests.unit.train.runs import held, run_of, same
from train.session import train_here
from train.stopping import Interrupted, Signals

pytestmark = pytest.mark.slow
PATIENCE = 600.0
PLAIN = (sys.executable, "-m", "train")


def start(storage: Path, *launcher: str) -> subprocess.Popen[str]:
    arguments = [f"{toy.ADDRESS}:slow", "--name", "run", "--storage", str(storage), "--no-track"]
    return subprocess.Popen(
        [*launcher, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def at(storage: Path) -> int:
    """Steps done at the newest checkpoint."""
    latest = storage / "run/latest"
    return int(latest.read_text().removeprefix("step-")) if latest.exists() else 0


def wait(process: subprocess.Popen[str], storage: Path, step: int) -> None:
    end = time.monotonic() + PATIENCE
    while at(storage) < step:
        assert process.poll() is None and time.monotonic() < end, process.communicate(timeout=10)[0]
        time.sleep(0.02)


def test_a_killed_process_and_a_stopped_one_leave_what_the_next_goes_on_from(tmp_path: Path) -> None:
    killed = start(tmp_path, *PLAIN)
    wait(killed, tmp_path, 4)
    killed.kill()
    killed.communicate()
    stopped = start(tmp_path, *PLAIN)
    wait(stopped, tmp_path, at(tmp_path) + 4)
    stopped.send_signal(signal.SIGINT)
    output, _ = stopped.communicate(timeout=PATIENCE)
    assert stopped.returncode == 130
    assert f"run: stopped after step {at(tmp_path)}; the same command goes on from there" in output
    assert "Traceback" not in output and at(tmp_path) < 24
    train_here(run_of(str(tmp_path / "run")), say=lambda line: None)
    train_here(run_of(str(tmp_path / "whole")), say=lambda line: None)
    assert same(held(tmp_path / "run"), held(tmp_path / "whole"))
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert kinds.count("resumed") == 2 and "val" in kinds


def test_torchrun_that_is_told_to_stop_leaves_a_checkpoint_that_one_process_goes_on_from(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    process = start(tmp_path, *launcher, "-m", "train")
    wait(process, tmp_path, 4)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE)
    assert f"run: stopped after step {at(tmp_path)}" in output
    assert 4 <= at(tmp_path) < 24
    train_here(run_of(str(tmp_path / "run")), say=lambda line: None)
    train_here(run_of(str(tmp_path / "whole")), say=lambda line: None)
    whole = held(tmp_path / "whole")
    for name, value in held(tmp_path / "run").items():
        if not name.startswith("buffer/"):  # batch norm's statistics are each worker's own
            torch.testing.assert_close(value, whole[name], atol=1e-5, rtol=1e-4)


def test_a_notebook_can_stop_a_run_and_go_on(tmp_path: Path) -> None:
    settings = dataclasses.replace(toy.SETTINGS, steps=6)

    def say(line: str) -> None:
        if line.startswith("6 steps"):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="toy: stopped after step 1; the same command goes on"):
        train_here(run_of(str(tmp_path / "a"), settings), say=say)
    train_here(run_of(str(tmp_path / "a"), settings), say=lambda line: None)
    train_here(run_of(str(tmp_path / "b"), settings), say=lambda line: None)
    assert same(held(tmp_path / "a"), held(tmp_path / "b"))


def test_a_second_signal_after_a_moment_ends_the_process_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process that was started in the background may have been told to ignore the signal.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # torchrun passes on what the terminal has sent
        assert signals() and signals.status == 130
        monkeypatch.setattr(Signals, "SAME_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, inherited)
