"""The loop, in one process."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.unit.train import toy
from train.__main__ import main, workers_of
from train.order import load, numbers_of, seed_of
from train.progress import Progress
from train.recipe import Objective
from train.saver import FolderSaver
from train.settings import Settings
from train.trainer import Trainer, train_here
from train.world import World
from vitron.weights import ASSETS, Weights, open_weights

WEIGHTS = Weights(ASSETS / "tiny")
STATE = "step-00000024/training/state.safetensors"
TOY = "tests.unit.train.toy:recipe"


def make_trainer(out: Path, settings: Settings = toy.SETTINGS, recipe=toy.recipe, say=lambda line: None) -> Trainer:  # type: ignore[no-untyped-def]
    made = recipe("tiny")
    progress = Progress(out, World(), settings.steps, say=say)
    saver = FolderSaver(str(out), World(), settings.keep)
    return Trainer(made, made.build(WEIGHTS, settings), settings, World(), saver, progress, base="tiny")


def state(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.job.objective.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_that_stops_anywhere_and_goes_on_ends_with_the_very_same_weights(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole")
    assert whole.run()
    for stop in (1, 7, 23):
        out = tmp_path / str(stop)
        calls = iter(range(100))
        assert not make_trainer(out).run(leave=lambda calls=calls, stop=stop: next(calls) + 1 == stop)
        again = make_trainer(out)
        assert again.step == stop
        assert again.run()
        assert same(state(whole), state(again))
        held = [
            load_file(folder / "step-00000024" / "training/state.safetensors") for folder in (tmp_path / "whole", out)
        ]
        assert same(*held)


def test_loader_processes_do_not_change_what_is_trained(tmp_path: Path) -> None:
    settings = dataclasses.replace(toy.SETTINGS, steps=4)
    plain, ahead = make_trainer(tmp_path / "a", settings), make_trainer(tmp_path / "b", settings)
    ahead.settings = dataclasses.replace(settings, loader_workers=1)
    plain.run(), ahead.run()
    assert same(state(plain), state(ahead))


@pytest.mark.parametrize("sizes", [(1,), (2,), (3, 1, 4), (1, 2, 1)])
def test_every_micro_batch_is_computed_once_whatever_the_number_of_workers(sizes: tuple[int, ...]) -> None:
    seen = []
    for step in range(6):
        size = sizes[step % len(sizes)]
        for rank in range(size):
            seen += list(numbers_of(step, 4, World(rank=rank, size=size)))
    assert sorted(seen) == list(range(24))
    assert len({seed_of(0, number) for number in seen}) == 24


def test_more_workers_than_micro_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 4"):
        numbers_of(0, 4, World(rank=0, size=5))


def test_accumulated_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    """Without dropout and batch norm the mean over micro-batches is the mean over samples."""

    class Plain(Objective):
        def forward(self, batch):  # type: ignore[no-untyped-def]
            x, y, _ = batch
            return {"mse": (self.parts["head"](x).mean(1, keepdim=True) + self.parts["tail"](x) - y).square().mean()}

    def make(build):  # type: ignore[no-untyped-def]
        job = toy.make(build)
        parts = {"head": torch.nn.Linear(8, 4), "tail": torch.nn.Linear(8, 1)}
        size = build.settings.micro_batch
        return dataclasses.replace(
            job, objective=Plain(parts), batches=lambda n: toy.batch(n, size), validate=lambda: {"r": 0.0}
        )

    def recipe(preset: str):  # type: ignore[no-untyped-def]
        return dataclasses.replace(toy.recipe(preset), make=make)

    ends = []
    for micro in (4, 16):
        settings = dataclasses.replace(toy.SETTINGS, micro_batch=micro, steps=3)
        trainer = make_trainer(tmp_path / str(micro), settings, recipe)
        trainer.run()
        ends.append(state(trainer))
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], atol=1e-5, rtol=1e-4)


def test_frozen_parts_stay_as_they_are_and_are_not_written(tmp_path: Path) -> None:
    lines: list[str] = []
    trainer = make_trainer(tmp_path, recipe=toy.frozen, say=lines.append)
    before = {n: p.detach().clone() for n, p in trainer.job.objective.parts["head"].named_parameters()}
    trainer.run()
    after = dict(trainer.job.objective.parts["head"].named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not (tmp_path / "step-00000024/head.safetensors").exists()
    assert (tmp_path / "step-00000024/tail.safetensors").exists()
    row = next(line for line in lines if line.startswith("head"))
    assert row.split()[1:5] == ["352", "0", "0.0e+00", "new"]


def test_a_part_is_written_averaged_and_loads_as_served_weights(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.run()
    weights = open_weights("tiny", tmp_path)
    fresh = toy.recipe("tiny").build(WEIGHTS, toy.SETTINGS).objective.parts["tail"]
    weights.load("tail", fresh)
    with trainer.average:
        assert torch.equal(fresh.weight, trainer.job.objective.parts["tail"].weight)
    assert not torch.equal(fresh.weight, trainer.job.objective.parts["tail"].weight)
    assert weights.find("gligen_vae.safetensors") == ASSETS / "tiny" / "gligen_vae.safetensors"
    assert weights.tokenizer().vocab_size > 100


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    before = state(trainer)
    trainer.job = dataclasses.replace(trainer.job, batches=lambda n: (torch.full((4, 8), torch.nan), *toy.batch(n)[1:]))
    with pytest.raises(FloatingPointError, match=r"step 0: .*mse nan"):
        trainer.run()
    weights = {n: v for n, v in state(trainer).items() if "running" not in n and "num_batches" not in n}
    assert same(weights, {name: before[name] for name in weights})


def test_the_newest_and_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    saver = FolderSaver(str(tmp_path), World(), keep=2)
    for step, score in ((1, 0.1), (2, 0.9), (3, 0.2), (4, None), (5, 0.3)):
        saver.save(step, lambda folder: folder.mkdir(), {}, score)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000002", "step-00000004", "step-00000005"]
    assert (tmp_path / "latest").read_text() == "step-00000005"
    assert saver.best() == ("step-00000002", 0.9)


def test_a_run_lives_on_any_fsspec_file_system() -> None:
    url = "memory://runs/toy"
    settings = dataclasses.replace(toy.SETTINGS, steps=8)
    train_here(toy.recipe("tiny"), WEIGHTS, settings, url, say=lambda line: None)
    saver = FolderSaver(url, World())
    folder = saver.latest()
    assert folder is not None
    assert json.loads((folder / "manifest.json").read_text())["step"] == 8
    assert (folder / "training/state.safetensors").exists()


def test_a_killed_process_goes_on_from_its_last_checkpoint_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train", TOY, "--storage", str(tmp_path), "--no-track"]
    environment = {**os.environ, "TOY_PAUSE": "0.02", "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--name", "whole"], check=True, env=environment, capture_output=True)
    process = subprocess.Popen([*command, "--name", "killed"], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed/latest").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = (tmp_path / "killed/latest").read_text()
    assert made != "step-00000024"
    subprocess.run([*command, "--name", "killed"], check=True, env=environment, capture_output=True)
    ends = [load_file(tmp_path / name / STATE) for name in ("whole", "killed")]
    assert same(*ends)
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "killed/log.jsonl").read_text().splitlines()]
    assert "resumed" in kinds and "val" in kinds


def test_two_processes_under_torchrun_train_as_one(tmp_path: Path) -> None:
    run = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "29517",
        "-m",
        "train",
    ]
    alone = [sys.executable, "-m", "train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, command in (("two", run), ("one", alone)):
        arguments = [TOY, "--storage", str(tmp_path), "--name", name, "--no-track", "--set", "steps=6"]
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    ends = [load_file(tmp_path / name / "step-00000006/training/state.safetensors") for name in ("one", "two")]
    for name, value in ends[0].items():
        if not name.startswith("buffer/"):  # batch norm's statistics are each worker's own
            torch.testing.assert_close(value, ends[1][name], atol=1e-5, rtol=1e-4)


def test_loading_yields_in_order() -> None:
    found = [int(item[2][0]) for item in load(toy.batch, range(3, 9), 2)]
    assert found == [4 * number for number in range(3, 9)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "recipe: got 'nonsense'"),
        ([TOY, "--set", "lrr=1"], "no field 'lrr'"),
        ([TOY, "--set", "lr=fast"], "lr: got 'fast'"),
        ([TOY, "--set", "micro_batch=3"], "divisor of batch"),
        ([TOY, "--workers", "0"], "workers: got '0'"),
        ([TOY, "--budget", "0"], "budget: got 0.0"),
        ([TOY, "--track", "paper"], "track: got 'paper'"),
        ([TOY, "--track", "wandb"], "pip install wandb"),
        (["resize"], "--name and --workers"),
    ],
)
def test_a_wrong_command_names_the_field(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--storage", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_workers_are_a_number_or_a_range() -> None:
    assert workers_of("3") == 3
    assert workers_of("1:4") == (1, 4)
