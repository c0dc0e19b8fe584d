"""Copying from a clip's first frame."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.unit.diffusion import models, video_models
from vitron.diffusion.losses import noised
from vitron.diffusion.warp import Copies, Motion, along, as_one, composed, fine_share, moved, share_of, with_copies
from vitron.specialists.i2vgen import I2VGen

SURE = 20.0
HEIGHT, WIDTH = 6, 8


def first() -> Tensor:
    return torch.randn(1, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def motion(*shifts: tuple[float, float]) -> Motion:
    """One frame for each shift (x, y) of the 2x2 square whose corner is at (1, 2)."""
    shift = torch.zeros(1, 2, len(shifts), HEIGHT, WIDTH)
    moving = torch.full((1, 1, len(shifts), HEIGHT, WIDTH), -SURE)
    moving[..., 2:4, 1:3] = SURE
    for frame, (x, y) in enumerate(shifts):
        shift[0, 0, frame], shift[0, 1, frame] = x, y
    return Motion(shift, moving)


def test_what_moves_is_seen_where_it_has_gone_and_all_else_where_it_was() -> None:
    source = first()
    copies = moved(source, motion((0.0, 0.0), (3.0, 1.0)))
    torch.testing.assert_close(copies.latents[:, :, 0], source)
    frame = copies.latents[0, :, 1]
    torch.testing.assert_close(frame[:, 3:5, 4:6], source[0, :, 2:4, 1:3])
    torch.testing.assert_close(frame[:, :2], source[0, :, :2])


def test_only_what_has_been_left_and_not_covered_again_is_unknown() -> None:
    known = moved(first(), motion((0.0, 0.0), (3.0, 1.0), (1.0, 0.0))).known[0, 0]
    torch.testing.assert_close(known[0], torch.ones(HEIGHT, WIDTH))
    left = torch.ones(HEIGHT, WIDTH)
    left[2:4, 1:3] = 0.0
    torch.testing.assert_close(known[1], left)
    left[2:4, 2] = 1.0  # covered by its left half
    torch.testing.assert_close(known[2], left)


def test_between_positions_what_moves_is_shared_by_both() -> None:
    source = first()
    frame = moved(source, motion((2.5, 0.0))).latents[0, :, 0]
    torch.testing.assert_close(frame[:, 2:4, 4], source[0, :, 2:4, 1:3].mean(dim=-1))


def test_what_leaves_the_picture_is_gone() -> None:
    source = first()
    copies = moved(source, motion((20.0, 0.0)))
    torch.testing.assert_close(copies.latents[0, :, 0], source[0])
    assert copies.known[0, 0, 0, 2:4, 1:3].sum() < 1e-6


def test_what_moves_moves_as_one_by_the_mean_of_its_shifts() -> None:
    given = motion((0.0, 0.0), (3.0, 1.0))
    given.shift[0, 0, 1, 2] += 2.0  # the upper row of the square goes further
    one = as_one(given)
    torch.testing.assert_close(one.shift[0, :, 1, 4, 4], torch.tensor([4.0, 1.0]))
    assert (one.shift == one.shift[..., :1, :1]).all() and torch.equal(one.moving, given.moving)
    nothing = as_one(Motion(given.shift, torch.full_like(given.moving, -SURE)))
    assert nothing.shift.isfinite().all()


@pytest.mark.parametrize("alpha", [0.01, 0.4, 0.97])
def test_right_copies_make_the_prediction_of_a_wrong_network_better_the_more_noise_there_is(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise, wrong = (torch.randn(2, 4, 3, 6, 6, generator=generator) for _ in range(3))
    alpha_B = torch.tensor([alpha, alpha])
    noisy = noised(clean, noise, alpha_B)
    signal, sigma = alpha**0.5, (1 - alpha) ** 0.5
    target = signal * noise - sigma * clean
    copies = Copies(clean, torch.ones(2, 1, 3, 6, 6))
    left = (with_copies(noisy, target + wrong, copies, alpha_B) - target) / wrong
    torch.testing.assert_close(left, torch.full_like(left, 1.0 - min(0.9, 2.0 * sigma)), atol=1e-3, rtol=1e-3)


def test_what_is_unknown_is_the_networks_own() -> None:
    noisy, own, latents = (torch.randn(1, 4, 2, 3, 3) for _ in range(3))
    made = with_copies(noisy, own, Copies(latents, torch.zeros(1, 1, 2, 3, 3)), torch.tensor([0.5]))
    torch.testing.assert_close(made, own)


def test_what_moves_and_where_to_is_learned_from_the_denoising_error() -> None:
    specialist: I2VGen = video_models.i2vgen()
    tokens, image = torch.randn(1, 4, models.WIDTH), torch.randn(1, 4, 8, 8)
    samples, looks = torch.randn(1, 4, 3, 8, 8), torch.zeros(1, models.WIDTH)
    made, found = specialist.denoiser.predict(samples, torch.tensor([900]), tokens, image, looks, torch.tensor([8.0]))
    assert found is not None
    assert found.shift.shape == (1, 2, 3, 8, 8)
    made.square().mean().backward()
    gradient = specialist.denoiser.unet.conv_out.weight.grad
    assert gradient is not None
    assert all(gradient[channel].any() for channel in range(4 + 2 + 4))


def test_copies_are_for_v_prediction() -> None:
    config = video_models.i2vgen_config()
    config.scheduler["prediction_type"] = "epsilon"
    with pytest.raises(ValueError, match="prediction_type: got 'epsilon'"):
        I2VGen.from_config(config, signal_width=models.SIGNAL_WIDTH, tokenizer=models.tokenizer())


def test_shifts_that_are_known_take_the_place_of_those_found_in_their_rows_alone() -> None:
    found = motion((0.0, 0.0), (3.0, 1.0))
    both = Motion(found.shift.expand(2, -1, -1, -1, -1), found.moving.expand(2, -1, -1, -1, -1))
    known = torch.tensor([[[0.0, 5.0], [0.0, -2.0]], [[9.0, 9.0], [9.0, 9.0]]])
    made = along(both, known, torch.tensor([True, False]))
    assert (torch.tensor([5.0, -2.0]) == made.shift[0, :, 1].flatten(1).T).all()
    assert torch.equal(made.shift[1], found.shift[0]) and torch.equal(made.moving, both.moving)


def test_parts_of_a_position_lie_where_they_are_in_the_picture() -> None:
    moving = torch.full((1, 4, 2, HEIGHT, WIDTH), -SURE)
    moving[0, 1, :, 2, 3] = SURE  # the upper right part of the position at row 2, column 3
    given = Motion(torch.zeros(1, 2, 2, HEIGHT, WIDTH), moving)
    fine = fine_share(given)
    assert fine.shape == (1, 2 * HEIGHT, 2 * WIDTH)
    assert fine[0].round().nonzero().tolist() == [[4, 7]]
    assert share_of(given)[0, 0, 0, 2, 3].item() == pytest.approx(0.25)


def test_a_composed_clip_is_made_of_the_pictures_own_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    picture, drawn = torch.rand(3, 12, 12, generator=generator), torch.rand(3, 3, 12, 12, generator=generator)
    share = torch.zeros(12, 12)
    share[2:5, 2:5] = 1.0
    clip = composed(picture, drawn, share, torch.tensor([[0.0, 5.4, -9.0], [0.0, 3.0, 0.0]]))
    torch.testing.assert_close(clip[0, :, 2:5, 2:5], picture[:, 2:5, 2:5])
    torch.testing.assert_close(clip[1, :, 5:8, 7:10], picture[:, 2:5, 2:5])
    # What it has left, with a border of one pixel, is drawn; all else is the picture.
    torch.testing.assert_close(clip[1, :, 1:5, 1:5], drawn[1, :, 1:5, 1:5])
    torch.testing.assert_close(clip[1, :, 8:], picture[:, 8:])
    assert torch.equal(clip[2, :, 1:6, 1:6], drawn[2, :, 1:6, 1:6])  # gone to the left, out of the picture


def test_what_comes_to_light_on_a_plain_background_is_that_background() -> None:
    rows, columns = torch.meshgrid(torch.linspace(-0.5, 0.5, 24), torch.linspace(-0.1, 0.1, 24), indexing="ij")
    ground = torch.stack([rows * 0.3, columns, rows + columns - 0.2])
    picture, share = ground.clone(), torch.zeros(24, 24)
    picture[:, 8:12, 8:12], share[8:12, 8:12] = 1.0, 1.0
    picture[:, 8:12, 15:18] = -1.0  # something else that reaches into the surroundings
    drawn = torch.zeros(2, 3, 24, 24)
    clip = composed(picture, drawn, share, torch.tensor([[0.0, 0.0], [0.0, 9.0]]))
    torch.testing.assert_close(clip[0], picture, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(clip[1, :, 7:13, 7:13], ground[:, 7:13, 7:13], atol=1e-4, rtol=0.0)
    torch.testing.assert_close(clip[1, :, 17:21, 8:12], torch.ones(3, 4, 4))
    assert torch.equal(clip[1, :, 8:12, 15:18], picture[:, 8:12, 15:18])


def test_without_surroundings_what_comes_to_light_is_drawn() -> None:
    picture, drawn = torch.zeros(3, 6, 6), torch.full((1, 3, 6, 6), 0.5)
    clip = composed(picture, drawn, torch.ones(6, 6), torch.tensor([[9.0], [0.0]]))
    assert torch.equal(clip[0], drawn[0])
