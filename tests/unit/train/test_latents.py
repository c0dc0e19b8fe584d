"""What the generator's training reads: the cache of latents, and the conditions made from it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from train.data.shapes.render import boxes, render
from train.data.shapes.scene import scene_at
from train.data.shapes_latents import NUM_FULL, PHRASES, LatentCache, build, key
from train.recipes.gligen import Denoising
from train.recipes.gligen_data import Batch, Batches, Layout
from vitron.diffusion.latents import LatentCodec, to_pixels
from vitron.presets import preset
from vitron.specialists.gligen_denoiser import GligenCondition, GligenDenoiser
from vitron.specialists.text_condition import TextCondition
from vitron.weights import ASSETS, Weights

CONFIG = preset("tiny").gligen
COUNT = 70


def text_condition() -> TextCondition:
    torch.manual_seed(1)
    return TextCondition.from_config(CONFIG.text, Weights(ASSETS / "tiny").tokenizer("clip_tokenizer"))


def small_codec(seed: int = 0) -> LatentCodec:
    torch.manual_seed(seed)
    return LatentCodec.from_config({**CONFIG.vae, "block_out_channels": (8, 8, 8), "norm_num_groups": 4}).eval()


@pytest.fixture(scope="module")
def text() -> TextCondition:
    return text_condition()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, text: TextCondition) -> LatentCache:
    return build(tmp_path_factory.mktemp("cache"), COUNT, small_codec(), text, say=lambda line: None)


@pytest.fixture(scope="module")
def objective(text: TextCondition) -> Denoising:
    torch.manual_seed(2)
    return Denoising(CONFIG, GligenDenoiser.from_config(CONFIG), small_codec(), text)


def test_processes_that_draw_make_the_same_cache(cache: LatentCache, text: TextCondition, tmp_path: Path) -> None:
    again = build(tmp_path, COUNT, small_codec(), text, workers=2, say=lambda line: None)
    for name in ("latents", "texts", "boxes", "phrases"):
        assert np.array_equal(getattr(again, name), getattr(cache, name)), name


def batches(cache: LatentCache, text: TextCondition, size: int = 24) -> Batches:
    return Batches(cache, text.tokenize([""])[0], slots=CONFIG.max_objects, size=size, seed=0)


def test_the_cache_holds_what_the_codec_and_the_tokenizer_make_of_each_scene(
    cache: LatentCache, text: TextCondition
) -> None:
    assert len(cache) == COUNT
    index = COUNT - 1
    scene = scene_at("train", index)
    with torch.no_grad():
        expected = small_codec().encode(to_pixels([render(scene)]))[0]
    np.testing.assert_allclose(cache.latents[index], expected, atol=0.05)
    np.testing.assert_allclose(cache.boxes[index, : len(scene.objects)], boxes(scene), atol=1e-6)
    assert cache.texts.shape == (COUNT, NUM_FULL + 1, 2, text.length)
    names = [PHRASES[i] for i in cache.phrases[index, : len(scene.objects), 1]]
    assert names == [f"{obj.color} {obj.shape}" for obj in scene.objects]


def test_what_was_computed_is_not_computed_again_unless_it_comes_from_other_weights(
    tmp_path: Path, text: TextCondition
) -> None:
    said: list[str] = []
    first = build(tmp_path, 3, small_codec(), text, say=said.append)
    assert build(tmp_path, 3, small_codec(), text, say=said.append).folder == first.folder
    assert said == ["latents of 3 of 3 scenes computed"]
    assert build(tmp_path, 3, small_codec(seed=1), text, say=said.append).folder != first.folder
    assert len(build(tmp_path, 4, small_codec(), text, say=said.append)) == 4
    assert len(said) == 3


def test_several_workers_that_ask_at_once_share_one_cache(tmp_path: Path, text: TextCondition) -> None:
    said: list[str] = []
    found: list[LatentCache] = []
    codec = small_codec()

    def ask() -> None:
        found.append(build(tmp_path, 3, codec, text, say=said.append))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["latents of 3 of 3 scenes computed"]
    assert len({each.folder for each in found}) == 1


def test_a_cache_whose_making_was_interrupted_is_made_anew(tmp_path: Path, text: TextCondition) -> None:
    codec = small_codec()
    name = f"shapes-latents-{key(2, codec, text)}"
    (tmp_path / f".{name}.partial").mkdir()
    (tmp_path / f".{name}.partial/latents.npy").write_bytes(b"half")
    assert len(build(tmp_path, 2, codec, text, say=lambda line: None)) == 2


def test_rows_without_a_signal_have_no_signal_tokens(
    cache: LatentCache, text: TextCondition, objective: Denoising
) -> None:
    batch = batches(cache, text)(0)
    assert 0 < len(batch.meant) < len(batch.latents)
    assert int(batch.has_signal.sum()) == len(batch.meant)
    tokens, mask = objective.condition(batch)
    assert tokens.shape == (24, 2 * text.length, text.width)
    assert mask is not None and mask[:, : text.length].all()
    assert torch.equal(mask[:, text.length :].all(1), batch.has_signal)
    assert torch.equal(mask[:, text.length :].any(1), batch.has_signal)


def test_a_signal_is_the_shaken_states_of_what_is_meant(
    cache: LatentCache, text: TextCondition, objective: Denoising
) -> None:
    batch = batches(cache, text)(0)
    still = batch._replace(noise=torch.zeros_like(batch.noise))
    tokens, _ = objective.condition(still)
    expected, _ = text(batch.meant)
    segment = objective.parts["gligen_unet"].signal_segment
    torch.testing.assert_close(tokens[batch.has_signal, text.length :], expected + segment)
    torch.testing.assert_close(tokens[:, : text.length], text(batch.said)[0])
    shaken, _ = objective.condition(batch)
    off = (shaken - tokens)[batch.has_signal, text.length :].std(dim=(1, 2))
    torch.testing.assert_close(off, batch.noise.flatten(), atol=0.02, rtol=0.1)


def test_boxes_reach_the_gated_layers_as_they_do_when_served(
    cache: LatentCache, text: TextCondition, objective: Denoising
) -> None:
    layout = next(found for found in map(layout_of(batches(cache, text)), range(20)) if found is not None)
    states = {name: state.pooled for name, state in zip(PHRASES, text.encode(PHRASES), strict=True)}
    conditions = []
    for places, names in zip(layout.boxes, layout.names, strict=True):
        count = int((names >= 0).sum())
        known = [states[PHRASES[i]] for i in names[:count]]
        conditions.append(
            GligenCondition(
                tokens=torch.zeros(1, text.width),
                boxes=tuple(tuple(box) for box in places[:count].tolist()),
                phrases=torch.stack(known) if known else None,
                grounded=True,
            )
        )
    expected = objective.parts["gligen_unet"].pack_grounding(conditions)
    made = objective.grounding(layout)
    assert made.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(made[name], expected[name])


def layout_of(made: Batches):  # type: ignore[no-untyped-def]
    return lambda number: made(number).layout


def test_kept_parts_are_seen_as_they_are_and_the_rest_is_not(cache: LatentCache, text: TextCondition) -> None:
    made: list[Batch] = [batches(cache, text)(number) for number in range(4)]
    kept = torch.cat([batch.source[:, -1] for batch in made])
    seen = torch.cat([batch.source[:, :-1] for batch in made])
    latents = torch.cat([batch.latents for batch in made])
    assert torch.equal(seen, latents * kept[:, None])
    some = kept.flatten(1).any(1)
    assert 0 < int(some.sum()) < len(some) / 2
    assert not kept[some].flatten(1).all(1).any(), "a row with nothing to paint"


def test_half_of_the_micro_batches_have_boxes(cache: LatentCache, text: TextCondition) -> None:
    made = batches(cache, text, size=2)
    layouts: list[Layout | None] = [made(number).layout for number in range(60)]
    assert 18 < sum(layout is not None for layout in layouts) < 42
