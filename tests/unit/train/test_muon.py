"""Muon's update."""

from __future__ import annotations

import pytest
import torch

from train.muon import orthogonalize


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
def test_orthogonalizing_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)).float())
    assert values.min() > 0.6
    assert values.max() < 1.3
