"""Pre-training of encoders and specialists: what is trained, from what, and what can be served afterwards."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from train.__main__ import main
from train.data.shapes.motion import clip_at, frame_scene
from train.data.shapes.render import masks, render
from train.data.shapes.scene import scene_at
from train.optimizers import Optimizers
from train.recipe import Job, NotForPreset, Recipe
from train.recipes import CHAIN, find
from train.recipes.clip_data import NAMES as WORDS
from train.recipes.clip_data import patch_targets
from train.recipes.vae import emptiest, pictures
from train.settings import Settings
from vitron.config import VitronConfig
from vitron.diffusion.latents import LatentCodec, to_pixels
from vitron.encoders.image import ImageEncoder
from vitron.presets import preset
from vitron.specialists.gligen_denoiser import GligenDenoiser
from vitron.specialists.seem import SeemNetwork
from vitron.specialists.text_condition import TextCondition
from vitron.weights import ASSETS, Weights, open_weights

SHIPPED = Weights(ASSETS / "tiny")
CONFIG: VitronConfig = preset("tiny")
TRAINED = {
    "clip": {"clip_vision", "clip_text", "clip_heads"},
    "clip_text": {"clip_text", "clip_text_heads"},
    "vae": {"gligen_vae"},
    "gligen": {"gligen_unet"},
    "seem": {"seem"},
}
FROZEN = {"clip": set(), "clip_text": set(), "vae": set(), "gligen": {"gligen_vae", "clip_text"}, "seem": set()}
SCORES = {
    "clip": {"retrieval", "shape", "color", "size", "box_l1"},
    "clip_text": {"words", "moved"},
    "vae": {"psnr", "empty", "read"},
    "gligen": {"words", "boxes", "match"},
    "seem": {"ciou", "name", "full", "expression", "signal", "vague_and_signal", "point", "box", "scribble"}
    | {"polygon", "mask", "reference"},
}
SAMPLES = {
    "clip": "patches.png",
    "clip_text": "words.txt",
    "vae": "reconstructions.png",
    "gligen": "samples.png",
    "seem": "masks.png",
}
NAMES = tuple(TRAINED)
HEADS = {"clip_heads", "clip_text_heads"}
"""What only training needs."""


def served(part: str) -> nn.Module:
    """Return a part with random weights, as serving builds it."""
    tokenizer = SHIPPED.tokenizer("clip_tokenizer")
    made = {
        "clip_vision": lambda: ImageEncoder(CONFIG.clip),
        "clip_text": lambda: TextCondition.from_config(CONFIG.gligen.text, tokenizer).encoder,
        "gligen_vae": lambda: LatentCodec.from_config(CONFIG.gligen.vae),
        "gligen_unet": lambda: GligenDenoiser.from_config(CONFIG.gligen),
        "seem": lambda: SeemNetwork(CONFIG.seem, tokenizer),
    }
    return made[part]()


@pytest.fixture(scope="module")
def few() -> Iterator[pytest.MonkeyPatch]:
    """Validate on a handful of held-out pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.recipes.vae.NUM_HELD_OUT", 4)
        patch.setattr("train.recipes.gligen.NUM_HELD_OUT", 2)
        patch.setattr("train.recipes.seem.NUM_HELD_OUT", 2)
        patch.setattr("train.recipes.seem_scores.NUM_DRAWN", 1)
        patch.setattr("train.recipes.clip.NUM_HELD_OUT", 8)
        yield patch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that nobody has trained: a tokenizer, and random values of what the generator needs."""
    made = tmp_path_factory.mktemp("weights")
    (made / "clip_tokenizer").symlink_to(ASSETS / "tiny" / "clip_tokenizer")
    torch.manual_seed(3)
    for part in ("clip_text", "gligen_vae"):
        Weights(made).save(part, served(part))
    return made


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", params=NAMES)
def run(request: pytest.FixtureRequest, folder: Path, cache: Path, few: object, tmp_path_factory: Any) -> Path:
    """A run of two small steps through the command line; the folder's name is the recipe's."""
    storage = tmp_path_factory.mktemp("runs")
    sizes = {"steps": 2, "batch": 4, "micro_batch": 2, "precision": "fp32", "cache": cache}
    changes = [f"--set={field}={value}" for field, value in sizes.items()]
    assert main([request.param, "--storage", str(storage), "--start", str(folder), "--no-track", *changes]) == 0
    return storage / request.param


@pytest.fixture(params=NAMES)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return find(request.param)


def small(recipe: Recipe, cache: Path, **changes: Any) -> Settings:
    return replace(recipe.settings, **{"steps": 4, "batch": 4, "micro_batch": 2, "cache": str(cache), **changes})


def tensors(value: Any) -> list[Tensor]:
    """Return every tensor of a batch in order."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in tensors(part)] if isinstance(value, tuple) else []


