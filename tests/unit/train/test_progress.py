"""What a run tells while it goes on: lines, the JSONL file, trackers."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from tests.unit.train import toy
from tests.unit.train.runs import make_trainer, run_of
from train.progress import Meter, Progress
from train.recipe import Job, Recipe
from train.session import train_here
from train.trackers import Mlflow, Wandb, check_trackers, open_trackers
from train.world import World

EAGER = dataclasses.replace(toy.SETTINGS, steps=4, log_seconds=0.0, save_steps=1)
LINE = re.compile(
    r"step (\d)/4 (\d+\.0)% \| loss [\d.]+ \| mse [\d.]+ size [\d.]+ \| norm [\d.]+ \| "
    r"lr ([\d.e-]+) \| [\d.]+ samples/s \| eta \d+ s"
)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def drawing(preset: str) -> Recipe:
    """The toy, with a picture."""

    def make(build: Any) -> Job:
        return dataclasses.replace(toy.make(build), draw=lambda at: Image.new("RGB", (8, 8)).save(at / "grid.png"))

    return dataclasses.replace(toy.recipe(preset), make=make)


def test_every_interval_has_a_line_and_a_record(tmp_path: Path) -> None:
    lines: list[str] = []
    make_trainer(tmp_path, EAGER, say=lines.append).run()
    found = [match.groups() for line in lines if (match := LINE.fullmatch(line))]
    assert [step for step, _, _ in found] == ["1", "2", "3", "4"]
    assert [percent for _, percent, _ in found] == ["25.0", "50.0", "75.0", "100.0"]
    assert [rate for _, _, rate in found] == ["2.50e-03", "5.00e-03", "7.50e-03", "1.00e-02"]
    train = [entry for entry in records(tmp_path) if entry["kind"] == "train"]
    assert [entry["step"] for entry in train] == [1, 2, 3, 4]
    assert {"time", "loss", "mse", "size", "norm", "lr", "samples_per_s", "eta_s", "data_share"} <= train[0].keys()
    assert train[0]["loss"] == pytest.approx(train[0]["mse"] + train[0]["size"])
    assert [entry["step"] for entry in records(tmp_path) if entry["kind"] == "val"] == [4]


def test_an_interval_counts_all_its_steps_though_checkpoints_fall_into_it(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, dataclasses.replace(EAGER, log_seconds=3600.0))
    counted: list[int] = []
    trainer.progress.line = lambda step, meter, *rest: counted.append(meter.samples)  # type: ignore[method-assign]
    trainer.run()
    assert counted == [4 * 16]


def test_the_time_left_follows_from_all_steps_of_the_first_interval(tmp_path: Path) -> None:
    progress = make_trainer(tmp_path, dataclasses.replace(EAGER, steps=100)).progress
    meter = Meter()
    meter.steps, meter.samples = 10, 160
    meter.since -= 20  # two seconds a step
    progress.line(10, meter, 1.0, 1e-3, 1.0)
    assert records(tmp_path)[-1]["eta_s"] == pytest.approx(180, rel=0.05)


def test_a_table_says_what_is_trained_at_what_rate_and_from_where(tmp_path: Path) -> None:
    lines: list[str] = []
    make_trainer(tmp_path, say=lines.append)
    assert lines[0] == f"{toy.ADDRESS}:recipe: a toy"
    assert [line.split() for line in lines[2:4]] == [
        ["head", "320", "320", "1.0e-02", "new"],
        ["tail", "33", "33", "5.0e-03", "new"],
    ]
    assert lines[4].startswith("24 steps of 16 samples in 4 micro-batches over 1 worker(s) on cpu")


def test_tensorboard_gets_curves_and_pictures(tmp_path: Path) -> None:
    train_here(run_of(str(tmp_path), EAGER, drawing)._replace(trackers=("tensorboard",)), say=lambda line: None)
    (events,) = (tmp_path / "tensorboard").iterdir()
    held = events.read_bytes()
    for name in (b"train/loss", b"train/lr", b"val/r", b"grid"):
        assert name in held


class Calls(ModuleType):
    """A module that keeps all calls; what a call returns is itself."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], Mapping[str, Any]]] = []
        self.run_id = "abc"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self if name in ("info",) else lambda *args, **named: self.calls.append((name, args, named)) or self

    def of(self, name: str) -> list[Any]:
        return [(*args, *([dict(named)] if named else [])) for called, args, named in self.calls if called == name]


def test_weights_and_biases_gets_curves_and_goes_on_with_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Calls("wandb")
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for steps in (1, 2):
        settings = dataclasses.replace(EAGER, steps=steps)
        train_here(run_of(str(tmp_path), settings, drawing)._replace(trackers=("wandb",)), say=lambda line: None)
    assert fake.of("init") == [({"name": "toy", "id": "toy", "resume": "allow", "dir": str(tmp_path)},)] * 2
    logged = [entry for (entry,) in fake.of("log")]
    assert [entry["step"] for entry in logged if "train/loss" in entry] == [1, 2]
    assert any("grid" in entry for entry in logged) and len(fake.of("finish")) == 2


@pytest.mark.parametrize("url", ["{tmp}", "memory://mlflow"])
def test_mlflow_gets_curves_and_goes_on_with_the_same_run(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Calls("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for steps in (1, 2):
        settings = dataclasses.replace(EAGER, steps=steps)
        run = run_of(url.format(tmp=tmp_path), settings, drawing)._replace(trackers=("mlflow",))
        train_here(run, say=lambda line: None)
    assert fake.of("start_run") == [({"run_name": "toy"},), ({"run_id": "abc"},)]
    assert [named["step"] for values, named in fake.of("log_metrics") if "train/loss" in values] == [1, 2]
    assert [named["artifact_path"] for _, named in fake.of("log_artifact")] == ["samples/1", "samples/2"]
    assert len(fake.of("end_run")) == 2


@pytest.mark.parametrize(
    ("name", "package"), [("wandb", "wandb"), ("mlflow", "mlflow"), ("tensorboard", "tensorboardX")]
)
def test_a_tracker_that_is_not_installed_is_named_with_its_package(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"track: {package} is not installed: pip install {package}"):
        check_trackers([name])


def test_an_unknown_tracker_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="track: got 'paper', expected some of tensorboard, wandb, mlflow"):
        open_trackers(["paper"], tmp_path, "toy")


def test_a_tracker_that_fails_is_left_out_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Dead:
        calls = 0

        def log(self, step: int, values: Mapping[str, float]) -> None:
            Dead.calls += 1
            raise ConnectionError("no route to host")

        def picture(self, step: int, path: Path) -> None: ...

        def close(self) -> None: ...

    progress = Progress(tmp_path, World(), 4, [Dead()], say=lambda line: None)
    progress.record(1, {"loss": 1.0}), progress.record(2, {"loss": 1.0}), progress.close()
    assert Dead.calls == 1
    assert "Dead is left out from here on: ConnectionError: no route to host" in capsys.readouterr().err
    assert [entry["step"] for entry in records(tmp_path)] == [1, 2]


def test_trackers_offer_one_interface() -> None:
    for kind in (Wandb, Mlflow):
        assert all(callable(getattr(kind, name)) for name in ("log", "picture", "close"))
