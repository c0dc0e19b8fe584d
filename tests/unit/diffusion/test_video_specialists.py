"""The two video generators with random weights: what reaches the clip, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.diffusion import models, video_models
from vitron.clip_plan import LAST
from vitron.diffusion.warp import Motion
from vitron.specialists.base import Cancelled
from vitron.specialists.i2vgen import I2VGen
from vitron.specialists.video_diffusion import VideoDiffusion
from vitron.specialists.video_plan import mover_boxes
from vitron.specialists.zeroscope import Zeroscope
from vitron.types import Clip, Grounding, Image


@pytest.fixture(scope="module")
def zeroscope() -> Zeroscope:
    return video_models.zeroscope()


@pytest.fixture(scope="module")
def i2vgen() -> I2VGen:
    return video_models.i2vgen()


def signal(seed: int) -> torch.Tensor:
    return torch.randn(3, models.SIGNAL_WIDTH, generator=torch.Generator().manual_seed(seed))


def picture(seed: int, height: int = 32, width: int = 32) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


def film(specialist: VideoDiffusion, text: str = "a star moves", **fields: object) -> Clip:
    return specialist.run(models.request(text, **fields)).clips[0]


def latents(specialist: VideoDiffusion, text: str = "a star moves", **fields: object) -> torch.Tensor:
    engine = specialist.make_engine()
    (job,) = specialist.plan(models.request(text, **fields))
    engine.submit(job)
    return engine.run()[job.request_id]


def test_a_clip_has_the_configured_frames_size_and_rate(zeroscope: Zeroscope) -> None:
    clip = film(zeroscope)
    assert clip.frames.shape == (video_models.FRAMES, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.fps == 8.0


def test_options_set_the_number_of_frames_and_their_rate(zeroscope: Zeroscope) -> None:
    clip = film(zeroscope, options={"steps": 1, "num_frames": 5, "fps": 12})
    assert len(clip.frames) == 5
    assert clip.fps == 12.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"text": "a star moves"}, {"text": "two rings"}),
        ({"signal": signal(1)}, {"signal": signal(2)}),
        ({"signal": signal(1)}, {}),
        ({"text": "", "signal": signal(1)}, {"text": "a star moves", "signal": signal(1)}),
        ({"seed": 1}, {"seed": 2}),
        ({"options": {"steps": 2, "guidance_scale": 1.0}}, {"options": {"steps": 2, "guidance_scale": 9.0}}),
    ],
    ids=["text", "signal", "no signal", "hybrid", "seed", "guidance"],
)
def test_everything_a_request_says_reaches_the_clip(
    zeroscope: Zeroscope, one: dict[str, object], other: dict[str, object]
) -> None:
    assert not torch.allclose(latents(zeroscope, **one), latents(zeroscope, **other), atol=1e-4)


def test_frames_know_of_each_other(zeroscope: Zeroscope) -> None:
    samples = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = samples.clone()
    changed[:, :, 0] += 1.0
    tokens = torch.zeros(1, 4, models.WIDTH)
    with torch.no_grad():
        one, other = (zeroscope.denoiser(each, torch.tensor([500]), tokens) for each in (samples, changed))
    assert not torch.allclose(one[:, :, 2], other[:, :, 2], atol=1e-4)


def test_what_the_clip_begins_with_reaches_its_later_frames(i2vgen: I2VGen) -> None:
    one, other = latents(i2vgen, image=picture(1)), latents(i2vgen, image=picture(2))
    assert not torch.allclose(one[:, 1:], other[:, 1:], atol=1e-3)


@pytest.mark.parametrize("stock", [False, True])
def test_the_first_frame_is_the_picture_as_the_autoencoder_keeps_it(stock: bool) -> None:
    specialist, image = video_models.i2vgen(stock=stock), picture(1)
    made = latents(specialist, image=image)
    torch.testing.assert_close(made[:, 0], specialist.opening(models.request("", image=image)).first)


def test_a_picture_of_any_shape_is_stretched(i2vgen: I2VGen) -> None:
    assert film(i2vgen, image=picture(1, 50, 20)).frames.shape == (video_models.FRAMES, 32, 32, 3)


def test_without_a_picture_nothing_can_be_set_in_motion(i2vgen: I2VGen) -> None:
    with pytest.raises(ValueError, match="image: got none"):
        i2vgen.run(models.request("a star moves"))


def planned(*boxes: tuple[float, float, float, float], label: str = "star") -> tuple[Grounding, ...]:
    """One object that is at these boxes, spread over the clip."""
    moments = [round(i * LAST / max(len(boxes) - 1, 1)) for i in range(len(boxes))]
    return tuple(Grounding(box=box, label=label, span=(at, at)) for box, at in zip(boxes, moments, strict=True))


LEFT, RIGHT = (0.0, 0.25, 0.5, 0.75), (0.5, 0.25, 1.0, 0.75)


def test_a_plan_says_what_is_where_in_a_clip_from_words(zeroscope: Zeroscope) -> None:
    made = [
        latents(zeroscope, regions=regions)
        for regions in ((), planned(LEFT, RIGHT), planned(LEFT, LEFT), planned(LEFT, RIGHT, label="two rings"))
    ]
    for i, one in enumerate(made):
        assert all(not torch.allclose(one, other, atol=1e-4) for other in made[i + 1 :])
    # A box without a span plans nothing.
    torch.testing.assert_close(latents(zeroscope, regions=(Grounding(box=LEFT),)), made[0])


def test_the_channels_of_a_plan_hold_its_phrases_where_its_boxes_are(zeroscope: Zeroscope) -> None:
    plan = zeroscope.video_plan(models.request("a", regions=planned(LEFT, RIGHT)), 2)
    assert plan is not None and zeroscope.denoiser.phrase is not None
    filled = zeroscope.denoiser.filled(plan, 8, 8)
    assert filled.shape == (3, 2, 8, 8)
    inside = torch.zeros(2, 8, 8, dtype=torch.bool)
    inside[0, 2:6, :4] = inside[1, 2:6, 4:] = True
    assert torch.equal(filled[-1], inside.float())
    phrase = zeroscope.denoiser.phrase(zeroscope.text.encode(["star"])[0].pooled)
    torch.testing.assert_close(filled[:-1][:, inside], phrase[:, None].expand(-1, int(inside.sum())))
    assert not filled[:, ~inside].any()


def test_what_a_plan_sends_somewhere_gets_there(i2vgen: I2VGen) -> None:
    request = models.request("a", image=picture(1), regions=planned(LEFT, RIGHT))
    (job,) = i2vgen.plan(request)
    assert job.unconditional is not None
    for each in (job.condition, job.unconditional):  # guidance is toward the words, not away from the plan
        _, motion = i2vgen.denoiser.observe(torch.zeros(1, 4, 3, 8, 8), torch.tensor([0]), [each])
        assert motion is not None
        assert motion.shift[0, 0, :, 3, 3].tolist() == pytest.approx([0.0, 2.0, 4.0])
        assert not motion.shift[0, 1].any()


def test_of_several_planned_tracks_the_one_that_goes_furthest_moves(i2vgen: I2VGen) -> None:
    regions = (*planned(RIGHT, RIGHT, label="ring"), *planned(LEFT, RIGHT))
    plan = i2vgen.video_plan(models.request("a", image=picture(1), regions=regions), 3)
    assert plan is not None
    assert mover_boxes(plan)[0].tolist() == pytest.approx(LEFT)
    assert i2vgen.video_plan(models.request("a", image=picture(1)), 3) is None


def test_what_does_not_move_keeps_the_pictures_own_pixels(i2vgen: I2VGen, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(1)

    def still(*args: object) -> tuple[torch.Tensor, Motion]:
        return torch.zeros(1), Motion(torch.zeros(1, 2, 3, 8, 8), torch.full((1, 4, 3, 8, 8), -20.0))

    monkeypatch.setattr(i2vgen.denoiser, "observe", still)
    prepared = i2vgen.prepare(models.request("a", image=image))
    made = prepared.finish([torch.randn(4, 3, 8, 8)]).clips[0].frames
    assert np.array_equal(made, np.stack([image] * 3))


def test_a_stock_checkpoint_is_told_the_frame_rate_and_a_trained_one_only_plays_at_it(i2vgen: I2VGen) -> None:
    for specialist, expected in ((i2vgen, 8.0), (video_models.i2vgen(stock=True), 20.0)):
        (job,) = specialist.plan(models.request("a", image=picture(1), options={"steps": 1, "fps": 20}))
        assert job.condition.fps == expected


def test_a_batch_equals_the_requests_one_by_one(zeroscope: Zeroscope) -> None:
    requests = [
        models.request("a star moves", seed=3),
        models.request("two rings", signal=signal(1), options={"steps": 3}),
        models.request("", signal=signal(2), options={"steps": 2, "guidance_scale": 0.5}),
        models.request("a ring", options={"steps": 2, "num_frames": 2}),
    ]
    for batched, request in zip(zeroscope.run_batch(requests), requests, strict=True):
        alone = zeroscope.run(request).clips[0].frames
        assert np.abs(batched.clips[0].frames.astype(int) - alone).max() <= 1  # rounding of a level


def test_progress_rises_to_the_end(zeroscope: Zeroscope) -> None:
    seen: list[tuple[int, int]] = []
    zeroscope.run(models.request("a star"), on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_caller_who_no_longer_wants_the_clip_gets_none(zeroscope: Zeroscope) -> None:
    with pytest.raises(Cancelled):
        zeroscope.run(models.request("a star", options={"steps": 100}), cancelled=lambda: True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": " "}, "instruction: got '' and no signal"),
        ({"signal": torch.zeros(3, 5)}, r"signal: got shape \(3, 5\)"),
        ({"seed": -1}, "seed: got -1"),
        ({"options": {"num_frames": 6}}, r"options.num_frames: got 6, expected a number in \[2, 5\]"),
        ({"options": {"num_frames": 2.5}}, "options.num_frames: got 2.5, expected a whole number"),
        ({"options": {"fps": 0}}, "options.fps: got 0"),
        ({"options": {"num_images": 1}}, "options: got 'num_images', expected one of"),
    ],
)
def test_a_wrong_request_is_refused_by_field(zeroscope: Zeroscope, fields: dict[str, object], message: str) -> None:
    request = models.request(str(fields.pop("text", "a star")), **fields)
    with pytest.raises(ValueError, match=message):
        zeroscope.run(request)
