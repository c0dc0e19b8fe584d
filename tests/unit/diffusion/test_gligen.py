"""The generation specialist with random weights: what reaches the picture, and what is refused."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch

from tests.unit.diffusion import models
from vitron.config import ProjectionConfig
from vitron.presets import preset
from vitron.specialists.base import Cancelled, SpecialistError
from vitron.specialists.gligen import Gligen
from vitron.specialists.output_projection import OutputProjection
from vitron.types import Grounding, Image

BOX = Grounding(box=(0.1, 0.1, 0.6, 0.6), label="red star")
OTHER_BOX = Grounding(box=(0.5, 0.5, 1.0, 1.0), label="red star")


@pytest.fixture(scope="module")
def specialist() -> Gligen:
    return models.gligen()


def signal(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, models.SIGNAL_WIDTH, generator=generator)


def draw(specialist: Gligen, text: str = "a star", **fields: object) -> Image:
    return specialist.run(models.request(text, **fields)).images[0]


def latents(specialist: Gligen, text: str = "a star", **fields: object) -> torch.Tensor:
    engine = specialist.make_engine()
    (job,) = specialist.plan(models.request(text, **fields))
    engine.submit(job)
    return engine.run()[job.request_id]


def test_a_picture_has_the_configured_size_and_type(specialist: Gligen) -> None:
    picture = draw(specialist)
    assert picture.shape == (32, 32, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"text": "a star"}, {"text": "two rings"}),
        ({"regions": (BOX,)}, {"regions": (OTHER_BOX,)}),
        ({"regions": (BOX,)}, {}),
        ({"signal": signal(1)}, {"signal": signal(2)}),
        ({"signal": signal(1)}, {}),
        ({"text": "", "signal": signal(1)}, {"text": "", "signal": signal(2)}),
        ({"text": "", "signal": signal(1)}, {"text": "a star", "signal": signal(1)}),
        ({"seed": 1}, {"seed": 2}),
        ({"options": {"steps": 2, "guidance_scale": 1.0}}, {"options": {"steps": 2, "guidance_scale": 9.0}}),
    ],
    ids=["text", "box", "no box", "signal", "no signal", "signal alone", "hybrid", "seed", "guidance"],
)
def test_everything_a_request_says_reaches_the_picture(
    specialist: Gligen, one: dict[str, object], other: dict[str, object]
) -> None:
    assert not torch.allclose(latents(specialist, **one), latents(specialist, **other), atol=1e-4)


def test_a_box_without_a_label_shows_what_the_text_says(specialist: Gligen) -> None:
    bare = Grounding(box=BOX.box)
    named = Grounding(box=BOX.box, label="a star")
    torch.testing.assert_close(latents(specialist, regions=(bare,)), latents(specialist, regions=(named,)))


def test_a_batch_equals_the_requests_one_by_one(specialist: Gligen) -> None:
    requests = [
        models.request("a star", seed=3),
        models.request("two rings", regions=(BOX,), signal=signal(1), options={"steps": 3}),
        models.request("", signal=signal(2), options={"steps": 2, "guidance_scale": 0.5}),
    ]
    for batched, request in zip(specialist.run_batch(requests), requests, strict=True):
        alone = specialist.run(request).images[0]
        assert np.abs(batched.images[0].astype(int) - alone).max() <= 1  # rounding of a level


def test_an_empty_batch_gives_nothing(specialist: Gligen) -> None:
    assert specialist.run_batch([]) == []


def test_several_pictures_differ_and_the_first_is_that_of_the_seed(specialist: Gligen) -> None:
    several = specialist.run(models.request("a star", options={"steps": 2, "num_images": 3}))
    assert len(several.images) == 3
    assert np.abs(several.images[0].astype(int) - draw(specialist)).max() <= 1
    assert not np.array_equal(several.images[0], several.images[1])


def test_concurrent_callers_get_what_they_would_get_alone(specialist: Gligen) -> None:
    made: dict[int, Image] = {}

    def call(seed: int) -> None:
        made[seed] = draw(specialist, seed=seed)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for seed, picture in made.items():
        assert np.abs(picture.astype(int) - draw(specialist, seed=seed)).max() <= 1
    assert len(made) == 4


def test_progress_rises_to_the_end(specialist: Gligen) -> None:
    seen: list[tuple[int, int]] = []
    request = models.request("a star", options={"steps": 3, "num_images": 2})
    specialist.run(request, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]


def test_a_cancelled_run_stops_at_a_step(specialist: Gligen) -> None:
    seen: list[int] = []
    with pytest.raises(Cancelled):
        specialist.run(
            models.request("a star", options={"steps": 100}),
            on_progress=lambda done, total: seen.append(done),
            cancelled=lambda: len(seen) >= 3,
        )
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("text", "fields", "named"),
    [
        (" ", {}, "instruction"),
        ("a star", {"regions": (BOX,) * 5}, "regions"),
        ("a star", {"signal": torch.zeros(3, 5)}, "signal"),
        ("a star", {"signal": torch.zeros(models.SIGNAL_WIDTH)}, "signal"),
        ("a star", {"seed": -1}, "seed"),
        ("a star", {"options": {"steps": 0}}, "steps"),
        ("a star", {"options": {"steps": 2.5}}, "steps"),
        ("a star", {"options": {"num_images": 5}}, "num_images"),
        ("a star", {"options": {"guidance_scale": float("nan")}}, "guidance_scale"),
        ("a star", {"options": {"sampler": 1}}, "sampler"),
    ],
)
def test_wrong_requests_are_refused_by_name(
    specialist: Gligen, text: str, fields: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        specialist.run(models.request(text, **fields))


def test_a_network_gone_wrong_is_a_specialist_error() -> None:
    broken = models.gligen()
    torch.nn.init.constant_(broken.denoiser.unet.conv_out.weight, float("nan"))
    with pytest.raises(SpecialistError, match="finite"):
        draw(broken)


def test_a_copy_has_its_own_engine(specialist: Gligen) -> None:
    before = draw(specialist)
    other = copy.deepcopy(specialist)
    torch.nn.init.zeros_(other.denoiser.unet.conv_out.weight)
    assert not np.array_equal(draw(other), before)
    assert np.array_equal(draw(specialist), before)


@pytest.mark.parametrize("in_channels", [4, 9])
def test_unets_with_and_without_inpainting_channels_draw(in_channels: int) -> None:
    assert draw(models.gligen(in_channels)).shape == (32, 32, 3)


def test_the_projection_gives_one_token_per_query_and_learns_everywhere() -> None:
    config = ProjectionConfig(hidden=16, num_layers=2, num_heads=2, feedforward=32, num_queries=5)
    projection = OutputProjection(12, 7, config)
    tokens = projection(torch.randn(2, 3, 12))
    assert tokens.shape == (2, 5, 7)
    assert not torch.allclose(tokens[:, 0], tokens[:, 1])
    tokens.square().sum().backward()
    for name, parameter in projection.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_full_size_model_has_the_sizes_of_the_paper() -> None:
    config = preset("vitron-7b")
    with torch.device("meta"):
        made = Gligen.from_config(config.gligen, signal_width=config.signal.width, tokenizer=models.tokenizer())
        tokens = made.projection(torch.empty(1, config.signal.num_tokens, config.signal.width))
    assert tokens.shape == (1, made.text.length, 768)
    assert made.denoiser.latent_channels == made.codec.channels == 4
    assert made.codec.downscale == 8
    assert not made.denoiser.inpaints
    assert 25e6 < sum(p.numel() for p in made.projection.parameters()) < 35e6  # NExT-GPT: 32 M
