"""The training loop: resuming changes nothing, and what must stop it does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from train.loop import Loop, LoopConfig, load_parts, make_optimizers
from train.muon import orthogonalize


def config(out: Path, steps: int) -> LoopConfig:
    # The schedule follows `steps`, so an interrupted run is one that was stopped, not one with fewer steps.
    return LoopConfig(out=out, steps=steps, batch=4, lr=1e-2, muon_lr=1e-2, warmup=2, ema=0.9, adam_names=("1.",))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))


def losses(part: nn.Module, step: int, stop_at: int | None = None) -> dict[str, Tensor]:
    if step == stop_at:
        raise KeyboardInterrupt
    data = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
    return {"fit": (part(data) - data[:, :2]).square().mean()}


def test_a_run_that_was_interrupted_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    straight = network()
    Loop({"part": straight}, config(tmp_path / "a", 8)).run(lambda step: losses(straight, step))
    first = network()
    loop = Loop({"part": first}, config(tmp_path / "b", 8))
    with pytest.raises(KeyboardInterrupt):
        loop.run(lambda step: losses(first, step, stop_at=5))
    loop.save()
    second = network()
    resumed = Loop({"part": second}, config(tmp_path / "b", 8))
    resumed.run(lambda step: losses(second, step))
    assert resumed.step == 8
    for expected, got in zip(straight.parameters(), second.parameters(), strict=True):
        assert torch.equal(expected, got)


def test_a_loss_that_is_not_finite_stops_the_run_before_the_step(tmp_path: Path) -> None:
    part = network()
    before = [p.clone() for p in part.parameters()]
    with pytest.raises(FloatingPointError, match="step 0"):
        Loop({"part": part}, config(tmp_path, 3)).run(lambda _: {"bad": part[0].weight.sum() * float("nan")})
    assert all(torch.equal(a, b) for a, b in zip(before, part.parameters(), strict=True))


def test_the_average_is_swapped_in_and_out(tmp_path: Path) -> None:
    part = network()
    loop = Loop({"part": part}, config(tmp_path, 5))
    loop.run(lambda step: losses(part, step))
    live = part[0].weight.clone()
    with loop.averaged():
        assert not torch.equal(part[0].weight, live)
    assert torch.equal(part[0].weight, live)


def test_inner_matrices_go_to_muon_and_the_rest_to_adamw(tmp_path: Path) -> None:
    named = list(network().named_parameters())
    muon, adam = make_optimizers(named, config(tmp_path, 1))
    assert [p is named[0][1] for p in muon.param_groups[0]["params"]] == [True]
    assert sum(len(group["params"]) for group in adam.param_groups) == 3


def test_a_new_run_may_start_from_the_parts_of_another(tmp_path: Path) -> None:
    part = network()
    Loop({"part": part}, config(tmp_path, 2)).run(lambda step: losses(part, step))
    other, extra = network(), nn.Linear(1, 1)
    load_parts({"part": other, "extra": extra}, tmp_path)
    assert torch.equal(other[0].weight, part[0].weight)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
def test_orthogonalizing_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)).float())
    assert values.min() > 0.6
    assert values.max() < 1.3
