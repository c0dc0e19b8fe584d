"""The command line: its flags, and what it says to wrong ones."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.unit.train import toy
from train import __main__ as command
from train.__main__ import main, parser, settings_of, workers_of
from train.recipes import CHAIN, MODULES
from train.stopping import Interrupted

TOY = f"{toy.ADDRESS}:recipe"
FLAGS = {
    *("--help", "--preset", "--name", "--storage", "--start", "--workers", "--gpus", "--budget", "--track"),
    *("--no-track", "--set", "--out", "--also", "--eight-bits"),
}


def test_there_are_these_flags_and_no_others() -> None:
    """A number of a run is a field of `Settings`, set with --set; a new flag needs a better reason than a number."""
    found = {option for action in parser()._actions for option in action.option_strings if option.startswith("--")}
    assert found == FLAGS
    assert [action.dest for action in parser()._actions if not action.option_strings] == ["recipe"]


def test_help_names_every_recipe_and_shows_how_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = "".join(capsys.readouterr().out.split())  # lines are broken at hyphens too
    assert all(
        name in text
        for name in (*CHAIN, "resize", "stop", "average", "ship", "list", "all", "python-mdeploymentsserve")
    )


def test_the_chain_has_the_steps_of_the_paper_in_their_order() -> None:
    assert tuple(MODULES) == CHAIN
    steps = ("alignment", "invocation", "decoder", "image-grounding", "video-grounding", "grounded-qa", "synergy")
    assert [name for name in CHAIN if name in steps] == list(steps)


def args_of(*arguments: str) -> argparse.Namespace:
    return parser().parse_args([TOY, *arguments])


def test_settings_come_from_the_recipe_the_budget_and_set_in_this_order() -> None:
    settings = settings_of(TOY, args_of("--budget", "0.5", "--set", "lr=0.5", "--set", "betas=0.5,0.6"))
    assert settings == dataclasses.replace(toy.SETTINGS, steps=12, warmup=2, lr=0.5, betas=(0.5, 0.6))
    assert settings_of(TOY, args_of("--budget", "0.5", "--set", "steps=7")).steps == 7


def test_workers_are_a_number_or_a_range() -> None:
    assert workers_of("3") == 3
    assert workers_of("1:4") == (1, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "recipe: got 'nonsense', expected one of clip, "),
        ([f"{toy.ADDRESS}:nothing"], f"{toy.ADDRESS} has no 'nothing'"),
        (["no.such.module:recipe"], "No module named 'no'"),
        ([TOY, "--set", "lrr=1"], "set: no field 'lrr', expected one of steps, batch"),
        ([TOY, "--set", "lr"], "set: got 'lr', expected FIELD=VALUE"),
        ([TOY, "--set", "lr=fast"], "lr: got 'fast', expected a value like 0.01"),
        ([TOY, "--set", "steps=1.5"], "steps: got '1.5'"),
        ([TOY, "--set", "micro_batch=3"], "divisor of batch"),
        ([TOY, "--set", "strategy=zero"], "strategy: got 'zero', expected one of ddp, fsdp, deepspeed"),
        ([TOY, "--workers", "0"], "workers: got '0', expected a number of at least 1, or MIN:MAX"),
        ([TOY, "--workers", "4:2"], "workers: got '4:2'"),
        ([TOY, "--workers", "two"], "workers: got 'two'"),
        ([TOY, "--workers", "2:"], "workers: got '2:'"),
        ([TOY, "--workers", "8"], "workers: got 8, expected at most 4, the micro-batches of a step"),
        ([TOY, "--workers", "1:3", "--set", "strategy=fsdp"], "workers: got 3 with fsdp, expected a divisor of 4"),
        (
            [TOY, "--workers", "1:2", "--set", "strategy=deepspeed", "--set", "ema=0"],
            "workers: got 1:2 with deepspeed, expected one number",
        ),
        ([TOY, "--budget", "0"], "budget: got 0.0"),
        ([TOY, "--track", "paper"], "track: got 'paper'"),
        ([TOY, "--start", "/no/such/folder"], "start: got '/no/such/folder'"),
        (["resize"], "name: resize needs the --name of a run"),
        (["stop"], "name: stop needs the --name of a run"),
        (["resize", "--name", "run"], "workers: resize needs --workers"),
        (["ship", "--start", "run"], "ship: --start and --out are needed"),
    ],
)
def test_a_wrong_command_names_the_field(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--storage", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said


def test_without_a_cluster_stop_and_resize_say_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**options: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", refuse)
    for arguments in (["stop", "--name", "run"], ["resize", "--name", "run", "--workers", "2"]):
        assert main(arguments) == 2
        assert "no Ray cluster is found to look for 'run' on; set RAY_ADDRESS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (Interrupted("run", 7, 143), 143, "run: stopped after step 7"),
        (KeyboardInterrupt(), 130, "stopped at once; the same command goes on from the last checkpoint"),
        (FloatingPointError("step 3 not taken: loss mse is nan"), 2, "error: step 3 not taken"),
        (OSError("checkpoint: cannot store"), 2, "error: checkpoint: cannot store"),
    ],
)
def test_how_a_run_ended_is_said_and_is_the_exit_status(
    raised: BaseException, status: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(*given: Any) -> None:
        raise raised

    monkeypatch.setattr(command, "train_here", end)
    assert main([TOY, "--no-track"]) == status
    assert words in capsys.readouterr().err


def test_a_chain_hands_the_weights_of_a_step_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "CHAIN", (TOY, f"{toy.ADDRESS}:frozen"))
    assert main(["all", "--name", "c", "--storage", str(tmp_path), "--no-track", "--budget", "0.1"]) == 0
    said = capsys.readouterr().out
    first, second = f"c-{TOY}", f"c-{toy.ADDRESS}:frozen"
    assert f"{tmp_path}/{first}/step-00000002" in said.split(f"{toy.ADDRESS}:frozen: a toy")[1]
    assert said.strip().endswith(f"python -m deployments serve --weights {tmp_path}/{second}")
