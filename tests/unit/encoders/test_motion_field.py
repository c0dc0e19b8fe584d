"""Where things go: the field sees it, tokens say it, and the recipe teaches it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from train.__main__ import main
from train.data.shapes.clip_vectors import vectors
from train.data.shapes.motion import clip_at
from train.data.shapes.motion_paths import DIRECTIONS
from train.data.shapes.render_clip import film
from train.recipe import NotForPreset
from train.recipes import find
from train.recipes.parts import FRONT
from vitron.config import VideoConfig
from vitron.encoders.image import ImageEncoder
from vitron.encoders.motion_field import REACH, UNIT, MotionField
from vitron.encoders.projector import Projector
from vitron.encoders.video_projector import PART, VideoProjector, strongest
from vitron.presets import preset
from vitron.weights import Weights

CONFIG = VideoConfig(max_frames=8, frame_grid=4, frame_squares=True, motion_field=True)


def travelling(step: int, frames: int = 5, side: int = 8) -> torch.Tensor:
    """Return features `[T, N, 4]` of a frame in which one patch differs and goes to the right."""
    torch.manual_seed(0)
    clip = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(frames, side, side, 1)
    for frame in range(frames):
        clip[frame, 3, 1 + step * frame] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    return clip.flatten(1, 2)


def sharp() -> MotionField:
    """Return a field that takes the likest patch, however far it is."""
    field = MotionField(4)
    with torch.no_grad():
        for layer in (field.query, field.key):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[:4] = 9.0 * torch.eye(4)
        field.nearness.fill_(0.5)
    return field


def test_a_patch_points_from_where_it_was_to_where_it_will_be() -> None:
    found = sharp()(travelling(1)).detach().view(5, 8, 8, 2)
    # In the middle frame both neighbours are there; at the ends one's own place stands for the missing one.
    for frame, patches in ((2, 2 * REACH), (0, REACH), (4, REACH)):
        moved = found[frame, 3, 1 + frame]
        assert torch.allclose(moved, torch.tensor([patches / 8 / UNIT, 0.0]), atol=0.02)


def test_what_stands_still_and_a_single_frame_have_no_vectors() -> None:
    assert not sharp()(travelling(0)).detach().abs().gt(1e-5).any()
    assert not sharp()(travelling(1, frames=1)).detach().abs().gt(0).any()


def test_the_longest_vector_of_a_cell_counts_most_and_rest_gives_nothing() -> None:
    field = torch.zeros(1, 16, 2)
    field[0, 0] = torch.tensor([1.0, 0.0])
    field[0, 1] = torch.tensor([0.0, 0.1])
    cells = strongest(field, 2)[0]
    assert torch.allclose(cells[0], torch.tensor([1.0, 0.01]) / 1.1, atol=1e-6)
    assert not cells[1:].any()


def test_tokens_say_where_to_their_cell_moves_in_units_of_what_it_shows() -> None:
    torch.manual_seed(0)
    pictures = Projector(feature_width=4, grid=8, merge=2, width=32)
    projector = VideoProjector(CONFIG, feature_width=4, width=32)
    projector.field = sharp()
    clip, still = travelling(1), travelling(0)[:1].expand(5, -1, -1)

    def tokens(frames: torch.Tensor, grow: float = 1.0) -> torch.Tensor:
        with torch.no_grad():
            weight = pictures.linear.weight.clone()
            pictures.linear.weight.mul_(grow)
            made = projector(frames.mean(0, keepdim=True), frames, [5], pictures)[16:].view(5, 16, 32)
            pictures.linear.weight.copy_(weight)
        return made

    without = VideoProjector(VideoConfig(max_frames=8, frame_grid=4, frame_squares=True), feature_width=4, width=32)
    without.load_state_dict({k: v for k, v in projector.state_dict().items() if not k.startswith(("field", "vector"))})
    with torch.no_grad():
        plain = without(clip.mean(0, keepdim=True), clip, [5], pictures)[16:].view(5, 16, 32)
        rest = without(still.mean(0, keepdim=True), still, [5], pictures)[16:].view(5, 16, 32)
    assert torch.allclose(tokens(still), rest, atol=1e-4)
    moved = (tokens(clip) - plain).square().mean(-1).sqrt() / plain.square().mean(-1).sqrt()
    cell = 4 * (3 // 2) + 3 // 2  # where the patch is in the middle frame
    assert moved[2, cell] > 0.3 and moved[2, 15] < 0.1
    apart = (tokens(clip, 100.0)[2, cell] - tokens(still, 100.0)[2, cell]).abs().mean()
    assert apart > 10 * (tokens(clip)[2, cell] - tokens(still)[2, cell]).abs().mean()


def test_the_llms_loss_leaves_the_field_as_it_is() -> None:
    projector = VideoProjector(CONFIG, feature_width=4, width=32)
    pictures = Projector(feature_width=4, grid=8, merge=2, width=32)
    clip = travelling(1).requires_grad_()
    projector(clip.mean(0, keepdim=True), clip, [5], pictures).square().sum().backward()
    assert projector.field is not None
    assert all(each.grad is None for each in projector.field.parameters())
    assert all(each.grad is not None and each.grad.any() for each in projector.vector.parameters())


def test_a_field_compares_patches_so_frames_must_be_seen_as_pictures_are() -> None:
    with pytest.raises(ValueError, match="motion_field: got True without frame_squares"):
        VideoConfig(motion_field=True)


def test_true_vectors_point_in_the_direction_that_a_mover_is_said_to_go() -> None:
    judged = 0
    for index in range(30):
        footage = film(clip_at("train", index))
        known = vectors(footage, 8)
        for i, mover in enumerate(footage.clip.movers):
            patches = footage.masks[i].reshape(-1, 8, 8, 8, 8).mean(axis=(2, 4)).reshape(-1, 64) > 0.6
            found = known.vectors[patches & known.shown]
            if mover.path.direction == "still":
                assert not found.any()
            elif len(found) and (longest := found[np.linalg.norm(found, axis=1).argmax()]).any():
                ways = {name: np.dot(longest, way) / np.linalg.norm(way) for name, way in DIRECTIONS.items()}
                assert max(ways, key=ways.__getitem__) == mover.path.direction
                judged += 1
    assert judged > 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    Weights(made).save("clip_vision", ImageEncoder(preset("tiny").clip))
    return made


def test_the_recipe_trains_the_field_alone_and_its_run_is_what_alignment_starts_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("train.recipes.motion_field.NUM_HELD_OUT", 2)
    sizes = [f"--set={each}" for each in ("steps=2", "batch=2", "micro_batch=1", "precision=fp32")]
    assert main(["motion_field", "--storage", str(tmp_path), "--start", str(folder), "--no-track", *sizes]) == 0
    assert "directions" in capsys.readouterr().out
    run = tmp_path / "motion_field"
    assert (run / "samples" / "vectors.png").stat().st_size > 500
    made = Weights(run / (run / "latest").read_text().strip())
    assert {path.stem for path in made.folder.glob("*.safetensors")} == {PART}
    job = find("motion_field").build(made, find("motion_field").settings)
    learns = {name for name, each in job.objective.parts[PART].named_parameters() if each.requires_grad}
    assert learns and all(name.startswith("field.") for name in learns)
    assert not any(each.requires_grad for each in job.objective.parts["clip_vision"].parameters())
    assert not job.new and PART in FRONT


def test_its_loss_falls(folder: Path) -> None:
    recipe = find("motion_field")
    job = recipe.build(Weights(folder), recipe.settings)
    batch = job.batches(0)
    optimizer = torch.optim.Adam([each for each in job.objective.parameters() if each.requires_grad], lr=0.01)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = job.objective(batch)["vectors"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]


def test_presets_without_a_field_have_no_such_recipe() -> None:
    with pytest.raises(NotForPreset, match="'vitron-7b' has no motion field; 'alignment'"):
        find("motion_field", "vitron-7b")
