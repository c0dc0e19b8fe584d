"""The stock pipelines are the oracle: the engine must make the same latents, whatever runs beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, I2VGenXLUNet, UNet3DConditionModel
from diffusers.pipelines.deprecated.i2vgen_xl.pipeline_i2vgen_xl import I2VGenXLPipeline
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_synth import TextToVideoSDPipeline
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from tests.unit.diffusion import models, video_models
from vitron.diffusion.request import DenoiseRequest
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.i2vgen import I2VGen
from vitron.specialists.video_diffusion import VideoDiffusion
from vitron.specialists.zeroscope import Zeroscope

REQUESTS = (("a red circle moves", 4, 4.0, 1), ("two stars", 5, 2.5, 2))
PICTURE = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
FPS = 12


def parts(unet: type) -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "unet": video_models.wake(unet(**video_models.unet_config())).eval(),
        "vae": AutoencoderKL(**models.vae_config()).eval(),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**models.text_config())).eval(),
        "tokenizer": models.tokenizer(),
        "scheduler": DPMSolverMultistepScheduler(**models.SCHEDULER),
    }


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextToVideoSDPipeline, Zeroscope]:
    """A text-to-video pipeline with random weights, and the specialist loaded from its folder."""
    path: Path = tmp_path_factory.mktemp("zeroscope")
    pipeline = TextToVideoSDPipeline(**parts(UNet3DConditionModel))
    pipeline.save_pretrained(path)
    pipeline.set_progress_bar_config(disable=True)
    config = video_models.zeroscope_config(stock=True)
    return pipeline, Zeroscope.from_pipeline(str(path), config, signal_width=models.SIGNAL_WIDTH)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[I2VGenXLPipeline, I2VGen]:
    """An image-to-video pipeline with random weights, and the specialist loaded from its folder."""
    path: Path = tmp_path_factory.mktemp("i2vgen")
    pipeline = I2VGenXLPipeline(
        **parts(I2VGenXLUNet),
        image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**video_models.VISION)).eval(),
        feature_extractor=CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    )
    pipeline.save_pretrained(path)
    pipeline.set_progress_bar_config(disable=True)
    config = video_models.i2vgen_config(stock=True)
    return pipeline, I2VGen.from_pipeline(str(path), config, signal_width=models.SIGNAL_WIDTH)


def noise(seed: int) -> Tensor:
    return torch.randn((4, video_models.FRAMES, 8, 8), generator=torch.Generator().manual_seed(seed))


def together(specialist: VideoDiffusion, jobs: list[DenoiseRequest]) -> list[Tensor]:
    engine = specialist.make_engine()
    for job in jobs:  # staggered: each joins a step after the one before
        engine.submit(job)
        engine.step()
    made = engine.run()
    return [made[job.request_id] for job in jobs]


def planned(specialist: VideoDiffusion, index: int, **fields: object) -> DenoiseRequest:
    prompt, steps, scale, seed = REQUESTS[index]
    options = {"steps": steps, "guidance_scale": scale, "fps": FPS}
    return specialist.plan(SpecialistRequest(instruction=prompt, seed=seed, options=options, **fields))[0]


def test_clips_from_words_equal_the_stock_pipelines(words: tuple[TextToVideoSDPipeline, Zeroscope]) -> None:
    pipeline, specialist = words
    made = together(specialist, [planned(specialist, index) for index in range(len(REQUESTS))])
    for (prompt, steps, scale, seed), latents in zip(REQUESTS, made, strict=True):
        expected = pipeline(
            prompt,
            height=32,
            width=32,
            num_frames=video_models.FRAMES,
            num_inference_steps=steps,
            guidance_scale=scale,
            latents=noise(seed)[None],
            output_type="latent",
        ).frames[0]
        assert (latents - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_clips_from_a_picture_equal_the_stock_pipelines(pictures: tuple[I2VGenXLPipeline, I2VGen]) -> None:
    pipeline, specialist = pictures
    # The pipeline draws the picture's latents at random and keeps no frame; the specialist takes the mean and keeps it.
    jobs = [replace(planned(specialist, index, image=PICTURE), kept=None) for index in range(len(REQUESTS))]
    first = jobs[0].condition.first
    pipeline.prepare_image_latents = lambda image, device, num_frames, num_videos_per_prompt: torch.stack(
        [first, *(torch.full_like(first, frame / (num_frames - 1)) for frame in range(1, num_frames))], dim=1
    )[None].repeat(2, 1, 1, 1, 1)
    for (_, steps, scale, seed), job, latents in zip(REQUESTS, jobs, together(specialist, jobs), strict=True):
        expected = pipeline(
            prompt_embeds=job.condition.tokens[None],
            negative_prompt_embeds=job.unconditional.tokens[None],
            image=Image.fromarray(PICTURE),
            height=32,
            width=32,
            target_fps=FPS,
            num_frames=video_models.FRAMES,
            num_inference_steps=steps,
            guidance_scale=scale,
            latents=noise(seed)[None],
            output_type="latent",
        ).frames[0]
        assert (latents - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_the_condition_is_the_last_but_one_layers_states(pictures: tuple[I2VGenXLPipeline, I2VGen]) -> None:
    pipeline, specialist = pictures
    encoder, tokenizer = pipeline.text_encoder, pipeline.tokenizer
    ids = tokenizer("a star", padding="max_length", max_length=models.LENGTH, return_tensors="pt").input_ids
    with torch.no_grad():
        layers = encoder(ids, output_hidden_states=True).hidden_states
        expected = encoder.final_layer_norm(layers[-2])[0]
    torch.testing.assert_close(specialist.text.encode(["a star"])[0].tokens, expected)
