"""What no sample can ask for does not compete in the loss of the LLM."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from train.data.shapes.scene import COLORS, HELD_OUT, SHAPES
from train.recipes import find
from train.recipes.unseen_pairs import UnseenPairs
from vitron.weights import open_weights


@pytest.fixture(scope="module")
def tokenizer():
    return open_weights("tiny").tokenizer()


def token(tokenizer, word: str) -> int:
    (found,) = tokenizer.encode(f" {word}", add_special_tokens=False)
    return found


def test_exactly_the_held_out_pairs_do_not_compete(tokenizer):
    unseen = UnseenPairs(tokenizer)
    circle = token(tokenizer, "small")
    for color in COLORS:
        logits = unseen(torch.zeros(1, len(tokenizer)), torch.tensor([token(tokenizer, color)]), torch.tensor([circle]))
        out = {shape for shape in SHAPES if logits[0, token(tokenizer, shape)] == float("-inf")}
        assert out == {shape for tint, shape in HELD_OUT if tint == color}
        assert (logits == float("-inf")).sum() == 2 * len(out)  # The plurals as well.


def test_all_compete_behind_other_words_and_what_is_asked_for_always_does(tokenizer):
    unseen = UnseenPairs(tokenizer)
    color, shape = HELD_OUT[0]
    logits = torch.randn(2, len(tokenizer))
    before = torch.tensor([token(tokenizer, "small"), token(tokenizer, color)])
    targets = torch.tensor([token(tokenizer, "circle"), token(tokenizer, shape)])
    left = unseen(logits, before, targets)
    assert torch.equal(left[0], logits[0])
    assert left[1, targets[1]] == logits[1, targets[1]]
    assert torch.isfinite(F.cross_entropy(left, targets))


def test_a_step_on_shapes_loses_less_by_them_and_nothing_else(tokenizer):
    recipe = find("alignment")
    settings = dataclasses.replace(recipe.settings, batch=6, micro_batch=6, precision="fp32")
    job = recipe.build(open_weights("tiny"), settings)
    batches = job.batches(0)
    with torch.no_grad():
        without = {name: loss.item() for name, loss in job.objective(batches).items()}
        job.objective.unseen = None
        competing = {name: loss.item() for name, loss in job.objective(batches).items()}
    assert without.keys() == competing.keys()
    assert all(0 < without[name] <= competing[name] for name in without)
    assert sum(without.values()) < sum(competing.values())
