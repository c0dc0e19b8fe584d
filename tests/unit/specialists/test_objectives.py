"""What specialists teach the signal embedding is what they would do with it when they serve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from tests.unit.diffusion import models
from tests.unit.specialists import seem_fixtures
from vitron.diffusion.losses import denoising_loss
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.gligen import Gligen
from vitron.specialists.gligen_denoiser import GligenCondition
from vitron.specialists.objectives import (
    GenerationObjective,
    SegmentationBatch,
    SegmentationObjective,
    segmentation_batch,
)
from vitron.specialists.seem import Seem
from vitron.specialists.seem.losses import Names
from vitron.specialists.seem.network import upsample
from vitron.types import DrawnRegion, Grounding

TEXTS = ("a red circle", "")
SIDE = seem_fixtures.small_config().image_size
BOX = DrawnRegion(kind="box", box=(0.1, 0.2, 0.6, 0.8))
POINT = DrawnRegion(kind="point", points=((0.7, 0.3),))


def signals(rows: int, tokens: int, width: int) -> Tensor:
    return torch.randn(rows, tokens, width, generator=torch.Generator().manual_seed(1)).requires_grad_(True)


def generation(gligen: Gligen) -> GenerationObjective:
    gligen.requires_grad_(False)
    return GenerationObjective(
        denoiser=gligen.denoiser,
        text=gligen.text,
        projection=gligen.projection,
        scheduler=DPMSolverMultistepScheduler(**gligen.config.scheduler),
    )


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LATENTS = torch.randn(2, 4, 8, 8, generator=noise(2))


@pytest.fixture(scope="module")
def gligen() -> Gligen:
    return models.gligen()


def test_a_message_conditions_training_as_it_conditions_a_request(gligen: Gligen) -> None:
    signal = signals(2, 3, models.SIGNAL_WIDTH)
    made = generation(gligen).condition(signal, TEXTS)
    for row, text in enumerate(TEXTS):
        served, _ = gligen._conditions(SpecialistRequest(instruction=text, signal=signal[row].detach()))
        torch.testing.assert_close(made[row], served.tokens)


def test_the_loss_is_denoising_under_that_condition_with_nothing_kept(gligen: Gligen) -> None:
    objective, signal = generation(gligen), signals(2, 3, models.SIGNAL_WIDTH)
    found = objective(signal, TEXTS, LATENTS, generator=noise())
    expected = denoising_loss(
        gligen.denoiser.unet,
        objective.scheduler,
        LATENTS,
        objective.condition(signal, TEXTS),
        extra_channels=torch.zeros(2, 5, 8, 8),
        generator=noise(),
    )
    assert found.keys() == {"loss", "mse"}
    torch.testing.assert_close(found["loss"], expected["loss"])


def test_a_generator_without_inpainting_channels_gets_none() -> None:
    small = models.gligen(in_channels=4)
    found = generation(small)(signals(2, 3, models.SIGNAL_WIDTH), TEXTS, LATENTS, generator=noise())
    assert torch.isfinite(found["loss"])


def test_through_frozen_parts_the_gradient_reaches_the_signal_alone(gligen: Gligen) -> None:
    signal = signals(2, 3, models.SIGNAL_WIDTH)
    generation(gligen)(signal, TEXTS, LATENTS, generator=noise())["loss"].backward()
    assert signal.grad is not None
    assert (signal.grad.flatten(1).norm(dim=1) > 0).all()
    assert all(parameter.grad is None for parameter in gligen.parameters())


def test_a_projection_that_learns_gets_its_gradient(gligen: Gligen) -> None:
    objective = generation(gligen)
    gligen.projection.requires_grad_(True)
    objective(signals(2, 3, models.SIGNAL_WIDTH), TEXTS, LATENTS, generator=noise())["loss"].backward()
    assert all(parameter.grad is not None for parameter in gligen.projection.parameters())
    gligen.zero_grad()


def falls(loss: Callable[[], Tensor], signal: Tensor, rate: float) -> bool:
    """Tell whether steps on the signal alone lower a loss."""
    optimizer = torch.optim.Adam([signal], rate)
    before = loss().item()
    for _ in range(8):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return loss().item() < before


def test_a_better_signal_denoises_better(gligen: Gligen) -> None:
    objective, signal = generation(gligen), signals(2, 3, models.SIGNAL_WIDTH)
    assert falls(lambda: objective(signal, TEXTS, LATENTS, generator=noise())["loss"], signal, 0.05)


def test_boxes_reach_the_gated_layers(gligen: Gligen) -> None:
    objective, signal = generation(gligen), signals(2, 3, models.SIGNAL_WIDTH)
    phrases = gligen.text.encode(["a red circle"])[0].pooled[None]
    losses = []
    for box in (None, (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)):
        grounding = None
        if box:
            row = GligenCondition(tokens=phrases, boxes=(box,), phrases=phrases, grounded=True)
            grounding = gligen.denoiser.pack_grounding([row, row])
        found = objective(signal, TEXTS, LATENTS, grounding=grounding, generator=noise())
        losses.append(found["loss"].item())
    assert len(set(losses)) == 3


@pytest.mark.parametrize(
    ("rows", "texts", "latents", "message"),
    [
        (2, ("a",), LATENTS, "instructions: got 1 for 2"),
        (2, TEXTS, LATENTS[:1], "latents: got 1 for 2"),
        (0, (), LATENTS[:0], "at least one"),
    ],
)
def test_generation_rows_that_do_not_fit_are_named(
    gligen: Gligen, rows: int, texts: tuple[str, ...], latents: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generation(gligen)(signals(2, 3, models.SIGNAL_WIDTH)[:rows], texts, latents)


@pytest.fixture(scope="module")
def seem() -> Seem:
    return seem_fixtures.small_seem().requires_grad_(False)


def segmentation(seem: Seem) -> SegmentationObjective:
    return SegmentationObjective(network=seem.network, projection=seem.projection)


def request(instruction: str = "", seed: int = 0, **fields: object) -> SpecialistRequest:
    return SpecialistRequest(instruction=instruction, image=seem_fixtures.picture(40, 56, seed), **fields)


def masks(count: int) -> list[np.ndarray]:
    found = np.zeros((count, 40, 56), bool)
    found[:, 8:24, 10:30] = True
    return list(found)


def mixed_requests() -> list[SpecialistRequest]:
    """Every kind of prompt in one batch; one row without any text."""
    other = seem_fixtures.picture(30, 30, 9)
    return [
        request("red circle", 0),
        request("", 1, drawn=(BOX,)),
        request("the star", 2, regions=(Grounding(box=(0.5, 0.1, 0.9, 0.5)),)),
        request("this one", 3, drawn=(POINT,), regions=(Grounding(box=(0.0, 0.0, 0.2, 0.2)),)),
        request("circle", 4, reference=other, reference_drawn=BOX, regions=(Grounding(box=(0.0, 0.0, 0.9, 0.9)),)),
    ]


def test_a_training_row_sees_what_a_served_request_sees(seem: Seem) -> None:
    requests = mixed_requests()
    signal = signals(len(requests), 3, 8)
    batch = segmentation_batch(requests, masks(len(requests)), seem.config)
    last = segmentation(seem).outputs(signal, batch)[-1]
    for row, each in enumerate(requests):
        served = seem.run_batch([SpecialistRequest(**{**vars(each), "signal": signal[row].detach()})])[0]
        best = int(last.match[row].argmax())
        shown = upsample(last.masks[row, best][None].detach(), (40, 56))[0] > 0
        assert served.detections[0].score == pytest.approx(last.match[row, best].sigmoid().item(), abs=1e-5)
        assert np.array_equal(served.detections[0].mask, shown.numpy())


def test_segmentation_teaches_the_signal_alone(seem: Seem) -> None:
    signal = signals(5, 3, 8)
    losses = segmentation(seem)(signal, segmentation_batch(mixed_requests(), masks(5), seem.config))
    assert losses.keys() == {"loss", "bce", "dice", "match", "name"}
    assert losses["name"].item() == 0
    losses["loss"].backward()
    assert signal.grad is not None
    assert (signal.grad.flatten(1).norm(dim=1) > 0).all()
    assert all(parameter.grad is None for parameter in seem.parameters())


def test_a_better_signal_segments_better(seem: Seem) -> None:
    objective, signal = segmentation(seem), signals(2, 3, 8)
    batch = segmentation_batch([request("red circle", 0), request("", 1)], masks(2), seem.config)
    assert falls(lambda: objective(signal, batch)["loss"], signal, 0.05)


def test_targets_are_stretched_as_pictures_are(seem: Seem) -> None:
    batch = segmentation_batch([request("red circle")], masks(1), seem.config)
    rows, columns = batch.targets.masks[0, 0].nonzero().T
    height, width = SIDE / 40, SIDE / 56
    assert batch.targets.masks.shape == (1, 1, SIDE, SIDE)
    assert [int(rows.min()), int(rows.max()) + 1] == pytest.approx([8 * height, 24 * height], abs=1)
    assert [int(columns.min()), int(columns.max()) + 1] == pytest.approx([10 * width, 30 * width], abs=1)
    assert batch.targets.meant.all() and not batch.targets.every_object.any()


def test_names_are_refused_where_no_row_teaches_all_objects(seem: Seem) -> None:
    batch = segmentation_batch([request("red circle")], masks(1), seem.config)
    classes = seem.network.lang_encoder(["red circle", "blue star"]).classes
    names = Names(classes, torch.zeros(1, 1, dtype=torch.long), torch.tensor(1.0))
    with pytest.raises(ValueError, match="every_object"):
        segmentation(seem)(signals(1, 3, 8), batch, names=[names])


@pytest.mark.parametrize(
    ("made", "count", "message"),
    [
        ([SpecialistRequest(instruction="red circle")], 1, "image: got None"),
        ([request("this", drawn=(BOX, POINT))], 1, "drawn: got 2"),
        ([request("this", reference=seem_fixtures.picture(8, 8))], 1, "reference_drawn"),
        ([request("this", regions=(Grounding(box=(0, 0, 1, 1)),) * 2)], 1, "regions: got 2"),
        ([request("this")], 2, "masks: got 2 for 1"),
        ([], 0, "at least one"),
    ],
)
def test_requests_that_are_no_training_rows_are_refused(
    made: list[SpecialistRequest], count: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        segmentation_batch(made, masks(count), seem_fixtures.small_config())


def test_segmentation_rows_that_do_not_fit_are_named(seem: Seem) -> None:
    batch = segmentation_batch([request("this"), request("this", 1)], masks(2), seem.config)
    with pytest.raises(ValueError, match="instructions: got 2 for 1"):
        segmentation(seem)(signals(1, 3, 8), batch)
    three: SegmentationBatch = batch._replace(pixels=batch.pixels[:1].repeat(3, 1, 1, 1))
    with pytest.raises(ValueError, match="pixels: got 3 pictures"):
        segmentation(seem)(signals(2, 3, 8), three)
