"""The SEEM network: shapes, independence of padding, gradients, losses, full size."""

from __future__ import annotations

import torch

from tests.unit.specialists.seem_fixtures import SIGNAL, signal, small_config, small_seem, word_tokenizer
from vitron.presets import preset
from vitron.specialists.seem import Seem, SeemNetwork
from vitron.specialists.seem.backbone import FocalNet
from vitron.specialists.seem.losses import Targets, assign, match_loss, seem_losses
from vitron.specialists.seem.pixel_decoder import sine_positions
from vitron.specialists.seem.prompts import Marks, Prompts

PIXELS = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(3)).to(torch.uint8)


def every_prompt(seem: Seem, rows: int = 4) -> Prompts:
    """Rows that together hold every kind of prompt."""
    half = torch.arange(rows // 2)
    marks = Marks(half, half // 2, torch.rand(rows // 2, 3, 2), torch.tensor([[1.0, -1.0, 0.0]] * (rows // 2)))
    tokens = seem.signal_tokens(torch.stack([signal(i) for i in range(rows)]))
    given = torch.arange(rows) % 2 == 0
    text = seem.network.lang_encoder(["red circle", "the blue star at the left", "star", "this one"][:rows])
    return Prompts(rows, text, tokens, given, spatial=marks, visual=marks._replace(pictures=1 - marks.pictures))


def targets(rows: int) -> Targets:
    masks = torch.zeros(rows, 2, 32, 32)
    masks[:, 0, 2:12, 3:14] = 1
    masks[:, 1, 18:30, 16:28] = 1
    meant = torch.tensor([[True, False], [False, True]] * (rows // 2))
    return Targets(masks, torch.ones(rows, 2, dtype=torch.bool), meant, torch.ones(rows, dtype=torch.bool))


def test_each_layer_predicts_a_mask_and_a_match_for_every_query_of_every_row() -> None:
    seem = small_seem()
    outputs = seem.network(seem.network.features(PIXELS), every_prompt(seem))
    assert len(outputs) == 4
    for output in outputs:
        assert output.masks.shape == (4, 5, 16, 16)
        assert output.match.shape == (4, 5)
        assert output.masks.isfinite().all()
        assert output.match.isfinite().all()


def test_backbone_maps_halve_in_size_and_double_in_channels() -> None:
    maps = FocalNet(small_config())(torch.randn(1, 3, 32, 32))
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]


def test_gradients_reach_every_parameter() -> None:
    seem = small_seem().train()
    seem_losses(seem.network(seem.network.features(PIXELS), every_prompt(seem)), targets(4)).total.backward()
    untouched = [name for name, p in seem.named_parameters() if p.grad is None]
    assert untouched == []
    assert all(p.grad is not None and p.grad.isfinite().all() for p in seem.parameters())


def test_padding_of_text_and_marks_changes_nothing() -> None:
    seem = small_seem()
    features = seem.network.features(PIXELS[:1])
    text = seem.network.lang_encoder(["red circle"])
    marks = Marks(torch.tensor([0]), torch.tensor([0]), torch.rand(1, 2, 2), torch.ones(1, 2))
    exact = seem.network(features, Prompts(1, text, spatial=marks))[-1]
    wide = seem.network.lang_encoder(["red circle", "the blue star at the top left"])
    padded = wide._replace(tokens=wide.tokens[:1], valid=wide.valid[:1], classes=wide.classes[:1])
    more = Marks(*marks[:2], torch.cat([marks.points, torch.rand(1, 4, 2)], 1), torch.tensor([[1.0, 1, 0, 0, 0, 0]]))
    loose = seem.network(features, Prompts(1, padded, spatial=more))[-1]
    torch.testing.assert_close(loose.masks, exact.masks, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loose.match, exact.match, atol=1e-4, rtol=1e-4)


def test_prompts_of_one_picture_decoded_together_equal_them_apart() -> None:
    seem = small_seem()
    features = seem.network.features(PIXELS[:1])
    texts = ["red circle", "blue star"]
    together = seem.network(features, Prompts(2, seem.network.lang_encoder(texts)))[-1]
    for row, text in enumerate(texts):
        alone = seem.network(features, Prompts(1, seem.network.lang_encoder([text])))[-1]
        torch.testing.assert_close(together.masks[row], alone.masks[0], atol=1e-4, rtol=1e-4)


def test_drawn_marks_do_not_change_what_text_tokens_see() -> None:
    """The attention table: text looks at queries and text only, so a mark acts through the queries."""
    seem = small_seem()
    features = seem.network.features(PIXELS[:1])
    text = seem.network.lang_encoder(["star"])
    marks = Marks(torch.tensor([0]), torch.tensor([0]), torch.rand(1, 2, 2), torch.ones(1, 2))
    plain = seem.network(features, Prompts(1, text))
    marked = seem.network(features, Prompts(1, text, spatial=marks))
    torch.testing.assert_close(plain[0].masks, marked[0].masks)
    assert not torch.allclose(plain[-1].masks, marked[-1].masks)


def test_fixed_states_repeat_the_last_state() -> None:
    seem = small_seem()
    states = seem.network.signal_targets(["star", "the red star at the top left"])
    assert states.shape == (2, 4, 32)
    short = seem.network.lang_encoder(["star"]).tokens[0]
    torch.testing.assert_close(states[0, :3], short)
    torch.testing.assert_close(states[0, 3], short[-1])


def test_positions_tell_rows_from_columns() -> None:
    place = sine_positions(3, 4, 32, torch.zeros(1)).reshape(3, 4, 32)
    torch.testing.assert_close(place[1, 0, :16], place[1, 3, :16])
    torch.testing.assert_close(place[0, 2, 16:], place[2, 2, 16:])
    assert not torch.allclose(place[0, 0], place[1, 1])


def test_assignment_gives_each_object_the_query_that_drew_it() -> None:
    wanted = targets(2)
    masks = torch.full((2, 3, 32, 32), -8.0)
    masks[:, 2][wanted.masks[:, 0] > 0] = 8.0
    masks[:, 0][wanted.masks[:, 1] > 0] = 8.0
    pairs = assign(masks, wanted.masks, wanted.present)
    assert sorted(zip(*(index.tolist() for index in pairs), strict=True)) == [
        (0, 0, 1),
        (0, 2, 0),
        (1, 0, 1),
        (1, 2, 0),
    ]


def test_match_loss_accepts_any_of_several_meant_objects_and_is_least_at_the_right_one() -> None:
    wanted = targets(2)
    pairs = assign(torch.randn(2, 3, 32, 32), wanted.masks, wanted.present)
    right = torch.full((2, 3), -9.0)
    right[pairs.rows, pairs.queries] = torch.where(wanted.meant[pairs.rows, pairs.objects], 9.0, -9.0)
    assert match_loss(right, pairs, wanted.meant) < 0.01
    assert match_loss(-right, pairs, wanted.meant) > 10
    both = torch.ones_like(wanted.meant)
    filled = right.index_put((pairs.rows, pairs.queries), torch.tensor(9.0))
    assert match_loss(filled, pairs, both) < 0.01


def test_the_full_size_network_is_built_from_its_configuration() -> None:
    config = preset("vitron-7b").seem
    with torch.device("meta"):
        network = SeemNetwork(config, word_tokenizer())
    sizes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert sizes["backbone.patch_embed.proj.weight"] == (192, 3, 7, 7)
    assert sizes["backbone.norm3.weight"] == (1536,)
    assert sizes["pixel_decoder.mask_features.weight"] == (512, 512, 3, 3)
    assert sizes["predictor.query_feat.weight"] == (101, 512)
    assert sizes["lang_encoder.lang_encoder.positional_embedding"] == (77, 512)
    assert len(network.predictor.transformer_ffn_layers) == 9
    # The published Focal-L weights take 1.37 GB in fp32.
    assert 330e6 < sum(p.numel() for p in network.parameters()) < 350e6


def test_the_full_size_network_runs_on_the_meta_device() -> None:
    config = preset("vitron-7b").seem
    with torch.device("meta"):
        network = SeemNetwork(config, word_tokenizer())
        features = network.features(torch.zeros(1, 3, 512, 512, dtype=torch.uint8))
        ids = torch.zeros(1, 77, dtype=torch.long)
        text = network.lang_encoder.encode(ids, torch.tensor([9]))
        output = network(features, Prompts(1, text))[-1]
    assert output.masks.shape == (1, 101, 128, 128)


def test_the_projection_gives_signal_tokens_of_the_decoder_width() -> None:
    seem = small_seem()
    assert seem.signal_tokens(torch.randn(2, SIGNAL.num_tokens, SIGNAL.width)).shape == (2, 4, 32)
