"""Which failures of workers end a run on Ray; the controller's callback alone, without Ray."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from train.ray_failures import LOSSES, TRIES, RunFailed, Verdict
from train.saver import FolderSaver
from train.world import World

LOST = WorkerHealthCheckFailedError("a worker failed its health check", ActorDiedError())
BROKEN = RuntimeError("Connection closed by peer [10.0.0.7]:29500")


def verdict(run: Path) -> Verdict:
    run.mkdir(exist_ok=True)
    return Verdict(str(run))


def commit(run: Path, step: int) -> None:
    FolderSaver(str(run), World()).save(step, lambda folder: folder.mkdir(), None)


@pytest.mark.parametrize("error", [ValueError("x"), TypeError("x"), FloatingPointError("x"), KeyError("x")])
def test_an_error_that_cannot_pass_ends_the_run_at_once(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(RunFailed) as raised:
        verdict(tmp_path / "run").after_exception(None, {0: BROKEN, 1: error})
    assert raised.value.args == (error,)


@pytest.mark.parametrize("error", [BROKEN, OSError("no space left on device")])
def test_an_error_that_may_pass_ends_the_run_only_when_it_keeps_it_from_a_new_checkpoint(
    error: Exception, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    judge = verdict(run)
    for step in range(TRIES + 2):
        commit(run, step)
        judge.after_exception(None, {0: error})
    for _ in range(TRIES - 2):
        judge.after_exception(None, {0: error})
    with pytest.raises(RunFailed) as raised:
        judge.after_exception(None, {0: error})
    assert raised.value.args == (error,)


def test_a_lost_worker_is_worth_many_tries_whatever_the_others_say_of_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    judge = verdict(run)
    for _ in range(LOSSES - 1):
        judge.after_exception(None, {0: BROKEN, 1: LOST})
    commit(run, 1)
    for _ in range(LOSSES - 1):
        judge.after_exception(None, {1: LOST})
    with pytest.raises(RunFailed, match="10 workers were lost since step-00000001"):
        judge.after_exception(None, {1: LOST})


def test_failures_are_written_into_the_run_s_log(tmp_path: Path) -> None:
    run = tmp_path / "run"
    judge = verdict(run)
    commit(run, 7)
    judge.after_exception(None, {0: BROKEN, 1: LOST})
    (line,) = (run / "log.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["kind"], entry["step"]) == ("failed", 7)
    assert entry["workers"]["0"].startswith("RuntimeError: Connection closed")
    assert entry["workers"]["1"].startswith("WorkerHealthCheckFailedError: a worker failed")