def equal(a: Any, b: Any) -> bool:
    pairs = zip(tensors(a), tensors(b), strict=False)
    return len(tensors(a)) == len(tensors(b)) and all(x.shape == y.shape and torch.equal(x, y) for x, y in pairs)


def test_the_checkpoint_holds_exactly_the_trained_parts_and_loads_into_what_is_served(run: Path, folder: Path) -> None:
    weights = open_weights("tiny", run)
    assert {path.stem for path in weights.folder.glob("*.safetensors")} == TRAINED[run.name]
    assert weights.base == folder
    assert weights.manifest()["step"] == 2
    for part in (TRAINED[run.name] | FROZEN[run.name]) - HEADS:
        weights.load(part, served(part))


def test_validation_scores_held_out_scenes_and_draws_samples(run: Path) -> None:
    lines = [line for line in (run / "log.jsonl").read_text().splitlines() if '"kind": "val"' in line]
    assert lines
    assert all(f'"{score}"' in lines[-1] for score in SCORES[run.name])
    assert (run / "samples" / SAMPLES[run.name]).stat().st_size > 200


def test_a_recipe_trains_the_parts_it_says_and_leaves_the_others_as_they_are(
    recipe: Recipe, folder: Path, cache: Path
) -> None:
    job = recipe.build(Weights(folder), small(recipe, cache))
    parts = dict(job.objective.parts)
    learn = {name: [p.requires_grad for p in part.parameters()] for name, part in parts.items()}
    assert {name for name, values in learn.items() if all(values)} == TRAINED[recipe.name]
    assert {name for name, values in learn.items() if not any(values)} == FROZEN[recipe.name]
    for part in FROZEN[recipe.name]:
        held = served(part)
        Weights(folder).load(part, held)
        assert all(torch.equal(a, b) for a, b in zip(parts[part].parameters(), held.parameters(), strict=True))
    assert job.new == TRAINED[recipe.name] - {"clip_text", "gligen_vae"}


def test_a_few_steps_on_one_micro_batch_lower_its_loss(recipe: Recipe, folder: Path, cache: Path) -> None:
    settings = small(recipe, cache, warmup=1, steps=40, precision="fp32")
    job = recipe.build(Weights(folder), settings)
    optimizers = Optimizers(job.objective, settings, recipe.rates, job.adam_names)
    batch = job.batches(0)
    before = loss_of(job, batch)
    for step in range(6):
        optimizers.clear()
        torch.manual_seed(0)
        torch.stack(list(job.objective.train()(batch).values())).sum().backward()
        nn.utils.clip_grad_norm_(optimizers.parameters, settings.clip)
        optimizers.step(step)
    assert loss_of(job, batch) < 0.97 * before


@torch.no_grad()
def loss_of(job: Job, batch: Any) -> float:
    torch.manual_seed(0)
    return float(sum(job.objective.train()(batch).values()))


def test_a_micro_batch_depends_on_its_number_and_the_seed_alone(recipe: Recipe, folder: Path, cache: Path) -> None:
    batches = recipe.build(Weights(folder), small(recipe, cache)).batches
    third = batches(3)
    assert equal(third, batches(3))
    assert not equal(third, batches(2))
    other = recipe.build(Weights(folder), small(recipe, cache, seed=1)).batches
    assert not equal(third, other(3))
    held = pickle.dumps(batches)
    assert equal(third, pickle.loads(held)(3))
    assert len(held) < 2**18, "loader processes would copy weights or data"


def test_a_step_can_be_shared_among_workers(recipe: Recipe) -> None:
    assert recipe.settings.micro_batches >= 2


