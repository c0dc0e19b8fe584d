"""Serving other weights than the configuration names: what `python -m deployments serve --weights` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.__main__ import parser
from deployments.args import AppArgs
from deployments.config_file import read_config, use_weights

CONFIG = Path(__file__).parents[3] / "serve_config.yaml"


def test_weights_of_the_command_line_reach_the_application_as_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = read_config(CONFIG)
    before = AppArgs.model_validate(config.applications[0].args)
    use_weights(config, parser().parse_args(["serve", "--weights", "runs/mine"]).weights)
    after = AppArgs.model_validate(config.applications[0].args)
    assert before.weights is None and after.weights == str(tmp_path / "runs/mine")
    assert after.model_copy(update={"weights": None}) == before
    # What is sent to the cluster holds only what was set.
    assert config.model_dump(exclude_unset=True)["applications"][0]["args"]["weights"] == after.weights


def test_weights_that_are_not_there_are_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights: got .*nothing., expected a folder of weights or of a"):
        use_weights(read_config(CONFIG), tmp_path / "nothing")
