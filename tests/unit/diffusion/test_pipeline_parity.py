"""The stock pipeline is the oracle: the engine must make the same latents, whatever runs beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionGLIGENPipeline
from torch import Tensor

from tests.unit.diffusion import models
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.gligen import Gligen
from vitron.types import Grounding

REQUESTS = (
    ("a red circle", (((0.1, 0.2, 0.5, 0.6), "red circle"),), 5, 4.0, 1),
    ("two stars", (((0.0, 0.0, 0.4, 0.4), "star"), ((0.5, 0.5, 1.0, 0.9), "blue star")), 7, 2.5, 2),
    ("a", (((0.3, 0.3, 0.9, 0.9), "a"),), 4, 6.0, 3),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline with random weights."""
    path = tmp_path_factory.mktemp("pipeline")
    scheduler = DPMSolverMultistepScheduler(**models.SCHEDULER)
    StableDiffusionGLIGENPipeline(
        **models.parts(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def specialist(folder: Path) -> Gligen:
    return Gligen.from_pipeline(str(folder), models.config(), signal_width=models.SIGNAL_WIDTH)


def reference(folder: Path, index: int) -> Tensor:
    """Return the pipeline's latents for one request, alone."""
    pipeline = StableDiffusionGLIGENPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    prompt, boxes, steps, scale, seed = REQUESTS[index]
    noise = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(seed))
    latents: Tensor = pipeline(
        prompt,
        height=32,
        width=32,
        num_inference_steps=steps,
        guidance_scale=scale,
        gligen_phrases=[label for _, label in boxes],
        gligen_boxes=[list(box) for box, _ in boxes],
        gligen_scheduled_sampling_beta=0.4,
        latents=noise[None],
        output_type="latent",
    ).images[0]
    return latents


def request(index: int) -> SpecialistRequest:
    prompt, boxes, steps, scale, seed = REQUESTS[index]
    return SpecialistRequest(
        instruction=prompt,
        regions=tuple(Grounding(box=box, label=label) for box, label in boxes),
        seed=seed,
        options={"steps": steps, "guidance_scale": scale},
    )


def test_requests_batched_together_equal_the_pipeline_one_by_one(folder: Path, specialist: Gligen) -> None:
    engine = specialist.make_engine()
    jobs = [specialist.plan(request(index))[0] for index in range(len(REQUESTS))]
    for job in jobs:  # staggered: each joins a step after the one before
        engine.submit(job)
        engine.step()
    made = engine.run()
    for index, job in enumerate(jobs):
        expected = reference(folder, index)
        scale = expected.abs().max()
        assert (made[job.request_id] - expected).abs().max() <= 1e-4 * scale


def test_decoded_pictures_equal_the_pipelines_vae(folder: Path, specialist: Gligen) -> None:
    pipeline = StableDiffusionGLIGENPipeline.from_pretrained(folder, safety_checker=None)
    latents = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    factor = pipeline.vae.config.scaling_factor
    with torch.no_grad():
        pixels = pipeline.vae.decode(latents[None] / factor).sample
    expected = pipeline.image_processor.postprocess(pixels, output_type="np")[0]
    (made,) = specialist.decode([latents]).images
    assert abs(made / 255.0 - expected).max() <= 0.5 / 255 + 1e-5
