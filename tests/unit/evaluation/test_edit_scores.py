"""What counts as an edit of a clip that is there in all frames."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from train.data.shapes.render import render
from train.data.shapes.scene import Background, Object, Scene
from train.evaluation.cases import Case
from train.evaluation.items import Item
from train.evaluation.predict import Record, record
from train.evaluation.score_edits import in_all_frames
from vitron.types import Clip, Reply, SpecialistOutput

PLAIN = {"size": "large", "radius": 11.0, "saturation": 0.85, "value": 0.85, "rotation": 0.0, "texture": "solid"}
OLD = Object(shape="circle", color="red", x=18.0, y=18.0, hue=0.0, **PLAIN)  # type: ignore[arg-type]
NEW = Object(shape="square", color="blue", x=46.0, y=18.0, hue=225.0, **PLAIN)  # type: ignore[arg-type]
ELSEWHERE = replace(NEW, x=40.0, y=46.0)


def frames(*objects: Object, count: int = 3) -> npt.NDArray[np.uint8]:
    return np.stack([render(Scene(background=Background(color="gray"), objects=objects))] * count)


def case(kind: str, made: npt.NDArray[np.uint8]) -> Case:
    looks = [{"shape": each.shape, "color": each.color, "size": each.size} for each in (OLD, NEW)]
    target = {"kind": kind, "clip": frames(OLD, NEW), "required": looks, "result": 1}
    output = SpecialistOutput(clips=(Clip(frames=made),))
    item = Item(task="video_editing", kind="video_edit", split="test", index=0, seed=0)
    answer: Record = record(item, Reply(text="", output=output))
    return Case(item, SimpleNamespace(target=target, clips=(frames(OLD),)), answer)


@pytest.mark.parametrize("kind", ["add", "replace"])
def test_the_exact_result_is_right_and_one_wrong_frame_is_not(kind: str) -> None:
    exact = frames(OLD, NEW)
    assert in_all_frames(case(kind, exact))
    exact[1] = frames(OLD)[0]
    assert not in_all_frames(case(kind, exact))
    assert not in_all_frames(case(kind, frames(OLD, NEW, count=2)))


def test_what_is_added_may_be_anywhere_but_must_be_there_beside_the_rest() -> None:
    assert in_all_frames(case("add", frames(OLD, ELSEWHERE)))
    assert not in_all_frames(case("add", frames(ELSEWHERE)))
    assert not in_all_frames(case("add", frames(OLD, replace(ELSEWHERE, color="green", hue=130.0))))
