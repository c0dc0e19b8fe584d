"""What the losses prefer, and that latents survive the codec's scale and storage."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor, nn

from tests.unit.diffusion import models
from vitron.diffusion.latents import LatentCodec, to_images, to_pixels
from vitron.diffusion.losses import denoising_loss, edge_loss, prediction_loss, vae_loss


class Answering(nn.Module):
    """A UNet that gives a fixed answer and remembers what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.sample: Tensor

    def forward(self, sample: Tensor, *args: object, **options: object) -> object:
        self.sample = sample
        return type("Output", (), {"sample": self.answer})()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_right_answer_costs_nothing_and_a_wrong_one_does(prediction_type: str) -> None:
    scheduler = DDPMScheduler(prediction_type=prediction_type)
    latents, condition = torch.randn(3, 4, 4, 4), torch.zeros(3, 2, 8)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(latents.shape, generator=generator)
    steps = torch.randint(1000, (3,), generator=generator)
    right = noise if prediction_type == "epsilon" else scheduler.get_velocity(latents, noise, steps)
    for answer, cost in ((right, 0.0), (right + 1.0, 1.0)):
        seeded = torch.Generator().manual_seed(0)
        parts = denoising_loss(Answering(answer), scheduler, latents, condition, generator=seeded)
        assert parts["mse"].item() == pytest.approx(cost, abs=1e-6)
        assert (parts["loss"].item() > 0) == (cost > 0)
        assert parts["loss"] <= parts["mse"]  # min-SNR only ever lowers a row's weight


@pytest.mark.parametrize("kind", [DDPMScheduler, DPMSolverMultistepScheduler])
def test_the_network_sees_the_noise_of_the_time_step_that_it_is_told(kind: type) -> None:
    settings = {**models.SCHEDULER, "timestep_spacing": "leading"}
    latents, unet = torch.randn(16, 4, 4, 4), Answering(torch.zeros(16, 4, 4, 4))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(latents.shape, generator=generator)
    steps = torch.randint(1000, (16,), generator=generator)
    seeded = torch.Generator().manual_seed(0)
    denoising_loss(unet, kind(**settings), latents, torch.zeros(16, 2, 8), generator=seeded)
    expected = DDPMScheduler(**settings).add_noise(latents, noise, steps)
    torch.testing.assert_close(unet.sample, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("power", "middle"), [(1.0, 0.5), (2.0, 0.75)])
def test_time_steps_are_even_or_lean_toward_noise(power: float, middle: float) -> None:
    seen: list[Tensor] = []

    def predict(noisy: Tensor, steps_B: Tensor) -> Tensor:
        seen.append(steps_B)
        return torch.zeros_like(noisy)

    scheduler, latents = DDPMScheduler(prediction_type="v_prediction"), torch.zeros(200, 1, 2, 2)
    prediction_loss(predict, scheduler, latents, toward_noise=power)
    steps = seen[0].sort().values
    assert steps[100] / 1000 == pytest.approx(middle, abs=0.01)
    assert steps[0] < 20 and 980 < steps[-1] < 1000


def test_an_unknown_prediction_type_is_refused_by_name() -> None:
    scheduler = DDPMScheduler(prediction_type="sample")
    latents = torch.zeros(1, 4, 4, 4)
    with pytest.raises(ValueError, match="prediction_type"):
        denoising_loss(Answering(latents), scheduler, latents, torch.zeros(1, 2, 8))


def test_inpainting_channels_reach_the_network_behind_the_noisy_latents() -> None:
    latents, extra = torch.randn(2, 4, 4, 4), torch.full((2, 5, 4, 4), 3.0)
    unet = Answering(latents)
    denoising_loss(unet, DDPMScheduler(prediction_type="epsilon"), latents, torch.zeros(2, 2, 8), extra_channels=extra)
    assert torch.equal(unet.sample[:, 4:], extra)


def test_the_edge_loss_ignores_brightness_and_sees_blur() -> None:
    sharp = torch.zeros(1, 3, 8, 8)
    sharp[..., 4:] = 1.0
    blurred = sharp.clone()
    blurred[..., 3:5] = 0.5
    assert edge_loss(sharp, sharp + 0.3).item() == pytest.approx(0.0, abs=1e-6)
    assert edge_loss(sharp, blurred) > 0.05


def test_a_few_steps_on_the_vae_loss_lower_it() -> None:
    torch.manual_seed(0)
    codec = LatentCodec.from_config(models.vae_config())
    pixels = (torch.rand(4, 3, 1, 1) * 2 - 1).expand(-1, -1, 32, 32)
    optimizer = torch.optim.Adam(codec.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        loss = vae_loss(codec.vae, pixels, torch.Generator().manual_seed(0))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_the_measured_scale_makes_latents_unit_and_is_part_of_the_weights() -> None:
    torch.manual_seed(0)
    codec = LatentCodec.from_config(models.vae_config())
    pixels = torch.rand(4, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        before = codec.decode(codec.encode(pixels))
        codec.set_scale(float(codec.vae.encode(pixels).latent_dist.mean.std()))
        assert codec.encode(pixels).std().item() == pytest.approx(1.0, abs=1e-3)
        torch.testing.assert_close(codec.decode(codec.encode(pixels)), before, atol=1e-4, rtol=1e-3)
    other = LatentCodec.from_config(models.vae_config())
    other.load_state_dict(codec.state_dict())
    assert torch.equal(other.scaling_factor, codec.scaling_factor)
    with pytest.raises(ValueError, match="latent_std"):
        codec.set_scale(0.0)


def test_pictures_survive_the_way_to_pixels_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(16, 16, 1).expand(16, 16, 3).numpy()
    (back,) = to_images(to_pixels([levels]))
    assert (back == levels).all()
