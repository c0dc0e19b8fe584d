"""Training the memory of the video segmenter: what it sees, what it should say, and what a run leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from train.__main__ import main
from train.data.shapes.motion import clip_at
from train.data.shapes.render_clip import film
from train.recipes import find
from train.recipes.seem_video import batch_at, recognition_loss
from train.recipes.seem_video_data import Observations, collect, observe, spoken
from train.settings import Settings
from vitron.presets import preset
from vitron.specialists.seem.memory import NUM_SOURCES
from vitron.specialists.seem.track_words import MEASURES, measure
from vitron.specialists.seem.tracking import Tracker
from vitron.specialists.seem.video import SeemVideo, VideoMemory
from vitron.weights import ASSETS, Weights, open_weights

CONFIG = preset("tiny")
SHIPPED = Weights(ASSETS / "tiny")


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    torch.manual_seed(0)
    seem = SeemVideo(CONFIG.seem, CONFIG.signal, SHIPPED.tokenizer("clip_tokenizer")).eval()
    SHIPPED.load("seem", seem.network)
    return Tracker(seem.network, seem.memory.reader, CONFIG.seem)


@pytest.fixture(scope="module")
def observations(tracker: Tracker) -> Observations:
    return collect(tracker, "val", range(4), lambda line: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two small steps from a segmenter without a memory."""
    folder, storage = tmp_path_factory.mktemp("weights"), tmp_path_factory.mktemp("runs")
    for name in ("clip_tokenizer", "seem.safetensors"):
        (folder / name).symlink_to(SHIPPED.folder / name)
    sizes = {"steps": 2, "batch": 4, "micro_batch": 2, "precision": "fp32", "cache": storage / "cache"}
    changes = [f"--set={field}={value}" for field, value in sizes.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.recipes.seem_video.NUM_HELD_OUT", 1)
        patch.setattr("train.recipes.seem_video_scores.NUM_DRAWN", 1)
        assert main(["seem_video", "--storage", str(storage), "--start", str(folder), "--no-track", *changes]) == 0
    return storage / "seem_video"


def test_the_checkpoint_holds_the_memory_alone_and_loads_into_what_is_served(run: Path) -> None:
    weights = open_weights("tiny", run)
    assert [path.stem for path in weights.folder.glob("*.safetensors")] == ["seem_video"]
    weights.load("seem_video", VideoMemory(CONFIG.seem))


def test_validation_scores_words_and_drawings_and_draws_samples(run: Path) -> None:
    line = [line for line in (run / "log.jsonl").read_text().splitlines() if '"kind": "val"' in line][-1]
    assert all(f'"{name}"' in line for name in ("j_and_f", "track_text", "track_mark"))
    assert (run / "samples" / "tracks.png").stat().st_size > 500


def test_a_stock_segmenter_gets_a_memory_too() -> None:
    assert find("seem_video", "vitron-7b").rates == {"seem_video": 1.0, "seem": 0.0}


def test_what_is_observed_has_a_right_candidate_where_the_object_is_in_sight(tracker: Tracker) -> None:
    footage = film(clip_at("val", 1))
    with torch.no_grad():
        seen = observe(tracker, footage, np.random.default_rng(0))
    assert all(each.looks.shape == (CONFIG.seem.num_queries, NUM_SOURCES * CONFIG.seem.hidden) for each in seen)
    # Every mover is followed from where it is pointed at, to both ends: T - 1 frames each.
    assert len(seen) == len(footage.masks) * (len(footage.frames) - 1)
    there = sum(each.target >= 0 for each in seen) / len(seen)
    assert abs(there - footage.seen.mean()) < 0.2


def test_micro_batches_depend_on_their_number_and_the_seed_alone(observations: Observations) -> None:
    settings = Settings(steps=1, batch=8, micro_batch=8)
    first, again, other = (batch_at(settings, observations, number) for number in (3, 3, 4))
    assert torch.equal(first.looks, again.looks) and torch.equal(first.ids, again.ids)
    assert not torch.equal(first.looks, other.looks)
    kinds = {batch_at(settings, observations, number).described for number in range(12)}
    assert kinds == {True, False}


def test_recognising_the_right_candidate_costs_least() -> None:
    target = torch.tensor([1, -1])
    right = torch.tensor([[-4.0, 4.0, -4.0], [-4.0, -4.0, -4.0]])
    wrong = torch.tensor([[4.0, -4.0, -4.0], [-4.0, -4.0, 4.0]])
    hidden = torch.full((2, 3), -4.0)
    losses = [float(recognition_loss(logits, target)) for logits in (right, hidden, wrong)]
    assert losses[0] < 0.1 and losses == sorted(losses)


def test_texts_about_a_clip_come_with_the_tracks_of_all_its_movers() -> None:
    footage = film(next(c for i in range(20) if len((c := clip_at("val", i)).movers) == 2))
    words = spoken(footage, np.random.default_rng(0))
    assert {each.target for each in words} == {0, 1} and any(each.described for each in words)
    assert all(each.tracks.shape == (2, 2, len(MEASURES)) for each in words)


def test_a_track_is_measured_by_where_it_goes_and_when_it_is_seen() -> None:
    masks = np.zeros((5, 20, 20), np.bool_)
    for t in (1, 2, 3):
        masks[t, 8:12, 4 * t : 4 * t + 4] = True
    measured = dict(zip(MEASURES, measure(list(masks)), strict=True))
    assert measured["moved_x"] == pytest.approx(0.4) and measured["moved_y"] == pytest.approx(0)
    assert measured["toward_x"] > 0.9 and measured["moves"] == 1
    assert measured["comes"] == measured["leaves"] == 1 and measured["hidden"] == 0
    assert not measure([None, None]).any()
