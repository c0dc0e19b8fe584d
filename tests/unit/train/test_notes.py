"""What a run says of its data at the start."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.unit.data.official_videos import VIDEO_WRITERS
from tests.unit.train import toy
from tests.unit.train.runs import make_trainer
from train.recipe import Build, Job, Recipe
from train.recipes.language_data import open_mixture, told


def test_every_data_set_of_a_mixture_is_named_with_what_its_reader_left_out(tmp_path: Path) -> None:
    VIDEO_WRITERS["webvid"](tmp_path, "")
    mixture = open_mixture(f"caption=1,webvid@{tmp_path}=2,webvid:video_generate@{tmp_path}=1", 0)
    left_out = "1 samples; left out: 1 videos that are not there, 1 rows without page_dir"
    assert told(mixture) == (
        f"data webvid@{tmp_path}: {left_out}",
        f"data webvid:video_generate@{tmp_path}: {left_out}",
    )
    assert told(open_mixture("caption=1", 0)) == ()


def test_a_run_says_its_notes_once_before_the_first_step(tmp_path: Path) -> None:
    def noted(preset: str) -> Recipe:
        base = toy.recipe(preset)

        def make(build: Build) -> Job:
            return dataclasses.replace(base.make(build), notes=("data numbers: 7 samples; left out: 2 odd ones",))

        return dataclasses.replace(base, make=make)

    said: list[str] = []
    make_trainer(tmp_path, recipe=noted, say=said.append)
    assert said.count("data numbers: 7 samples; left out: 2 odd ones") == 1
