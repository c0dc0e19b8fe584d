"""Parts that not every micro-batch runs, where workers divide a model."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest
import torch
from torch import nn

from train.data.collate import Collator
from train.recipe import Objective
from train.recipes.language_data import Batches, Plan
from train.settings import Settings
from train.strategy import reaching, single_numbers
from vitron.presets import preset
from vitron.weights import ASSETS, Weights

SETTINGS = Settings(steps=2, batch=12, micro_batch=2, strategy="fsdp")
PLAN = Plan(single={"vqa": 1}, packed={"vqa": 1}, share=Fraction(1, 3))


def test_every_trained_parameter_gets_a_gradient_and_the_loss_stays_as_it_is() -> None:
    used, unused, frozen = nn.Linear(2, 1), nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)
    loss = used(torch.ones(3, 2)).square().mean()
    losses = reaching({"loss": loss, "other": loss.detach()}, [used, unused, frozen])
    assert torch.equal(losses["loss"], loss) and set(losses) == {"loss", "other"}
    losses["loss"].backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in unused.parameters())
    assert used.weight.grad is not None and used.weight.grad.any()
    assert all(parameter.grad is None for parameter in frozen.parameters())
    assert reaching({"loss": loss}, [frozen]) == {"loss": loss}


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.vector = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.ones(1))


def test_a_single_number_is_left_whole_where_it_is_frozen_and_refused_where_it_learns() -> None:
    objective = Objective({"part": Scaled()})
    with pytest.raises(ValueError, match=r"strategy: got 'fsdp', but part.scale learns and is a single number; expect"):
        single_numbers(objective, "fsdp")
    scale = objective.parts["part"].scale.requires_grad_(False)
    assert single_numbers(objective, "deepspeed") == [scale]


def test_micro_batches_of_different_kinds_are_refused_before_workers_wait_for_each_other() -> None:
    collate = Collator(preset("tiny"), Weights(ASSETS / "tiny").tokenizer())
    with pytest.raises(ValueError, match="strategy: got 'fsdp' with a micro_batch of 2, in which not every kind of ch"):
        Batches(PLAN, SETTINGS, collate)
    for changes in ({"strategy": "ddp"}, {"micro_batch": 3}, {"data": "vqa=1,caption=2"}):
        made = Batches(PLAN, dataclasses.replace(SETTINGS, **changes), collate)
        assert {frozenset(made(number)) for number in range(4)} <= {
            frozenset({"chat", "request"}),
            frozenset({"request"}),
        }
