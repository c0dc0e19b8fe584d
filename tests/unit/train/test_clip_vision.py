"""The dense loss on patches, and the image encoder that goes on without leaving what was trained on its features."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from train.__main__ import main
from train.data.shapes.scene import HELD_OUT
from train.recipe import Job, NotForPreset
from train.recipes import find
from train.recipes.clip_data import NAMES
from train.recipes.clip_patches import PatchHeads, dense_losses
from train.recipes.clip_vision import Batch, Pictures, colorless
from vitron.encoders.image import ImageEncoder, load_image_encoder
from vitron.presets import preset
from vitron.weights import Weights, open_weights

CONFIG = preset("tiny")
NAME = "clip_vision"
COLOR, SHAPE = HELD_OUT[2]
"""A pair that no training picture shows."""


def labels(color: str, shape: str) -> Tensor:
    """Return one picture whose one patch shows a small object."""
    words = {"shape": shape, "color": color, "size": "small"}
    return torch.tensor([[[NAMES[name].index(words[name]) + 1 for name in NAMES]]])


def shape_loss(color: str, shape: str, rival: str) -> tuple[float, float]:
    """Return the loss of a shape before and after a rival's logit rises."""
    torch.manual_seed(0)
    heads, features = PatchHeads(CONFIG.clip), torch.randn(1, 1, CONFIG.clip.width)
    found = []
    for rise in (0.0, 5.0):
        with torch.no_grad():
            heads.dense["shape"].bias[NAMES["shape"].index(rival) + 1] += rise
        loss = dense_losses(heads, features, labels(color, shape), torch.zeros(1, 1, 4))["shape"]
        found.append(loss.item())
    return found[0], found[1]


def test_a_shape_that_is_never_seen_in_a_color_does_not_compete_there() -> None:
    before, after = shape_loss(COLOR, "circle", SHAPE)
    assert before == after
    before, after = shape_loss(next(each for each in NAMES["color"] if (each, SHAPE) not in HELD_OUT), "circle", SHAPE)
    assert after > before + 1


def test_colors_of_colorless_pictures_are_not_asked_for() -> None:
    heads, features = PatchHeads(CONFIG.clip), torch.randn(1, 1, CONFIG.clip.width)
    shown, places = labels("red", "circle"), torch.zeros(1, 1, 4)
    losses = dense_losses(heads, features, shown, places, torch.tensor([True]))
    assert losses["color"] == 0 and losses["shape"] > 0
    assert dense_losses(heads, features, shown, places, torch.tensor([False]))["color"] > 0


def test_a_colorless_picture_keeps_its_outlines() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[2:5, 2:5] = (250, 40, 90)
    drained = colorless(image, np.random.default_rng(0))
    assert drained.shape == image.shape and drained.dtype == np.uint8
    assert (drained == drained[..., :1]).all()
    assert len(np.unique(drained)) == 2 and (drained[2:5, 2:5] == drained[2, 2]).all()


def test_micro_batches_follow_from_number_and_seed_and_some_pictures_have_no_color() -> None:
    data = Pictures(ImageEncoder(CONFIG.clip), size=32, gray=0.5)
    first, again, other = data(3), data(3), data(4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.pixels, other.pixels)
    assert 0 < int(first.gray.sum()) < 32
    assert first.labels.shape == (32, CONFIG.clip.grid**2, len(NAMES))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """An encoder that nobody has trained."""
    torch.manual_seed(1)
    weights = Weights(tmp_path_factory.mktemp("weights"))
    weights.save("clip_vision", ImageEncoder(CONFIG.clip))
    return weights


def job(start: Weights) -> Job:
    recipe = find(NAME)
    return recipe.build(start, replace(recipe.settings, batch=4, micro_batch=4, precision="fp32"))


def test_all_that_is_read_of_the_encoder_learns_and_nothing_else(start: Weights) -> None:
    made = job(start)
    loss = sum(made.objective(made.batches(0)).values())
    loss.backward()
    learns = {name for name, each in made.objective.named_parameters() if each.requires_grad}
    heard = {name for name, each in made.objective.named_parameters() if each.grad is not None}
    assert learns == heard
    last = CONFIG.clip.vision["num_hidden_layers"] - 1
    assert not any(f"layers.{last}." in name or "post_layernorm" in name for name in learns)
    assert {name.split(".")[1] for name in learns} == {"clip_vision", "patch_heads"}


def test_features_are_held_where_they_were(start: Weights) -> None:
    made = job(start)
    batch = made.batches(0)
    assert float(made.objective(batch)["kept"]) == pytest.approx(0, abs=1e-6)
    encoder = made.objective.parts["clip_vision"]
    with torch.no_grad():
        for each in encoder.parameters():
            each.mul_(1.2)
    assert float(made.objective(batch)["kept"]) > 0.01
    colorless_ones = Batch(batch.pixels, batch.labels, batch.places, torch.ones_like(batch.gray))
    assert float(made.objective(colorless_ones)["kept"]) == 0


def test_a_run_is_scored_and_served_as_it_is(start: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.recipes.clip_vision.NUM_HELD_OUT", 8)
    sizes = ["steps=12", "batch=8", "micro_batch=8", "precision=fp32", "warmup=1", "validate_steps=6"]
    changes = [f"--set={each}" for each in sizes]
    assert (
        main([NAME, "--name", "seen", "--storage", str(tmp_path), "--start", str(start.folder), "--no-track", *changes])
        == 0
    )
    lines = [json.loads(line) for line in (tmp_path / "seen" / "log.jsonl").read_text().splitlines()]
    scores = [line for line in lines if "apart" in line]
    assert scores and {"shape", "color", "size"} <= scores[-1].keys()
    made = open_weights("tiny", tmp_path / "seen")
    before, after = (load_image_encoder(CONFIG, each).state_dict() for each in (start, made))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("layers.0." in name for name in changed)
    assert not any("post_layernorm" in name for name in changed)


def test_presets_with_a_stock_encoder_leave_it_alone() -> None:
    with pytest.raises(NotForPreset, match="clip-vit-large-patch14-336"):
        find(NAME, "vitron-7b")
