"""What one optimizer step does: rate, clipping, precision."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from tests.unit.train import toy
from tests.unit.train.runs import make_trainer, state
from train.optimizers import schedule

ONE = dataclasses.replace(toy.SETTINGS, steps=1, warmup=1, log_seconds=0.0, validate_steps=0)


def first_moments(folder: Path, **changes: float | str) -> tuple[torch.Tensor, float]:
    """The gradient that a first step used, from AdamW's first moment, and the norm that its line tells."""
    settings = dataclasses.replace(ONE, **changes)  # type: ignore[arg-type]
    trainer = make_trainer(folder, settings)
    trainer.run()
    (adam,) = trainer.strategy.optimizers.all
    grads = [held["exp_avg"].flatten() / (1 - settings.betas[0]) for held in adam.state.values()]
    (line,) = [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines() if '"train"' in text]
    return torch.cat(grads), line["norm"]


def test_the_rate_rises_in_a_line_and_falls_along_half_a_cosine_to_its_floor() -> None:
    settings = dataclasses.replace(toy.SETTINGS, steps=104, warmup=4, floor=0.1)
    assert [schedule(settings, step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert schedule(settings, 4) == 1.0
    assert schedule(settings, 54) == pytest.approx(0.55)
    assert schedule(settings, 29) == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi / 4)))
    falling = [schedule(settings, step) for step in range(4, 105)]
    assert falling == sorted(falling, reverse=True) and falling[-1] == pytest.approx(0.1)


def test_gradients_are_clipped_to_one_norm_over_all_parts(tmp_path: Path) -> None:
    free, norm = first_moments(tmp_path / "free", clip=1e6)
    assert free.norm() == pytest.approx(norm, rel=1e-4)
    clipped, told = first_moments(tmp_path / "clipped", clip=norm / 4)
    assert told == pytest.approx(norm) and clipped.norm() == pytest.approx(norm / 4, rel=1e-4)
    torch.testing.assert_close(clipped * 4, free, rtol=1e-3, atol=1e-6)
    loose, _ = first_moments(tmp_path / "loose", clip=norm * 4)
    torch.testing.assert_close(loose, free)


def test_bf16_computes_the_forward_pass_and_leaves_weights_and_optimizer_in_fp32(tmp_path: Path) -> None:
    exact, _ = first_moments(tmp_path / "fp32")
    rounded, _ = first_moments(tmp_path / "bf16", precision="bf16")
    assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.99
    scores = []
    for precision in ("fp32", "bf16"):
        trainer = make_trainer(tmp_path / f"whole-{precision}", dataclasses.replace(toy.SETTINGS, precision=precision))
        trainer.run()
        assert {value.dtype for value in state(trainer).values() if value.is_floating_point()} == {torch.float32}
        lines = (tmp_path / f"whole-{precision}/log.jsonl").read_text().splitlines()
        scores.append([json.loads(text)["r"] for text in lines if '"val"' in text][-1])
    assert scores[1] == pytest.approx(scores[0], rel=0.02) and scores[0] != scores[1]