@pytest.mark.weights
def test_the_shipped_weights_are_trained_on(recipe: Recipe, cache: Path) -> None:
    job = recipe.build(SHIPPED, small(recipe, cache))
    assert job.new == TRAINED[recipe.name] & HEADS
    for part in TRAINED[recipe.name] - HEADS:
        held = served(part)
        SHIPPED.load(part, held)
        pairs = zip(job.objective.parts[part].parameters(), held.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_the_generator_says_which_frozen_part_is_missing(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "clip_tokenizer").symlink_to(ASSETS / "tiny" / "clip_tokenizer")
    with pytest.raises(FileNotFoundError, match=r"gligen_vae\.safetensors"):
        find("gligen").build(Weights(tmp_path), small(find("gligen"), cache))


@pytest.mark.parametrize(
    ("name", "stock", "then"),
    [
        ("clip", "openai/clip-vit-large-patch14-336", "alignment"),
        ("clip_text", "openai/clip-vit-large-patch14-336", "alignment"),
        ("clip_vision", "openai/clip-vit-large-patch14-336", "alignment"),
        ("vae", "masterful/gligen-1-4-generation-text-box", "decoder"),
        ("gligen", "masterful/gligen-1-4-generation-text-box", "decoder"),
        ("seem", "xdecoder/SEEM", "decoder"),
    ],
)
def test_a_stock_checkpoint_is_not_trained_again(name: str, stock: str, then: str) -> None:
    with pytest.raises(NotForPreset, match=f"'vitron-7b' uses the stock checkpoint {stock}.*'{then}' trains on"):
        find(name, "vitron-7b")
    assert then in CHAIN


def test_the_list_and_the_chain_leave_out_what_a_preset_does_not_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("train.__main__.CHAIN", NAMES)
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert all(f"{find(name).settings.steps} steps" in line for name, line in zip(NAMES, lines, strict=True))
    assert main(["list", "--preset", "vitron-7b"]) == 0
    assert capsys.readouterr().out.count("no steps") == len(NAMES)
    assert main(["all", "--preset", "vitron-7b", "--storage", str(tmp_path), "--no-track"]) == 0
    assert capsys.readouterr().out.count("left out") == len(NAMES)
    assert main(["clip", "--preset", "vitron-7b", "--storage", str(tmp_path)]) == 2
    assert "stock checkpoint" in capsys.readouterr().err


def test_a_decoder_that_goes_on_leaves_latents_as_they_are(folder: Path, few: object, cache: Path) -> None:
    recipe = find("train.recipes.vae:vae_decoder")
    job = recipe.build(Weights(folder), small(recipe, cache, precision="fp32"))
    codec = job.objective.parts["gligen_vae"]
    assert isinstance(codec, LatentCodec)
    learns = {name.split(".")[1] for name, each in codec.named_parameters() if each.requires_grad}
    assert learns == {"decoder", "post_quant_conv"}
    codec.set_scale(7.0)
    assert {"psnr", "empty", "read"} == set(job.validate())
    assert float(codec.scaling_factor) == pytest.approx(1 / 7)
    assert job.batches(0).sharpness == 1.0


def test_a_segmenter_that_goes_on_leaves_states_of_texts_as_they_are(folder: Path, few: object, cache: Path) -> None:
    recipe = find("train.recipes.seem:seem_masks")
    job = recipe.build(Weights(folder), small(recipe, cache, precision="fp32"))
    network = job.objective.parts["seem"]
    learns = {name.split(".")[0] for name, each in network.named_parameters() if each.requires_grad}
    assert learns == {name.split(".")[0] for name, _ in network.named_parameters()} - {"lang_encoder"}
    sum(job.objective(job.batches(0)).values()).backward()
    heard = {name.split(".")[0] for name, each in network.named_parameters() if each.grad is not None}
    assert heard == learns


def test_some_pictures_that_a_codec_learns_from_show_nothing(cache: Path) -> None:
    shown = pictures(small(find("vae"), cache, batch=8, micro_batch=8), 0).pixels
    edges = (shown[..., 1:] - shown[..., :-1]).abs().amax(dim=(1, 2, 3))
    assert edges[0] < edges[2] and edges[4] < edges[6] and len(shown) == 8
    emptiest_frame = emptiest("train", 1)
    assert masks(emptiest_frame).sum() <= masks(frame_scene(clip_at("train", 1), 4)).sum()


def test_a_validated_codec_has_latents_of_unit_deviation(folder: Path, few: object, cache: Path) -> None:
    recipe = find("vae")
    job = recipe.build(Weights(folder), small(recipe, cache))
    codec = job.objective.parts["gligen_vae"]
    assert isinstance(codec, LatentCodec)
    codec.set_scale(7.0)
    job.validate()
    with torch.no_grad():
        latents = codec.encode(to_pixels([render(scene_at("val", i)) for i in range(4)]))
    assert float(latents.std()) == pytest.approx(1.0, abs=1e-3)


def test_edges_count_more_as_the_autoencoder_learns() -> None:
    settings = replace(find("vae").settings, steps=100, batch=2, micro_batch=1)
    at = [pictures(settings, number).sharpness for number in (0, 19, 60, 100, 199)]
    assert at[0] == at[1] == 0.0
    assert at[2] == pytest.approx(0.5)
    assert at[3] == at[4] == 1.0


def test_a_patch_names_the_object_that_covers_it() -> None:
    for index in range(20):
        scene = scene_at("train", index)
        labels, places = patch_targets(scene, 8)
        visible = masks(scene).reshape(-1, 8, 8, 8, 8).sum((2, 4)).reshape(len(scene.objects), 64)
        for patch in range(64):
            if visible[:, patch].sum() == 0:
                assert not labels[patch].any() and not places[patch].any()
            elif visible[:, patch].max() > 32:
                owner = scene.objects[int(visible[:, patch].argmax())]
                named = [words[label - 1] for words, label in zip(WORDS.values(), labels[patch], strict=True)]
                assert named == [owner.shape, owner.color, owner.size]
                assert np.ptp(places[patch]) > 0
