"""What does training on Ray cost, and what does a second worker give?

The autoencoder of the tiny preset is trained on Shapes pictures, with the same batches in three ways: a plain PyTorch
loop, one worker of Ray Train, and two workers with the same global batch. Every run has new processes with one thread
each and the cluster beside it. The three are run in turn, in the other direction every second round, and the median of
the rounds' ratios is reported, because a shared machine drifts; the first steps of every run are left out, and so are
validation and checkpoints. Both ratios need a machine with two idle cores: look at the loads that are reported.

Run: PYTHONPATH=. python benchmarks/train_overhead.py --out benchmarks/train_overhead.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import ray
import torch

from benchmarks.report import load, report
from train.on_ray import Cluster, fit
from train.recipe import Build, Job, Recipe
from train.recipes import find
from train.settings import Settings
from vitron.weights import ASSETS, Weights

ADDRESS = "benchmarks.train_overhead:recipe"
WARM = 2
"""Steps at the start of a run that are not measured."""


def recipe(preset: str) -> Recipe:
    """The autoencoder's, without validation: it is not what is measured."""
    base = find("vae", preset)

    def make(build: Build) -> Job:
        job = base.make(build)
        return dataclasses.replace(job, validate=lambda: {job.score: 0.0}, draw=None)

    return dataclasses.replace(base, name=ADDRESS, make=make)


def settings_of(steps: int, batch: int) -> Settings:
    return dataclasses.replace(
        recipe("tiny").settings,
        **{"steps": steps, "batch": batch, "micro_batch": batch // 2, "muon_lr": 0.0, "ema": 0.0, "log_seconds": 0.0},
        **{"validate_steps": 0, "precision": "fp32", "save_seconds": 1e9},
    )


def plain(settings: Settings) -> float:
    """Return the samples per second of the loop that a researcher writes first."""
    torch.set_num_threads(1)
    job = recipe("tiny").build(Weights(ASSETS / "tiny"), settings)
    parameters = [parameter for parameter in job.objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, betas=settings.betas)
    job.objective.train()
    for step in range(settings.steps):
        if step == WARM:
            started = time.perf_counter()
        optimizer.zero_grad()
        for micro in range(settings.micro_batches):
            losses = job.objective(job.batches(step * settings.micro_batches + micro))
            (sum(losses.values()) / settings.micro_batches).backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
    return (settings.steps - WARM) * settings.batch / (time.perf_counter() - started)


def in_new_process(settings: Settings) -> float:
    """Run the plain loop as the workers are run: with cold caches, and every library with one thread."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(plain, settings).result()


def on_ray(settings: Settings, workers: int) -> float:
    """Return the samples per second of a run on Ray, by the times of its log's records."""
    with tempfile.TemporaryDirectory() as storage:
        cluster = Cluster(workers=workers, storage=storage)
        fit(ADDRESS, "tiny", None, settings, cluster, f"bench-{workers}", say=lambda line: None)
        log = Path(storage) / f"bench-{workers}" / "log.jsonl"
        records = [json.loads(line) for line in log.read_text().splitlines()]
    times = {record["step"]: record["time"] for record in records if record["kind"] == "train"}
    return (settings.steps - WARM) * settings.batch / (times[settings.steps] - times[WARM])


WAYS: dict[str, Callable[[Settings], float]] = {
    "plain": in_new_process,
    "one worker": lambda settings: on_ray(settings, 1),
    "two workers": lambda settings: on_ray(settings, 2),
}


@contextmanager
def local_ray() -> Iterator[None]:
    """A cluster of this process alone, of two CPUs."""
    os.environ.update({"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"})
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory(prefix="vitron-bench-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init(address="local", _temp_dir=folder, num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=20, help="steps of a run (default: 20)")
    parser.add_argument("--batch", type=int, default=16, help="samples of a step (default: 16)")
    parser.add_argument("--rounds", type=int, default=4, help="an even number gives both directions (default: 4)")
    args = parser.parse_args()
    settings = settings_of(args.steps, args.batch)
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    before = load()
    with local_ray():
        for number in range(args.rounds):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                speed = WAYS[way](settings)
                speeds[way].append(round(speed, 2))
                print(f"{way}: {speed:.2f} samples/s", flush=True)
    result = {
        "steps": args.steps,
        "batch": args.batch,
        "rounds": args.rounds,
        "ray": ray.__version__,
        "samples_per_s": speeds,
        "one_worker_to_plain": ratios(speeds["one worker"], speeds["plain"]),
        "two_workers_to_one": ratios(speeds["two workers"], speeds["one worker"]),
    }
    report(result, args.out, load_before=before)


def ratios(these: list[float], those: list[float]) -> dict[str, float]:
    found = [a / b for a, b in zip(these, those, strict=True)]
    return {
        "median": round(statistics.median(found), 3),
        "least": round(min(found), 3),
        "most": round(max(found), 3),
    }


if __name__ == "__main__":
    main()
