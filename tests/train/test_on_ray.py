"""Runs on a real Ray cluster, whose workers and drivers are killed, added, taken away and told to stop."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from tests.unit.train import toy
from tests.unit.train.runs import held, run_of, same
from train import ray_control
from train.on_ray import Cluster, fit
from train.session import train_here
from train.settings import Settings
from vitron.weights import open_weights

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

PATIENCE = 600.0
"""Seconds: a shared machine may take long to start a process."""


def settings_of(seed: int, **changes: Any) -> Settings:
    """The toy's, with a seed by which the processes of a test are found again."""
    return dataclasses.replace(toy.SETTINGS, seed=seed, **changes)


def name_of(settings: Settings) -> str:
    """Every test has a run of its own: one that fails may leave its run on the cluster."""
    return f"run-{settings.seed}"


def undisturbed(folder: Path, settings: Settings) -> dict[str, torch.Tensor]:
    """The final state of the same run in this process."""
    train_here(run_of(str(folder), settings), say=lambda line: None)
    return held(folder)


def train(recipe: str, settings: Settings, storage: Path, workers: ray_control.Workers, **options: Any) -> None:
    cluster = Cluster(workers=workers, storage=str(storage), resize_seconds=1.0)
    name, address = name_of(settings), f"{toy.ADDRESS}:{recipe}"
    fit(address, "tiny", None, settings, cluster, name, say=lambda line: None, **options)


class Background:
    """A call in a thread; `end` waits for it and raises what it raised."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._error: BaseException | None = None

        def target() -> None:
            try:
                call()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=target, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the run did not end"
        if self._error:
            raise self._error

    def wait(self, ready: Callable[[], Any]) -> Any:
        """Wait until something holds, while the call goes on."""
        end = time.monotonic() + PATIENCE
        while not (found := ready()):
            if not self._thread.is_alive():
                self.end()
                raise AssertionError("the run ended early")
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)
        return found


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    """The run's log, by kind of record."""
    log = run / "log.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [entry for entry in entries if entry["kind"] == kind]


def newest(run: Path) -> int:
    """Steps done at the newest committed checkpoint."""
    latest = run / "latest"
    return int(latest.read_text().removeprefix("step-")) if latest.exists() else 0


def metrics() -> str:
    """What the node exports for Prometheus."""
    port = ray.nodes()[0]["MetricsExportPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def test_one_worker_trains_what_one_process_does_to_the_last_bit_though_it_is_killed(
    cluster: str, trace: Path, tmp_path: Path
) -> None:
    settings = settings_of(101)
    run = tmp_path / name_of(settings)
    training = Background(lambda: train("slow", settings, tmp_path, 1, trackers=("tensorboard",)))
    training.wait(lambda: newest(run) >= 8)
    training.wait(lambda: "ray_vitron_train_step{" in (text := metrics()) and 'run="run-101"' in text)
    (worker,) = toy.samples(trace, 101)
    os.kill(worker, signal.SIGKILL)
    training.end()
    (lost,), (resumed,) = records(run, "failed"), records(run, "resumed")
    assert "0" in lost["workers"] and resumed["step"] >= 8
    first, second = toy.samples(trace, 101).values()
    assert second == list(range(resumed["step"] * 16, 24 * 16))
    redone = len(first) - resumed["step"] * 16
    assert redone <= settings.save_steps * settings.batch, "more than one interval of checkpoints was redone"
    assert newest(run) == 24 and records(run, "train")[-1]["step"] == 24 and records(run, "val")[-1]["step"] == 24
    assert list((run / "tensorboard").glob("events.*"))
    weights = open_weights("tiny", run)
    assert weights.manifest()["step"] == 24 and weights.has("head") and weights.has("gligen_vae")
    assert same(held(run), undisturbed(tmp_path / "here", settings))


