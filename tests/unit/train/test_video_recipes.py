"""Pre-training of the video generators: what is trained, from what, and on which micro-batches."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from train.__main__ import main
from train.data import clips_latents
from train.data.clips_latents import KINDS, NUM_FULL, ClipCache
from train.data.shapes.clip_words import TOWARD
from train.data.shapes.motion import HELD_OUT
from train.data.shapes.render_clip import film
from train.recipe import NotForPreset
from train.recipes import find
from train.recipes.video import SHIFT_WEIGHT, motion_losses, moving_weights, object_weights
from train.recipes.video_data import Batches
from vitron.clip_plan import planned_tracks
from vitron.config import VitronConfig
from vitron.diffusion.latents import LatentCodec
from vitron.diffusion.warp import Motion
from vitron.presets import preset
from vitron.specialists.gligen_denoiser import GligenDenoiser
from vitron.specialists.text_condition import TextCondition
from vitron.specialists.video_denoiser import I2VGenDenoiser, ZeroscopeDenoiser
from vitron.weights import ASSETS, Weights, open_weights

CONFIG: VitronConfig = preset("tiny")
KIND = {"zeroscope": "generated", "i2vgen": "animated"}
SCORES = {
    "zeroscope": ("objects", "motion", "match", "events", "background"),
    "i2vgen": ("identity", "follows", "match"),
}
FRAMES = 8


def denoiser(recipe: str) -> nn.Module:
    made = {
        "zeroscope": lambda: ZeroscopeDenoiser.from_config(CONFIG.zeroscope),
        "i2vgen": lambda: I2VGenDenoiser.from_config(CONFIG.i2vgen),
    }
    return made[recipe]()


@pytest.fixture(scope="module")
def text() -> TextCondition:
    torch.manual_seed(1)
    return TextCondition.from_config(CONFIG.gligen.text, Weights(ASSETS / "tiny").tokenizer("clip_tokenizer"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, text: TextCondition) -> Path:
    """Weights that nobody has trained: what the video generators start from."""
    made = tmp_path_factory.mktemp("weights")
    (made / "clip_tokenizer").symlink_to(ASSETS / "tiny" / "clip_tokenizer")
    torch.manual_seed(3)
    Weights(made).save("clip_text", text.encoder)
    Weights(made).save("gligen_vae", LatentCodec.from_config(CONFIG.gligen.vae))
    Weights(made).save("gligen_unet", GligenDenoiser.from_config(CONFIG.gligen))
    return made


@pytest.fixture(scope="module", params=tuple(KIND))
def run(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: Any) -> Path:
    """A run of one small step through the command line; the folder's name is the recipe's."""
    storage = tmp_path_factory.mktemp("runs")
    sizes = {"steps": 1, "batch": 2, "micro_batch": 2, "precision": "fp32", "cache": storage / "cache"}
    changes = [f"--set={field}={value}" for field, value in sizes.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.recipes.video.NUM_HELD_OUT", 1)
        assert main([request.param, "--storage", str(storage), "--start", str(folder), "--no-track", *changes]) == 0
    return storage / request.param


def test_the_checkpoint_holds_the_network_alone_and_loads_into_what_is_served(run: Path, folder: Path) -> None:
    weights = open_weights("tiny", run)
    assert [path.stem for path in weights.folder.glob("*.safetensors")] == [f"{run.name}_unet"]
    assert weights.base == folder
    weights.load(f"{run.name}_unet", denoiser(run.name))


def test_training_starts_from_the_image_generator(run: Path, folder: Path) -> None:
    image, video = GligenDenoiser.from_config(CONFIG.gligen), denoiser(run.name)
    Weights(folder).load("gligen_unet", image)
    open_weights("tiny", run).load(f"{run.name}_unet", video)
    name = "mid_block.resnets.0.conv1.weight"
    step = (video.unet.get_parameter(name) - image.unet.get_parameter(name)).abs().max()
    assert 0.0 < step < 0.1 * image.unet.get_parameter(name).abs().max()


def test_validation_scores_held_out_clips_and_draws_samples(run: Path) -> None:
    lines = [line for line in (run / "log.jsonl").read_text().splitlines() if '"kind": "val"' in line]
    assert all(f'"{score}"' in lines[-1] for score in SCORES[run.name])
    assert (run / "samples" / "samples.png").stat().st_size > 500


@pytest.mark.parametrize("recipe", KIND)
def test_a_preset_with_stock_generators_does_not_train_them(recipe: str) -> None:
    with pytest.raises(NotForPreset, match="uses the stock checkpoint"):
        find(recipe, "vitron-7b")


def made_up(folder: Path) -> ClipCache:
    """Five clips whose texts are their numbers: clip, pair, side."""
    texts = np.zeros((5, NUM_FULL + 1, 2, 3), np.int16)
    texts[..., 0] = np.arange(1, 6)[:, None, None]
    texts[..., 1], texts[..., 2] = np.arange(NUM_FULL + 1)[None, :, None], np.arange(2)[None, None]
    np.save(
        folder / "latents.npy", np.arange(5, dtype=np.float16)[:, None, None, None, None] + np.ones((1, 4, 2, 2, 2))
    )
    np.save(folder / "texts.npy", texts)
    np.save(folder / "moves.npy", np.zeros((5, 3, 2, 2, 2), np.float16))
    np.save(folder / "boxes.npy", np.ones((5, 2, 2, 4), np.float16))
    np.save(folder / "there.npy", np.ones((5, 2, 2), np.bool_))
    np.save(folder / "phrases.npy", np.ones((5, 2, 3), np.int16))
    np.save(folder / "source.npy", np.zeros((5, 8, 8), np.bool_))
    return ClipCache.open(folder)


def test_micro_batches_depend_on_their_number_and_the_seed_alone(tmp_path: Path) -> None:
    batches = Batches(made_up(tmp_path), torch.zeros(3, dtype=torch.long), size=4, seed=1)
    again = pickle.loads(pickle.dumps(batches))
    assert all(torch.equal(batches(n).latents, again(n).latents) for n in range(5))
    assert all(torch.equal(batches(n).said, again(n).said) for n in range(5))
    other = Batches(made_up(tmp_path), torch.zeros(3, dtype=torch.long), size=4, seed=2)
    assert not all(torch.equal(batches(n).said, other(n).said) for n in range(5))


def test_every_mixture_of_words_and_signal_occurs_and_belongs_to_its_clip(tmp_path: Path) -> None:
    batches = Batches(made_up(tmp_path), torch.zeros(3, dtype=torch.long), size=6, seed=0)
    kinds = set()
    for batch in map(batches, range(60)):
        meant = torch.zeros_like(batch.said) if batch.meant is None else batch.meant
        nothing = (batch.said[:, 0] == 0) & (meant[:, 0] == 0)
        assert not batch.planned[nothing].any(), "the guiding row of a clip from words knows no plan"
        for said_T, meant_T, latents in zip(batch.said, meant, batch.latents, strict=True):
            number = int(latents.flatten()[0])
            assert all(ids[0] in (0, number) for ids in (said_T, meant_T))
            vague = bool(said_T[1] == NUM_FULL)
            kinds.add((bool(said_T[0]), bool(meant_T[0]), vague))
            assert meant_T[0] or not vague, "what says too little comes with a signal"
        if batch.meant is not None:
            assert batch.noise is not None
            assert not batch.noise[batch.meant[:, 0] == 0].any()
    assert kinds == {(True, False, False), (False, True, False), (True, True, False), (True, True, True)} | {
        (False, False, False)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_of_a_number_is_always_the_same_and_shows_no_held_out_pair(kind: str) -> None:
    for index in range(20):
        drawn, again = (KINDS[kind]("train", index, FRAMES) for _ in range(2))
        assert drawn == again
        assert len(drawn.pairs) == NUM_FULL + 1
        assert drawn.clip.frames == FRAMES
        assert all((mover.looks.color, mover.looks.shape) not in HELD_OUT for mover in drawn.clip.movers)


def test_clips_that_words_describe_have_few_objects_and_say_all_of_them() -> None:
    for index in range(30):
        clip, pairs, _ = KINDS["generated"]("train", index, FRAMES)
        assert len(clip.movers) <= 2
        assert all(mover.looks.color in meant for _, meant in pairs for mover in clip.movers)


def test_one_object_of_a_picture_moves_and_every_text_says_where_to() -> None:
    for index in range(30):
        clip, pairs, _ = KINDS["animated"]("train", index, FRAMES)
        (moving,) = [mover for mover in clip.movers if mover.path.moves]
        assert all(moving.looks.color in meant and moving.looks.shape in meant for _, meant in pairs)
        assert all(TOWARD[moving.path.direction] in meant for _, meant in pairs)


def test_what_moves_comes_from_where_it_was_in_the_first_frame() -> None:
    drawn = KINDS["animated"]("train", 3, FRAMES)
    moves = clips_latents.moves(drawn, 16, 16)
    assert drawn.moving is not None
    mover = drawn.clip.movers[drawn.moving]
    for frame in range(FRAMES):
        obj = mover.at(frame)
        assert obj is not None
        rows, columns = np.nonzero(moves[2, frame])
        assert abs(columns.mean() + 0.5 - obj.x / 4) < 1.0
        assert abs(rows.mean() + 0.5 - obj.y / 4) < 1.0
        origin = (columns + 0.5 + moves[0, frame, rows, columns], rows + 0.5 + moves[1, frame, rows, columns])
        assert abs(origin[0].mean() - mover.looks.x / 4) < 1.0
        assert abs(origin[1].mean() - mover.looks.y / 4) < 1.0
    assert not moves[:2][:, moves[2] == 0].any()
    assert not clips_latents.moves(KINDS["generated"]("train", 3, FRAMES), 16, 16).any()


def test_the_errors_of_motion_are_zero_for_the_true_motion_and_grow_with_the_distance() -> None:
    moves = torch.from_numpy(clips_latents.moves(KINDS["animated"]("train", 3, FRAMES), 16, 16))[None]
    covered = moves[:, 2:]
    offset = -(moves[:, :2] * covered).sum(dim=(3, 4)) / covered.sum(dim=(3, 4)).clamp(min=1.0)
    source = covered[:, :, :1].expand(-1, -1, FRAMES, -1, -1)
    true = Motion(offset[..., None, None].expand(-1, -1, -1, 16, 16), 40.0 * source - 20.0)
    shown = source[0, 0, 0].repeat_interleave(4, 0).repeat_interleave(4, 1)[None]
    fine = true._replace(moving=true.moving.expand(-1, 16, -1, -1, -1))
    assert motion_losses(fine, moves, shown)["moving"].item() == pytest.approx(0.0, abs=1e-5)
    right = motion_losses(true, moves, shown)
    assert right["shift"].item() == pytest.approx(0.0, abs=1e-5)
    assert right["moving"].item() == pytest.approx(0.0, abs=1e-5)
    aside = motion_losses(true._replace(shift=true.shift + 1.0), moves, shown)["shift"].item()
    assert aside == pytest.approx(2.0 * SHIFT_WEIGHT)
    assert motion_losses(true._replace(moving=-true.moving), moves, shown)["moving"].item() > 10.0 * SHIFT_WEIGHT


def test_weights_of_the_error_leave_the_mean_and_prefer_what_was_asked_for() -> None:
    latents = torch.zeros(2, 4, 3, 8, 8)
    latents[:, 0, 1:, 2, 2] = 2.0
    for weights in (moving_weights(latents), object_weights(latents)):
        assert weights.mean(dim=(1, 2, 3, 4)).tolist() == pytest.approx([1.0, 1.0])
        assert (weights[:, 0, 2, 2, 2] > 2.0 * weights[:, 0, 2, 0, 0]).all()
    assert not moving_weights(latents)[:, :, 0].any()


def test_latents_of_clips_are_computed_once(tmp_path: Path, text: TextCondition, monkeypatch: Any) -> None:
    codec = LatentCodec.from_config(CONFIG.gligen.vae).eval()
    cache = clips_latents.build(tmp_path, "animated", 3, FRAMES, codec, text)
    assert cache.latents.shape == (3, 4, FRAMES, 16, 16)
    monkeypatch.setattr(clips_latents, "_latents", None)
    assert clips_latents.build(tmp_path, "animated", 3, FRAMES, codec, text).folder == cache.folder
    drawn = KINDS["animated"]("train", 2, FRAMES)
    ids = text.tokenize([drawn.pairs[0][0]])[0]
    assert np.array_equal(cache.texts[2, 0, 0], ids.numpy())
    shown = film(drawn.clip)
    assert drawn.moving is not None
    assert np.array_equal(cache.source[2], shown.masks[drawn.moving, 0])
    (track,) = planned_tracks(clips_latents.plan(drawn, shown), FRAMES)
    assert np.allclose(cache.boxes[2, 0], track.boxes, atol=1e-3) and not cache.boxes[2, 1].any()
    assert cache.there[2, 0].all() and not cache.there[2, 1].any()
    assert np.array_equal(cache.phrases[2, 0], text.tokenize([track.label])[0].numpy())
