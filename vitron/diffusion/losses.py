"""What the autoencoder and the denoiser are trained on.

Each loss returns its parts by name; the part called "loss" is the one to minimise.

Shapes: B batch, C latent channels, H and W picture size, h and w latent size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitron.diffusion.noise import draw_noise

KL_WEIGHT = 2e-4
"""On the mean over latent elements: keeps the latents compact without blurring the picture."""

MSE_WEIGHT = 5.0
"""Of the squared error at sharpness 0, which finds colours: absolute errors settle on the background."""

SNR_CAP = 5.0
"""Gamma of min-SNR weighting (Hang et al. 2023), the value that NExT-GPT trains with as well."""


def vae_loss(
    vae: Any,
    pixels_B3HW: Tensor,
    generator: torch.Generator | None = None,
    *,
    sharpness: float = 1.0,
) -> dict[str, Tensor]:
    """Reconstruct pictures in [-1, 1] through a drawn latent.

    Args:
        vae: An `AutoencoderKL`.
        pixels_B3HW: The pictures.
        generator: Of the draw.
        sharpness: From 0 to 1: weight moves from squared to absolute errors of pixels and edges, which
            stand in for a perceptual loss (that would need a foreign network).

    Returns:
        "loss" and its parts "l1", "mse", "edge", "kl", all scalars.
    """
    posterior = vae.encode(pixels_B3HW).latent_dist
    decoded = vae.decode(posterior.sample(generator)).sample.float()
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    parts = {
        "l1": F.l1_loss(decoded, pixels_B3HW),
        "mse": F.mse_loss(decoded, pixels_B3HW),
        "edge": edge_loss(decoded, pixels_B3HW),
        "kl": 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean(),
    }
    absolute = (0.25 + 0.75 * sharpness) * (parts["l1"] + parts["edge"])
    squared = (MSE_WEIGHT - (MSE_WEIGHT - 1.0) * sharpness) * parts["mse"]
    reconstruction = absolute + squared
    return {"loss": reconstruction + KL_WEIGHT * parts["kl"], **parts}


def edge_loss(a_B3HW: Tensor, b_B3HW: Tensor) -> Tensor:
    """Return the mean absolute difference of horizontal and vertical neighbour differences."""
    difference = a_B3HW - b_B3HW
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def denoising_loss(
    unet: nn.Module,
    scheduler: Any,
    latents_BChw: Tensor,
    condition_BTD: Tensor,
    *,
    mask_BT: Tensor | None = None,
    grounding: dict[str, Tensor] | None = None,
    extra_channels: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Denoise pictures at one random time step per row; see `prediction_loss`.

    Args:
        unet: Called like diffusers' conditional UNets.
        scheduler: A diffusers scheduler that trains on epsilon or v.
        latents_BChw: Clean, scaled latents.
        condition_BTD: Encoder hidden states.
        mask_BT: True where the condition holds a token; None: everywhere.
        grounding: What a gated UNet takes under `cross_attention_kwargs["gligen"]`.
        extra_channels: [B, c, h, w] appended to the noisy latents (inpainting).
        generator: Of time steps and noise.

    Returns:
        "loss" (weighted) and "mse" (as it is), both scalars.
    """

    def predict(noisy: Tensor, steps_B: Tensor) -> Tensor:
        sample = noisy if extra_channels is None else torch.cat([noisy, extra_channels], dim=1)
        predicted: Tensor = unet(
            sample,
            steps_B,
            condition_BTD,
            encoder_attention_mask=mask_BT,
            cross_attention_kwargs=None if grounding is None else {"gligen": grounding},
        ).sample
        return predicted

    return prediction_loss(predict, scheduler, latents_BChw, generator=generator)


def prediction_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    scheduler: Any,
    latents_B: Tensor,
    *,
    weights: Tensor | None = None,
    shared_noise: float = 0.0,
    toward_noise: float | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Denoise at one random time step per row; epsilon is weighted by min-SNR, v is not.

    Args:
        predict: (noisy latents, time steps [B]) -> what the scheduler trains on, shaped like the latents.
        scheduler: A diffusers scheduler that trains on epsilon or v.
        latents_B: Clean, scaled latents of pictures [B, C, h, w] or clips [B, C, F, h, w].
        weights: Of the squared errors, broadcasts over the latents; None: 1.
        shared_noise: Part of the noise that a clip's frames have in common (`vitron.diffusion.noise`).
        toward_noise: Draw one time step from each of B parts of the noise levels, so that small batches differ less.
            At 1 the parts are equal; above 1 they get smaller toward the noise, for what is decided there, such as a
            clip's motion. None: draw each step for itself.
        generator: Of time steps and noise.

    Returns:
        "loss" (weighted) and "mse" (as it is), both scalars.
    """
    config, device = scheduler.config, latents_B.device
    noise = draw_noise(latents_B.shape, generator, shared=shared_noise, device=device)
    steps_B = _steps(int(config.num_train_timesteps), len(latents_B), generator, device, toward_noise)
    alpha_B = scheduler.alphas_cumprod.to(device)[steps_B]
    predicted = predict(noised(latents_B, noise, alpha_B), steps_B).float()
    target, weight_B = _target(str(config.prediction_type), latents_B, noise, alpha_B)
    error = (predicted - target).square()
    mse_B = (error if weights is None else error * weights).flatten(1).mean(1)
    return {"loss": (weight_B * mse_B).mean(), "mse": mse_B.mean()}


def _steps(
    count: int, rows: int, generator: torch.Generator | None, device: torch.device, power: float | None
) -> Tensor:
    if power is None:
        return torch.randint(count, (rows,), generator=generator, device=device)
    parts_B = torch.randperm(rows, generator=generator, device=device)
    within_B = torch.rand(rows, generator=generator, device=device)
    place_B = 1.0 - (1.0 - (parts_B + within_B) / rows).pow(power)
    return (place_B * count).long().clamp(max=count - 1)


def noised(latents: Tensor, noise: Tensor, alpha_B: Tensor) -> Tensor:
    """Return sqrt(alpha) * latents + sqrt(1 - alpha) * noise, alpha one number a row.

    Not the scheduler's `add_noise`: before `set_timesteps`, diffusers' DPMSolverMultistepScheduler (0.42.1) looks its
    noise levels up in the reverse order of the time steps, so that training at step t would add the noise of 999 - t.
    """
    shape = (-1, *[1] * (latents.ndim - 1))
    return alpha_B.sqrt().view(shape) * latents + (1.0 - alpha_B).sqrt().view(shape) * noise


def _target(prediction_type: str, latents: Tensor, noise: Tensor, alpha_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the network should predict and the weight of each row."""
    snr_B = alpha_B / (1.0 - alpha_B)
    capped_B = snr_B.clamp(max=SNR_CAP)
    if prediction_type == "epsilon":
        return noise, capped_B / snr_B
    if prediction_type == "v_prediction":
        signal = alpha_B.sqrt().view(-1, *[1] * (latents.ndim - 1))
        sigma = (1.0 - alpha_B).sqrt().view(-1, *[1] * (latents.ndim - 1))
        # Unweighted: the weight of v-prediction is 1 + SNR on the error of x0 as it is.
        return signal * noise - sigma * latents, torch.ones_like(snr_B)
    raise ValueError(f"prediction_type: got {prediction_type!r}, expected 'epsilon' or 'v_prediction'")
