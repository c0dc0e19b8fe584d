"""Scores by networks in the evaluation: only those whose network the command line names."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from tests.unit.evaluation.test_evaluate import Perfect, Silent
from train.evaluation import run
from train.evaluation.extractors import clip, open_extractors
from train.evaluation.items import items
from train.evaluation.media_scores import left_out
from train.evaluation.options import parse
from vitron.evaluation.features import TorchExtractor
from vitron.evaluation.table import Row
from vitron.weights import ASSETS

HERE = "tests.unit.evaluation.test_media_scores"
TASKS = "image_generation,video_generation"


def means() -> TorchExtractor:
    """Mean colours of pictures or clips."""
    return TorchExtractor("means", lambda pixels: pixels.flatten(2).mean(dim=2))


class Words:
    """Says of every picture and text the same."""

    def __init__(self, name: str) -> None:
        self.name = name

    def images(self, images: list[np.ndarray], /) -> np.ndarray:
        return np.ones((len(images), 3))

    def texts(self, texts: list[str], /) -> np.ndarray:
        assert all(texts)
        return np.ones((len(texts), 3))


class Reader:
    """Knows what is to be seen in the pictures of edits, and places equal contents at one point."""

    name = "reader"

    def __init__(self) -> None:
        samples = [item.sample() for item in items("image_editing", "test", 6)]
        self.known = {sample.images[-1].tobytes(): sample.target["before"] for sample in samples}
        self.known |= {sample.target["image"].tobytes(): sample.condition_text for sample in samples}

    def images(self, images: list[np.ndarray], /) -> np.ndarray:
        return self.texts([self.known[image.tobytes()] for image in images])

    def texts(self, texts: list[str], /) -> np.ndarray:
        return np.stack([np.random.default_rng(zlib.crc32(text.encode())).random(8) for text in texts])


def evaluate(folder: Path, assistant: object, *more: str) -> dict[tuple[str, str], Row]:
    places = ["--predictions", str(folder / "runs"), "--results", str(folder / "results")]
    options = parse(["--samples", "6", "--tasks", TASKS, "--splits", "test", *places, *more])
    return {(row.task, row.metric): row for row in run.evaluate(options, "made-up", lambda: assistant)}


def test_named_networks_add_scores_that_say_what_they_rest_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    named = [f"image={HERE}:means", f"clip={HERE}:means", f"joint={HERE}:Words@alike"]
    rows = evaluate(tmp_path, Perfect(), *(word for each in named for word in ("--extractor", each)))
    for task, metric, value in (
        ("image_generation", "frechet_distance[means]", 0.0),
        ("image_generation", "clip_score[alike]", 100.0),
        ("video_generation", "frechet_video_distance[means]", 0.0),
        ("video_generation", "clip_sim[alike]", 1.0),
    ):
        row = rows[task, metric]
        assert row.value == pytest.approx(value, abs=1e-4) and row.n == 6
    assert 0.5 < rows["video_generation", "frame_consistency[means]"].value <= 1.0
    # Nothing classifies.
    assert not any(metric.startswith("inception_score") for _, metric in rows)
    said = caplog.text
    assert "left out without --extractor image-classes=...: inception_score of image_generation" in said
    assert "frechet_distance" not in said


def test_an_edit_changes_the_picture_as_its_caption_changes(tmp_path: Path) -> None:
    rows = evaluate(tmp_path, Perfect(), "--extractor", f"joint={HERE}:Reader", "--tasks", "image_editing")
    row = rows["image_editing", "clip_dir[reader]"]
    assert row.value == pytest.approx(1.0, abs=1e-4) and row.n == 6


def test_without_networks_the_output_says_what_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows = evaluate(tmp_path, Silent())
    assert not any("[" in metric for _, metric in rows)
    assert "left out without --extractor image=...: frechet_distance of image_generation" in caplog.text
    assert list(left_out(["vqa", "rec"], {})) == []


def test_what_was_not_made_is_not_scored(tmp_path: Path) -> None:
    rows = evaluate(tmp_path, Silent(), "--extractor", f"image={HERE}:means")
    assert not any("[" in metric for _, metric in rows)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["pictures=a:b"], "extractor: got 'pictures=a:b', expected KIND=module:function.* with a KIND of image, clip"),
        (["image=a"], "expected KIND=module:function"),
        ([f"image={HERE}:nothing"], "has no 'nothing'"),
        (["image=no.such:network"], "No module named 'no'"),
        ([f"image={HERE}:means"] * 2, "got two for image"),
        (["image=train.evaluation.extractors:torchscript@/no/file.pt"], "got '/no/file.pt', expected a TorchScript"),
    ],
)
def test_a_wrong_address_is_named(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_extractors(texts)


def test_a_clip_of_transformers_reads_pictures_of_any_size_and_texts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 640, "max_position_embeddings": 12, "eos_token_id": 1},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(tmp_path)
    for file in (ASSETS / "tiny/clip_tokenizer").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    pair = clip(str(tmp_path))
    assert pair.name == tmp_path.name
    pictures = [np.full((40, 90, 3), 200, np.uint8), np.full((64, 32, 3), 10, np.uint8)]
    seen = np.concatenate([pair.images([each]) for each in pictures])
    assert np.allclose(seen, pair.images(pictures), atol=1e-5) and not np.allclose(seen[0], seen[1])
    read = pair.texts(["a red circle", "a very long description of " + "many things " * 20])
    assert read.shape == seen.shape == (2, 8) and np.isfinite(read).all()
