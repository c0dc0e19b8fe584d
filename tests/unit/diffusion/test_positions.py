"""The first layer that knows where it is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from vitron.diffusion.positions import PositionedConv2d, position_maps
from vitron.presets import preset
from vitron.specialists.gligen_denoiser import GligenCondition, GligenDenoiser


def test_maps_hold_sine_and_cosine_of_cell_centres() -> None:
    maps = position_maps(2, 4, 2)
    assert maps.shape == (8, 2, 4)
    x = torch.tensor([0.125, 0.375, 0.625, 0.875])
    assert torch.allclose(maps[0], (torch.pi * x).sin().expand(2, 4))
    assert torch.allclose(maps[3], (2 * torch.pi * x).cos().expand(2, 4))
    y = torch.tensor([0.25, 0.75])[:, None]
    assert torch.allclose(maps[4], (torch.pi * y).sin().expand(2, 4))


def test_no_two_cells_have_the_same_position() -> None:
    flat = position_maps(16, 16, 3).flatten(1).T
    distances = torch.cdist(flat, flat) + 9 * torch.eye(256)
    assert distances.min() > 0.1


def test_it_starts_as_the_convolution_it_was_made_from_plus_what_positions_add() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, 3, padding=1)
    positioned = PositionedConv2d(conv, 3)
    x = torch.randn(2, 5, 6, 6)
    assert not torch.allclose(positioned(x), conv(x))
    with torch.no_grad():
        positioned.weight[:, 5:] = 0
    assert torch.allclose(positioned(x), conv(x), atol=1e-6)


@pytest.mark.parametrize("bands", [0, 3])
def test_the_denoiser_has_positions_only_where_the_configuration_says_so(bands: int) -> None:
    config = dataclasses.replace(preset("tiny").gligen, position_bands=bands)
    denoiser = GligenDenoiser.from_config(config)
    assert denoiser.inpaints
    assert denoiser.unet.conv_in.weight.shape[1] == 9 + 4 * bands
    conditions = torch.randn(1, 4, 128)
    sample, time = torch.randn(1, 4, 16, 16), torch.tensor([500])
    made = denoiser(sample, time, conditions, source_Bchw=torch.zeros(1, 5, 16, 16))
    assert made.shape == (1, 4, 16, 16)


def test_the_stock_preset_has_no_positions() -> None:
    assert preset("vitron-7b").gligen.position_bands == 0


def test_open_gates_let_boxes_act_on_a_network_that_was_never_trained() -> None:
    torch.manual_seed(0)
    denoiser = GligenDenoiser.from_config(preset("tiny").gligen).eval()
    sample, time, tokens = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 4, 128)
    condition = GligenCondition(
        tokens=tokens[0], boxes=((0.1, 0.1, 0.5, 0.5),), phrases=torch.randn(1, 128), grounded=True
    )
    grounding = denoiser.pack_grounding([condition])
    source = torch.zeros(1, 5, 16, 16)
    with torch.no_grad():
        without = denoiser(sample, time, tokens, None, None, source)
        assert torch.equal(denoiser(sample, time, tokens, None, grounding, source), without)
        denoiser.open_gates()
        assert not torch.allclose(denoiser(sample, time, tokens, None, grounding, source), without, atol=1e-3)
