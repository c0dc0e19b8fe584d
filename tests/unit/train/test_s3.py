"""A run whose checkpoints are on an S3-compatible server."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from tests.s3 import server
from tests.unit.train import toy
from tests.unit.train.runs import held, run_of
from train.saver import FolderSaver, open_run
from train.session import train_here
from train.world import World
from vitron.weights import ASSETS

STORAGE = "s3://vitron-train/runs"


@pytest.fixture
def bucket() -> Iterator[None]:
    """An empty one, of a server that the environment names."""
    with server() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "x")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("vitron-train")
        yield
        s3fs.S3FileSystem.clear_instance_cache()


def train(name: str, steps: int) -> str:
    """Train in a process of its own, as a user does."""
    command = [sys.executable, "-m", "train", f"{toy.ADDRESS}:recipe", "--storage", STORAGE, "--name", name]
    done = subprocess.run(
        [*command, "--no-track", "--set", f"steps={steps}"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_lives_in_a_bucket_and_everybody_sees_its_newest_checkpoint(bucket: None, tmp_path: Path) -> None:
    url = f"{STORAGE}/toy"
    watcher = FolderSaver(url, World())
    assert watcher.newest() is None
    train("toy", 4)
    assert watcher.newest() == "step-00000004"
    assert "resumed at step 4" in train("toy", 8)
    assert watcher.newest() == "step-00000008" and watcher.step() == 8
    folder = watcher.latest()
    assert folder is not None and json.loads((folder / "manifest.json").read_text())["step"] == 8
    log = [json.loads(line) for line in watcher.files.cat_file(f"{watcher.root}/log.jsonl").splitlines()]
    assert [entry["step"] for entry in log if entry["kind"] == "val"] == [4, 8]
    weights = open_run("tiny", url)
    assert weights.has("tail") and weights.find("gligen_vae.safetensors").parent == ASSETS / "tiny"
    # The same run on this machine's disk.
    for steps in (4, 8):
        train_here(run_of(str(tmp_path), dataclasses.replace(toy.SETTINGS, steps=steps)), say=lambda line: None)
    here, there = held(tmp_path), held(folder.parent, folder.name)
    assert here.keys() == there.keys() and all(here[name].equal(there[name]) for name in here)


def test_old_checkpoints_are_removed_from_the_bucket(bucket: None) -> None:
    train("kept", 24)
    saver = FolderSaver(f"{STORAGE}/kept", World())
    names = sorted(path.rpartition("/")[2] for path in saver.files.ls(saver.root))
    best = saver.best()
    assert best is not None and saver.newest() == "step-00000024"
    kept = {name for name in names if name.startswith("step-")}
    assert kept == {"step-00000020", "step-00000024", best[0]}
