"""From an image UNet to a video UNet: what is taken over, and what is new."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.unit.diffusion import models, video_models
from vitron.diffusion.noise import draw_noise
from vitron.diffusion.positions import PositionedConv2d
from vitron.diffusion.temporal import clip_positions, take_over
from vitron.specialists.video_denoiser import I2VGenDenoiser, ZeroscopeDenoiser

PLACES = 4  # position channels of one band


@pytest.fixture(scope="module")
def image() -> UNet2DConditionModel:
    """A UNet with inpainting and position channels, whose heads are as wide as the video UNets'."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**models.unet_config(9) | {"attention_head_dim": (1, 2)})
    unet.conv_in = PositionedConv2d(unet.conv_in, 1)
    return unet.eval()


def test_a_new_video_unet_makes_of_equal_frames_what_the_image_unet_makes_of_one(image: UNet2DConditionModel) -> None:
    torch.manual_seed(1)
    video = ZeroscopeDenoiser.from_config(video_models.zeroscope_config()).eval()
    taken = take_over(video.unet, image, video.image_columns(9 + PLACES))
    spatial = [p for name, p in video.unet.named_parameters() if "temp" not in name and "transformer_in" not in name]
    assert taken == sum(p.numel() for p in spatial) - (2 + 3) * 16 * 9  # all but the columns of the time and the plan
    steps, tokens = torch.tensor([100, 700]), torch.randn(2, 5, models.WIDTH)
    picture = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        made = video(picture[:, :, None].expand(-1, -1, 3, -1, -1), steps, tokens)
        alone = image(torch.cat([picture, torch.zeros(2, 5, 8, 8)], dim=1), steps, tokens).sample
    for frame in made.unbind(2):
        torch.testing.assert_close(frame, alone, atol=1e-5, rtol=1e-5)


def test_a_picture_to_be_animated_is_seen_as_what_inpainting_keeps(image: UNet2DConditionModel) -> None:
    video = I2VGenDenoiser.from_config(video_models.i2vgen_config())
    columns = video.image_columns(9 + PLACES)
    assert take_over(video.unet, image, columns) > 0
    weight, source = video.unet.conv_in.weight, image.conv_in.weight
    assert weight.shape[1] == len(columns)
    torch.testing.assert_close(weight[:, :4], source[:, :4])  # noisy latents
    assert not weight[:, 4:8].any()  # the picture as I2VGen-XL brings it
    torch.testing.assert_close(weight[:, 8:17], source[:, 4:])  # the picture, where it is kept, and the place
    assert not weight[:, 17:].any()  # the time


def test_positions_tell_every_place_and_frame_apart() -> None:
    maps = clip_positions(5, 4, 3, bands=2)
    assert maps.shape == (12, 5, 4, 3)
    assert len({tuple(cell.tolist()) for cell in maps.flatten(1).T}) == 5 * 4 * 3


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_frames_share_the_part_of_the_noise_that_was_asked_for(shared: float) -> None:
    noise = draw_noise((4, 6, 64, 64), torch.Generator().manual_seed(0), shared=shared)
    assert noise.var().item() == pytest.approx(1.0, abs=0.03)
    flat = noise.transpose(0, 1).flatten(1)
    apart = torch.corrcoef(flat)[~torch.eye(6, dtype=torch.bool)]
    torch.testing.assert_close(apart, torch.full_like(apart, shared), atol=0.05, rtol=0.0)


def test_unshared_noise_is_that_of_torch() -> None:
    made = draw_noise((2, 3), torch.Generator().manual_seed(5))
    torch.testing.assert_close(made, torch.randn(2, 3, generator=torch.Generator().manual_seed(5)))


def test_what_is_elsewhere_in_another_frame_is_seen(image: UNet2DConditionModel) -> None:
    torch.manual_seed(1)
    video = ZeroscopeDenoiser.from_config(video_models.zeroscope_config()).eval()
    take_over(video.unet, image, video.image_columns(9 + PLACES))
    samples, tokens = torch.randn(1, 4, 3, 8, 8), torch.randn(1, 5, models.WIDTH)
    moved = samples.clone()
    moved[:, :, 2, :2, :2] += 3.0
    with torch.no_grad():
        one, other = (video(each, torch.tensor([500]), tokens) for each in (samples, moved))
    assert (one[:, :, 0, 6:, 6:] - other[:, :, 0, 6:, 6:]).abs().max() > 1e-4
