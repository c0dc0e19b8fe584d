"""What do loader processes give a run of the LLM's training?

`grounded-qa` of the tiny preset, the same batches with none, one and two loader processes beside the one that trains.
Every run is a new process; the ways are run in turn, in the other direction every second round. `data_share` is the
part of the time in which training waits for a batch; steps in which loaders start are left out.

Run: PYTHONPATH=. python benchmarks/train_loader.py --out benchmarks/train_loader.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.report import load, report
from train.recipe import Build, Job, Recipe
from train.recipes import find
from train.session import Run, train_here
from train.settings import Settings

WARM = 2
"""Steps at the start of a run that are not measured."""
WORKERS = (0, 1, 2)


def recipe() -> Recipe:
    """Step 2.3's, without validation: it is not what is measured."""
    base = find("grounded-qa")

    def make(build: Build) -> Job:
        job = base.make(build)
        return dataclasses.replace(job, validate=lambda: {job.score: 0.0}, draw=None)

    return dataclasses.replace(base, make=make)


def settings_of(steps: int, batch: int, workers: int) -> Settings:
    return dataclasses.replace(
        recipe().settings,
        **{"steps": steps, "batch": batch, "micro_batch": batch, "ema": 0.0, "log_seconds": 0.0, "precision": "fp32"},
        **{"validate_steps": 0, "save_seconds": 1e9, "loader_workers": workers},
    )


def run(settings: Settings) -> tuple[float, float]:
    """Return samples per second and the share of the time that was waited for data."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train_here(Run("bench", recipe(), settings, f"{folder}/bench"), say=lambda line: None)
        lines = Path(folder, "bench/log.jsonl").read_text().splitlines()
    records = [record for line in lines if (record := json.loads(line))["kind"] == "train"]
    measured = [record for record in records if record["step"] > WARM]
    seconds = [settings.batch / record["samples_per_s"] for record in measured]
    waited = sum(s * record["data_share"] for s, record in zip(seconds, measured, strict=True))
    return len(measured) * settings.batch / sum(seconds), waited / sum(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=14, help="steps of a run (default: 14)")
    parser.add_argument("--batch", type=int, default=20, help="samples of a step (default: 20)")
    parser.add_argument("--rounds", type=int, default=4, help="an even number gives both directions (default: 4)")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    speeds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    shares: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    before = load()
    for number in range(args.rounds):
        for workers in WORKERS if number % 2 == 0 else reversed(WORKERS):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                speed, share = pool.submit(run, settings_of(args.steps, args.batch, workers)).result()
            speeds[workers].append(round(speed, 2))
            shares[workers].append(round(share, 3))
            print(f"{workers} loader processes: {speed:.2f} samples/s, {100 * share:.1f} % waited", flush=True)
    result = {
        "steps": args.steps,
        "batch": args.batch,
        "rounds": args.rounds,
        "samples_per_s": speeds,
        "data_share": shares,
        "to_none": {
            workers: round(statistics.median(a / b for a, b in zip(speeds[workers], speeds[0], strict=True)), 3)
            for workers in WORKERS[1:]
        },
    }
    report(result, args.out, load_before=before)


if __name__ == "__main__":
    main()
