"""How weights are stored."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import torch
from torch import nn

from vitron.weights import Weights, read_state


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Linear(64, 64), nn.LayerNorm(64))
    with torch.no_grad():
        made[1].weight[3] *= 50  # channels differ in scale
    return made


@pytest.mark.parametrize(("bits", "largest"), [(16, 1e-3), (8, 1 / 253)])
def test_stored_weights_come_back_within_their_precision(tmp_path: Path, bits: int, largest: float) -> None:
    before = network().state_dict()
    Weights(tmp_path).write("part", before, bits)
    after = network()
    nn.init.zeros_(after[1].weight)
    Weights(tmp_path).load("part", after)
    for name, value in after.state_dict().items():
        scale = before[name].flatten(1).abs().amax(1) if before[name].ndim > 1 else before[name].abs().max()
        error = (value - before[name]).abs()
        error = error.flatten(1).amax(1) if error.ndim > 1 else error.max()
        assert (error <= largest * scale + 1e-7).all(), name


def test_8_bits_take_half_the_space_and_storing_them_again_loses_nothing(tmp_path: Path) -> None:
    state = {"weight": torch.randn(256, 256)}
    whole = Weights(tmp_path / "16").write("part", state)
    half = Weights(tmp_path / "8").write("part", state, bits=8)
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    again = Weights(tmp_path / "again").write("part", read_state(half), bits=8)
    torch.testing.assert_close(read_state(again), read_state(half), rtol=1e-6, atol=0)


def test_small_tensors_and_whole_numbers_keep_their_precision(tmp_path: Path) -> None:
    state = {"bias": torch.linspace(-1, 1, 8), "small": torch.rand(4, 4), "count": torch.tensor([2**40])}
    path = Weights(tmp_path).write("part", state, bits=8)
    read = read_state(path)
    assert torch.equal(read["count"], state["count"])
    torch.testing.assert_close(read["small"], state["small"], rtol=1e-3, atol=1e-3)


def test_everybody_may_read_weights(tmp_path: Path) -> None:
    path = Weights(tmp_path).write("part", {"a": torch.ones(2)})
    assert path.stat().st_mode & stat.S_IROTH


def test_another_number_of_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bits: got 4"):
        Weights(tmp_path).write("part", {}, bits=4)
