"""The loop, in one process."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.train import toy
from tests.unit.train.runs import WEIGHTS, held, make_trainer, run_of, same, state
from train.order import load, numbers_of, seed_of
from train.recipe import Build, Job, Objective, Recipe
from train.recipes import find
from train.session import train_here
from train.settings import Settings
from train.world import World
from vitron.weights import ASSETS, Weights, open_weights


def test_a_run_that_stops_anywhere_and_goes_on_ends_with_the_very_same_weights(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole")
    assert whole.run()
    for stop in (1, 7, 23):
        out = tmp_path / str(stop)
        calls = iter(range(100))
        assert not make_trainer(out).run(leave=lambda calls=calls, stop=stop: next(calls) + 1 == stop)  # type: ignore[misc]
        again = make_trainer(out)
        assert again.step == stop
        assert again.run()
        assert same(state(whole), state(again))
        assert same(held(tmp_path / "whole"), held(out))


def test_loader_processes_do_not_change_what_is_trained(tmp_path: Path) -> None:
    settings = dataclasses.replace(toy.SETTINGS, steps=4)
    plain, ahead = make_trainer(tmp_path / "a", settings), make_trainer(tmp_path / "b", settings)
    ahead.settings = dataclasses.replace(settings, loader_workers=1)
    plain.run(), ahead.run()
    assert same(state(plain), state(ahead))


@pytest.mark.parametrize("sizes", [(1,), (2,), (3, 1, 4), (1, 2, 1)])
def test_every_micro_batch_is_computed_once_whatever_the_number_of_workers(sizes: tuple[int, ...]) -> None:
    seen: list[int] = []
    for step in range(6):
        size = sizes[step % len(sizes)]
        for rank in range(size):
            seen += list(numbers_of(step, 4, World(rank=rank, size=size)))
    assert sorted(seen) == list(range(24))
    assert len({seed_of(0, number) for number in seen}) == 24


@pytest.mark.parametrize(
    ("strategy", "workers", "words"),
    [("ddp", 5, "at most 4"), ("fsdp", 3, "divisor of 4"), ("deepspeed", 3, "divisor")],
)
def test_a_number_of_workers_that_cannot_share_a_step_is_refused(strategy: Any, workers: int, words: str) -> None:
    settings = dataclasses.replace(toy.SETTINGS, strategy=strategy, ema=0.0)
    settings.check_workers(4)
    with pytest.raises(ValueError, match=f"workers: got {workers}.*{words}"):
        settings.check_workers(workers)


def test_accumulated_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    """Without dropout and batch norm the mean over micro-batches is the mean over samples."""

    class Plain(Objective):
        def forward(self, batch: Any) -> dict[str, torch.Tensor]:
            x, y, _ = batch
            return {"mse": (self.parts["head"](x).mean(1, keepdim=True) + self.parts["tail"](x) - y).square().mean()}

    def make(build: Build) -> Job:
        parts = {"head": torch.nn.Linear(8, 4), "tail": torch.nn.Linear(8, 1)}
        return dataclasses.replace(toy.make(build), objective=Plain(parts), validate=lambda: {"r": 0.0})

    def recipe(preset: str) -> Recipe:
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
    assert row.split()[1:5] == ["320", "0", "0.0e+00", "new"]


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


def test_another_run_starts_from_the_newest_checkpoint_and_says_so(tmp_path: Path) -> None:
    first = run_of(str(tmp_path / "first"), dataclasses.replace(toy.SETTINGS, steps=8, ema=0.0))
    train_here(first, say=lambda line: None)
    lines: list[str] = []
    again = run_of(str(tmp_path / "second"), dataclasses.replace(toy.SETTINGS, steps=1, lr=0.0, weight_decay=0.0))
    train_here(again._replace(start=str(tmp_path / "first")), say=lines.append)
    now, then = held(tmp_path / "second"), held(tmp_path / "first")
    for name in ("parameter/head.0.weight", "parameter/tail.bias"):
        assert torch.equal(now[name], then[name])
    row = next(line for line in lines if line.startswith("tail"))
    assert row.endswith(str(tmp_path / "first/step-00000008"))


def test_the_table_names_the_folder_that_each_part_was_found_in(tmp_path: Path) -> None:
    old, young = Weights(tmp_path / "old"), Weights(tmp_path / "young")
    young.save("head", toy.recipe("tiny").build(WEIGHTS, toy.SETTINGS).objective.parts["head"])
    (young.folder / "manifest.json").write_text(json.dumps({"base": str(old.folder)}))
    assert dict(toy.recipe("tiny").build(young, toy.SETTINGS).sources) == {"head": young.name, "tail": "new"}
    old.save("tail", torch.nn.Linear(32, 1))
    assert dict(toy.recipe("tiny").build(young, toy.SETTINGS).sources) == {"head": young.name, "tail": old.name}
    known = find("train.recipes.clip_vision:clip_vision").build(WEIGHTS, toy.SETTINGS)
    assert dict(known.sources) == {"clip_vision": "tiny", "patch_heads": "new"}


def test_a_loss_that_is_not_finite_stops_before_the_step_and_is_named(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, dataclasses.replace(toy.SETTINGS, save_steps=1), toy.exploding)
    with pytest.raises(FloatingPointError, match=r"^step 3 not taken: loss size is nan in micro-batch 9$"):
        trainer.run()
    before = held(tmp_path, "step-00000002")
    for name, parameter in trainer.strategy.optimizers.named:
        assert torch.equal(parameter, before[f"parameter/{name}"])
    assert (tmp_path / "latest").read_text() == "step-00000002"


def test_an_infinite_loss_stops_though_its_gradient_is_finite(tmp_path: Path) -> None:
    class Infinite(toy.Regression):
        def forward(self, batch: Any) -> dict[str, torch.Tensor]:
            return {**super().forward(batch), "level": torch.tensor(torch.inf)}

    def make(build: Build) -> Job:
        job = toy.make(build)
        return dataclasses.replace(job, objective=Infinite(dict(job.objective.parts.items()), toy.Temper(), 0))

    trainer = make_trainer(tmp_path, recipe=lambda preset: dataclasses.replace(toy.recipe(preset), make=make))
    with pytest.raises(FloatingPointError, match="step 1 not taken: loss level is inf in micro-batch 0"):
        trainer.run()


def test_a_score_that_validation_does_not_measure_is_named(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, dataclasses.replace(toy.SETTINGS, steps=1))
    trainer.job = dataclasses.replace(trainer.job, score="psnr")
    with pytest.raises(ValueError, match="score: got 'psnr', expected one of r"):
        trainer.run()


def test_loading_yields_in_order() -> None:
    found = [int(item[2][0]) for item in load(toy.batch, range(3, 9), 2)]
    assert found == [4 * number for number in range(3, 9)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"micro_batch": 3}, "divisor of batch"),
        ({"steps": 0}, "steps: got 0"),
        ({"lr": -1.0}, "lr: got -1.0"),
        ({"betas": (0.9,)}, "betas"),
        ({"ema": 1.0}, "ema: got 1.0"),
        ({"strategy": "pipeline"}, "expected one of ddp, fsdp, deepspeed"),
        ({"zero_stage": 4}, "zero_stage: got 4"),
        ({"strategy": "deepspeed"}, "muon_lr 0.0 and ema 0.9, expected both 0"),
    ],
)
def test_settings_that_no_run_can_have_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(toy.SETTINGS, **changes)


def test_a_small_budget_measures_a_part_of_what_is_held_out_and_never_next_to_nothing() -> None:
    shares = [toy.SETTINGS.scaled(budget).held_out for budget in (2.0, 0.1, 0.05, 0.001)]
    assert shares == [1.0, 1.0, 0.5, 0.1]
    assert [toy.SETTINGS.scaled(0.001).measured(count) for count in (3, 16, 64)] == [3, 4, 6]
    assert toy.SETTINGS.measured(64) == 64
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="held_out: got"):
            dataclasses.replace(toy.SETTINGS, held_out=share)


def test_a_budget_keeps_at_least_one_step_and_a_warm_up_that_fits() -> None:
    settings = Settings(steps=1000, batch=4, micro_batch=4, warmup=60)
    assert (settings.scaled(0.05).steps, settings.scaled(0.05).warmup) == (50, 10)
    assert settings.scaled(1e-9).steps == 1
