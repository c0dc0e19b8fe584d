"""Published SEEM checkpoints find their places."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.unit.specialists.seem_fixtures import small_seem
from vitron.specialists.seem.checkpoint import from_published, load_published, to_published

PUBLISHED = {
    "sem_seg_head.predictor.lang_encoder.lang_encoder.resblocks.0.mlp.c_fc.weight",
    "sem_seg_head.predictor.lang_encoder.lang_proj",
    "sem_seg_head.predictor.lang_encoder.logit_scale",
    "sem_seg_head.predictor.query_feat.weight",
    "sem_seg_head.predictor.mask_sptial_embed.2",
    "sem_seg_head.predictor.pn_indicator.weight",
    "sem_seg_head.predictor.transformer_cross_attention_layers.0.multihead_attn.in_proj_weight",
    "sem_seg_head.pixel_decoder.adapter_1.norm.weight",
    "sem_seg_head.pixel_decoder.layer_4.weight",
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.self_attn.out_proj.bias",
    "backbone.layers.0.downsample.proj.weight",
    "backbone.layers.2.blocks.0.modulation.focal_layers.1.0.weight",
    "backbone.norm3.bias",
}


def published(seed: int) -> dict[str, Tensor]:
    """The state of a network as a published file would hold it."""
    state = small_seem(seed).network.state_dict()
    own = ("predictor.signal_class", "predictor.visual_class", "predictor.match_bias")
    return {to_published(name): value for name, value in state.items() if not name.startswith(own)}


def test_names_of_the_released_code_are_all_there() -> None:
    assert set(published(0)) >= PUBLISHED


def test_names_survive_the_way_there_and_back() -> None:
    for name in small_seem().network.state_dict():
        assert from_published(to_published(name)) == name
        assert from_published(f"module.model.{to_published(name)}") == name


def test_a_published_state_fills_all_but_the_parts_of_this_project() -> None:
    network = small_seem(0).network
    state = published(1) | {"sem_seg_head.predictor.spatial_embed.weight": torch.zeros(1)}
    report = load_published(network, state)
    assert report.missing == report.unexpected == ()
    assert report.unused == ("predictor.spatial_embed.weight",)
    assert set(report.own) == {
        "predictor.match_bias",
        *(f"predictor.{part}_class.{kind}" for part in ("signal", "visual") for kind in ("weight", "bias")),
    }
    loaded = network.state_dict()
    assert all(torch.equal(loaded[from_published(name)], value) for name, value in published(1).items())


def test_a_missing_or_unknown_parameter_is_refused_by_name() -> None:
    network = small_seem().network
    short = published(1)
    del short["backbone.norm0.weight"]
    with pytest.raises(ValueError, match=r"backbone\.norm0\.weight"):
        load_published(network, short)
    with pytest.raises(ValueError, match=r"sem_seg_head\.else"):
        load_published(network, published(1) | {"sem_seg_head.else": torch.zeros(1)})
