"""Nodes that join and are lost, and one of several workers that is killed."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.train.nodes import SETTINGS
from tests.train.test_on_ray import PATIENCE, newest, records, undisturbed
from tests.unit.train import toy
from tests.unit.train.runs import held

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
SEED = 109


def test_an_elastic_run_follows_nodes_and_redoes_one_interval_at_most(trace: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, seed=SEED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "5")
        patch.delenv("RAY_ADDRESS", raising=False)
        done = subprocess.run(
            [sys.executable, "-m", "tests.train.nodes", str(tmp_path), str(SEED)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / f"run-{SEED}"
    assert newest(run) == settings.steps
    resumed = records(run, "resumed")
    assert [entry["workers"] for entry in resumed] == [2, 2, 1]
    assert len(records(run, "failed")) >= 2, "a lost worker and a lost node are both told"
    every = [number for numbers in toy.samples(trace, SEED).values() for number in numbers]
    assert set(every) == set(range(settings.steps * settings.batch)), "a sample was lost"
    # Whoever was cut off may have begun one step beyond its interval.
    most = len(resumed) * (settings.save_steps + 1) * settings.batch
    assert len(every) - len(set(every)) <= most, "more than an interval of checkpoints was redone"
    whole = undisturbed(tmp_path / "here", settings)
    for name, value in held(run).items():
        if not name.startswith("buffer/"):  # batch norm's statistics are each worker's own
            torch.testing.assert_close(value, whole[name], atol=1e-4, rtol=1e-3)
