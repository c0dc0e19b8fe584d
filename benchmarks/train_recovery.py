"""How long does a run on Ray stand still when a worker is killed, and how much does it do again?

A run of the tiny preset's autoencoder on one worker with one thread; after a checkpoint its process gets SIGKILL,
several times. From the run's log: seconds from the kill until the controller notices, from there until the new worker
has loaded the checkpoint, and until its first step is done; and the steps that were done twice. Starting a process that
imports torch is most of it: look at the loads that are reported.

Run: PYTHONPATH=. python benchmarks/train_recovery.py --out benchmarks/train_recovery.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ray

from benchmarks.report import load, report
from benchmarks.train_overhead import local_ray, settings_of
from benchmarks.train_overhead import recipe as base_recipe
from train.on_ray import Cluster, fit
from train.recipe import Build, Job, Recipe

ADDRESS = "benchmarks.train_recovery:recipe"
PID_FILE = "VITRON_BENCH_PID"
SAVE_STEPS = 5


def recipe(preset: str) -> Recipe:
    """The autoencoder's, which leaves the number of its process in a file."""
    base = base_recipe(preset)

    def make(build: Build) -> Job:
        Path(os.environ[PID_FILE]).write_text(str(os.getpid()))
        return base.make(build)

    return dataclasses.replace(base, name=ADDRESS, make=make)


def records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def kill_after_checkpoint(log: Path, pid: Path, number: int, run: threading.Thread) -> float:
    """Wait until the run has taken two steps more than a checkpoint since the last kill; kill its worker, say when."""
    while run.is_alive():
        found = records(log)
        since = [index for index, record in enumerate(found) if record["kind"] == "resumed"]
        steps = [record["step"] for record in found[since[-1] if since else 0 :] if record["kind"] == "train"]
        if len(since) == number and len(steps) > SAVE_STEPS + 2:
            os.kill(int(pid.read_text()), signal.SIGKILL)
            return time.time()
        time.sleep(0.2)
    raise SystemExit("the run ended before all of its kills; its error is above")


def measure(found: list[dict[str, Any]], killed: list[float]) -> list[dict[str, float]]:
    """Read every kill's times from the log."""
    kills: list[dict[str, float]] = []
    for index, record in enumerate(found):
        if record["kind"] == "failed":
            before = max(other["step"] for other in found[:index] if other["kind"] == "train")
            resumed, first = (
                next(other for other in found[index:] if other["kind"] == kind) for kind in ("resumed", "train")
            )
            kills.append(
                {
                    "noticed_after_s": round(record["time"] - killed[len(kills)], 1),
                    "resumed_after_s": round(resumed["time"] - record["time"], 1),
                    "first_step_after_s": round(first["time"] - record["time"], 1),
                    "steps_done_again": before - resumed["step"],
                }
            )
    return kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    steps = (args.kills + 1) * 3 * SAVE_STEPS
    before = load()
    settings = dataclasses.replace(settings_of(steps, args.batch), save_steps=SAVE_STEPS)
    with tempfile.TemporaryDirectory() as storage:
        pid, log = Path(storage) / "pid", Path(storage) / "run" / "log.jsonl"
        os.environ[PID_FILE] = str(pid)
        with local_ray():
            cluster = Cluster(workers=1, storage=storage)
            run = threading.Thread(
                daemon=True,
                target=fit,
                args=(ADDRESS, "tiny", None, settings, cluster, "run"),
                kwargs={"say": lambda line: None},
            )
            run.start()
            killed = [kill_after_checkpoint(log, pid, number, run) for number in range(args.kills)]
            run.join()
        kills = measure(records(log), killed)
    result = {
        "kills": kills,
        "median_noticed_after_s": statistics.median(kill["noticed_after_s"] for kill in kills),
        "median_resumed_after_s": statistics.median(kill["resumed_after_s"] for kill in kills),
        "most_steps_done_again": max(kill["steps_done_again"] for kill in kills),
        "steps_between_checkpoints": SAVE_STEPS,
        "ray": ray.__version__,
    }
    report(result, args.out, load_before=before)


if __name__ == "__main__":
    main()