def test_a_run_follows_a_resize_at_the_next_boundary_and_no_sample_is_lost_or_repeated(
    cluster: str, trace: Path, tmp_path: Path
) -> None:
    settings = settings_of(103)
    run = tmp_path / name_of(settings)
    training = Background(lambda: train("slow", settings, tmp_path, 1))
    training.wait(lambda: toy.samples(trace, 103))
    ray_control.ask(run.name, 2)
    training.wait(lambda: len(toy.samples(trace, 103)) == 3)
    ray_control.ask(run.name, 1)
    training.end()
    assert [entry["workers"] for entry in records(run, "resumed")] == [2, 1]
    assert not records(run, "failed")
    processes = list(toy.samples(trace, 103).values())
    assert sorted(number for numbers in processes for number in numbers) == list(range(24 * 16))
    assert len(processes) == 4 and all(numbers == sorted(numbers) for numbers in processes)
    whole = undisturbed(tmp_path / "here", settings)
    for name, value in held(run).items():
        # Two workers add up the gradients of a step in another order; batch norm's statistics are each worker's own.
        if not name.startswith("buffer/"):
            torch.testing.assert_close(value, whole[name], atol=1e-5, rtol=1e-4)


def test_a_run_without_room_waits_for_another_size_and_an_elastic_one_takes_what_there_is(
    cluster: str, trace: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    options, settings = Cluster(workers=3, storage=str(tmp_path)), settings_of(105, steps=4)
    call = (f"{toy.ADDRESS}:recipe", "tiny", None, settings, options, name_of(settings))
    training = Background(lambda: fit(*call, say=said.append))
    training.wait(lambda: any("no room for 3" in line for line in said))
    ray_control.ask(name_of(settings), (1, 3))
    training.end()
    processes = toy.samples(trace, 105)
    assert len(processes) == 2, "the cluster has two CPUs"
    assert sorted(number for numbers in processes.values() for number in numbers) == list(range(4 * 16))


@contextmanager
def driver(settings: Settings, storage: Path) -> Iterator[subprocess.Popen[str]]:
    """A driver process of its own."""
    arguments = [f"{toy.ADDRESS}:slow", "--workers", "1", "--name", name_of(settings), "--storage", str(storage)]
    with subprocess.Popen(
        [sys.executable, "-m", "train", *arguments, "--no-track", "--set", f"seed={settings.seed}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    end = time.monotonic() + PATIENCE
    while newest(run) < step:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_run_survives_its_driver_and_goes_on_after_ctrl_c_and_without_ray(
    cluster: str, trace: Path, tmp_path: Path
) -> None:
    settings = settings_of(106)
    run = tmp_path / name_of(settings)
    with driver(settings, tmp_path) as killed:
        wait_for_step(killed, run, 4)
        killed.kill()
    with driver(settings, tmp_path) as stopped:
        wait_for_step(stopped, run, newest(run) + 4)
        stopped.send_signal(signal.SIGINT)
        output, _ = stopped.communicate(timeout=PATIENCE)
    assert stopped.returncode == 130, output
    at = newest(run)
    assert at < 24 and f"{run.name}: stopped after step {at}; the same command goes on" in output
    # Ray passes on what its own actors print when they are torn down.
    assert not any("Traceback" in line for line in output.splitlines() if " pid=" not in line)
    last = list(toy.samples(trace, 106).values())[-1]
    assert last[-1] + 1 == at * 16, "it trained on after its last checkpoint"
    assert same(undisturbed(run, settings), undisturbed(tmp_path / "here", settings))


def test_an_error_of_the_recipe_ends_the_run_at_once_and_is_named(cluster: str, trace: Path, tmp_path: Path) -> None:
    """Micro-batch 9 is computed by the second of two workers; both know why they stop."""
    settings = settings_of(107, save_steps=1)
    with pytest.raises(FloatingPointError, match=r"^step 3 not taken: loss size is nan in micro-batch 9$"):
        train("exploding", settings, tmp_path, 2)
    assert len(toy.samples(trace, 107)) == 2, "it was tried again"
    run = tmp_path / name_of(settings)
    assert newest(run) == 2 and len(records(run, "failed")) == 1


def test_a_run_has_one_driver(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_control, "TAKEN_SECONDS", 0.0)
    control = ray_control.begin("taken")
    with pytest.raises(ValueError, match="name: 'taken' is training on this cluster already"):
        ray_control.begin("taken")
    ray.kill(control)
    with pytest.raises(ValueError, match="name: 'nobody' is not training on this cluster"):
        ray_control.ask("nobody", 2)
