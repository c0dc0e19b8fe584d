"""Checkpoints: what they hold, which one counts, and what a run refuses to go on from."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.unit.train import toy
from tests.unit.train.runs import held, make_trainer, run_of, same, state
from train.saver import FolderSaver, open_run
from train.session import train_here
from train.settings import Settings
from train.world import World
from vitron.weights import ASSETS

SHORT = dataclasses.replace(toy.SETTINGS, steps=4)


def write(folder: Path) -> None:
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")


def test_the_newest_and_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    saver = FolderSaver(str(tmp_path), World(), keep=2)
    for step, score in ((1, 0.1), (2, 0.9), (3, 0.2), (4, None), (5, 0.3)):
        saver.save(step, write, score)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000002", "step-00000004", "step-00000005"]
    assert (saver.newest(), saver.step()) == ("step-00000005", 5)
    assert saver.best() == ("step-00000002", 0.9)


def test_only_a_validated_checkpoint_can_be_the_best(tmp_path: Path) -> None:
    make_trainer(tmp_path, dataclasses.replace(toy.SETTINGS, steps=20, validate_steps=8)).run()
    best = FolderSaver(str(tmp_path), World()).best()
    assert best is not None and best[0] in ("step-00000008", "step-00000016", "step-00000020")
    manifest = json.loads((tmp_path / best[0] / "manifest.json").read_text())
    assert manifest["metrics"] == {"r": best[1]}


@pytest.mark.parametrize("url", ["{tmp}", "memory://kept"])
def test_a_checkpoint_counts_only_when_all_of_it_is_stored(url: str, tmp_path: Path) -> None:
    saver = FolderSaver(url.format(tmp=tmp_path), World())
    saver.save(1, write, None)

    def interrupted(folder: Path) -> None:
        write(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match=r"checkpoint: cannot store .*step-00000002: disk full"):
        saver.save(2, interrupted, None)
    assert saver.newest() == "step-00000001"
    assert not list(tmp_path.glob(".partial-*"))
    latest = saver.latest()
    assert latest is not None and (latest / "manifest.json").read_text() == "{}"


def test_what_a_killed_process_left_is_removed_and_written_anew(tmp_path: Path) -> None:
    saver = FolderSaver(str(tmp_path), World())
    for name in (".partial-step-00000001", "step-00000002"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    saver.save(2, write, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000002"]
    assert [path.name for path in (tmp_path / "step-00000002").iterdir()] == ["manifest.json"]


def test_a_full_disk_ends_the_run_with_its_last_checkpoint_whole(tmp_path: Path) -> None:
    train_here(run_of(str(tmp_path / "toy"), SHORT), say=lambda line: None)
    size = (tmp_path / "toy/step-00000004/training/state.safetensors").stat().st_size
    command = [sys.executable, "-m", "train", f"{toy.ADDRESS}:recipe", "--storage", str(tmp_path), "--name", "toy"]
    done = subprocess.run(
        [*command, "--no-track", "--set", "steps=8"],
        capture_output=True,
        text=True,
        timeout=240,
        # The kernel then fails writes as it does on a full disk, only with another number.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2)),
    )
    assert done.returncode == 2
    assert "error: checkpoint: cannot store" in done.stderr and "step-00000008" in done.stderr
    assert "Traceback" not in done.stderr
    assert FolderSaver(str(tmp_path / "toy"), World()).newest() == "step-00000004"
    assert make_trainer(tmp_path / "toy", dataclasses.replace(SHORT, steps=8)).step == 4


def test_a_run_lives_on_any_fsspec_file_system_log_included() -> None:
    url = "memory://runs/toy"
    for steps in (4, 8):
        train_here(run_of(url, dataclasses.replace(toy.SETTINGS, steps=steps)), say=lambda line: None)
    saver = FolderSaver(url, World())
    folder = saver.latest()
    assert folder is not None
    assert json.loads((folder / "manifest.json").read_text())["step"] == 8
    records = [json.loads(line) for line in saver.files.cat_file("/runs/toy/log.jsonl").splitlines()]
    assert [record["step"] for record in records if record["kind"] == "val"] == [4, 8]
    weights = open_run("tiny", url)
    assert weights.has("tail") and weights.find("gligen_vae.safetensors").parent == ASSETS / "tiny"


def test_nothing_to_start_from_is_named(tmp_path: Path) -> None:
    for location in (str(tmp_path / "none"), "memory://nothing/here"):
        with pytest.raises(FileNotFoundError, match=f"start: got '{location}'"):
            open_run("tiny", location)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 32}, "batch: got 32, but the run in .* has 16"),
        ({"seed": 1}, "seed: got 1"),
        ({"data": "caption=1"}, "data: got 'caption=1', but the run in .* has ''"),
    ],
)
def test_a_run_cannot_change_the_order_of_its_samples_on_its_way(
    changes: dict[str, int], words: str, tmp_path: Path
) -> None:
    make_trainer(tmp_path, SHORT).run()
    with pytest.raises(ValueError, match=words):
        make_trainer(tmp_path, dataclasses.replace(SHORT, **changes))


def test_the_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, SHORT).run()
    with pytest.raises(ValueError, match=f"recipe: got '{toy.ADDRESS}:frozen'.*another --name.*--start"):
        make_trainer(tmp_path, SHORT, toy.frozen)


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, SHORT).run()
    with pytest.raises(ValueError, match=r"trains other parameters than this run, such as head\.0\.weight"):
        make_trainer(
            tmp_path, SHORT, lambda preset: dataclasses.replace(toy.frozen(preset), name=f"{toy.ADDRESS}:recipe")
        )


def test_a_run_cannot_switch_muon_on_on_its_way(tmp_path: Path) -> None:
    make_trainer(tmp_path, SHORT).run()
    with pytest.raises(ValueError, match=r"muon_lr: got 0\.01, but Muon cannot go on"):
        make_trainer(tmp_path, dataclasses.replace(SHORT, steps=8, muon_lr=0.01))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    make_trainer(tmp_path, SHORT).run()
    file = tmp_path / "step-00000004/training/state.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="step-00000004 is damaged"):
        make_trainer(tmp_path, SHORT)


def test_an_average_can_begin_on_the_way(tmp_path: Path) -> None:
    make_trainer(tmp_path, dataclasses.replace(SHORT, ema=0.0)).run()
    trainer = make_trainer(tmp_path, dataclasses.replace(SHORT, steps=8, ema=0.9))
    parameters = {name: value for name, value in held(tmp_path).items() if name.startswith("parameter/")}
    for (name, _), mean in zip(trainer.average.named, trainer.average.values, strict=True):
        assert torch.equal(mean, parameters[f"parameter/{name}"])
    assert trainer.run()


def test_rates_steps_and_micro_batches_may_change_on_the_way(tmp_path: Path) -> None:
    make_trainer(tmp_path, SHORT).run()
    changed = dataclasses.replace(SHORT, steps=6, lr=0.0, weight_decay=0.0, micro_batch=8)
    trainer = make_trainer(tmp_path, changed)
    before = state(trainer)
    assert trainer.step == 4 and trainer.run()
    named = [name for name, _ in trainer.job.objective.named_parameters()]
    assert same({name: before[name] for name in named}, {name: state(trainer)[name] for name in named})


def test_a_manifest_says_how_the_weights_were_made(tmp_path: Path) -> None:
    make_trainer(tmp_path, SHORT).run()
    manifest = json.loads((tmp_path / "step-00000004/manifest.json").read_text())
    assert manifest["recipe"] == f"{toy.ADDRESS}:recipe" and manifest["base"] == "tiny" and manifest["step"] == 4
    assert manifest["rates"] == {"head": 1.0, "tail": 0.5} and manifest["workers"] == 1
    settings = {**manifest["settings"], "betas": tuple(manifest["settings"]["betas"])}
    assert Settings(**settings) == SHORT


def test_a_chain_of_runs_on_a_remote_file_system_still_finds_what_its_beginning_holds() -> None:
    start = None
    for name, recipe in (("one", toy.recipe), ("two", toy.frozen), ("three", toy.frozen)):
        url = f"memory://chain/{name}"
        run = run_of(url, dataclasses.replace(SHORT, steps=1), recipe)._replace(start=start)
        train_here(run, say=lambda line: None)
        start = url
    last = open_run("tiny", start)
    # Its own part, one that the first run trained, and one that only the preset has.
    places = [last.find(f"{part}.safetensors").parent for part in ("tail", "head", "gligen_vae")]
    assert places[0] == last.folder and len(set(places)) == 3 and places[2] == ASSETS / "tiny"
