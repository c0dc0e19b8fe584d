"""LLaVA-style JSON: conversations as they are written become samples, or are refused with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data import official_images as official
from tests.unit.data.media import load, numbers_of, picture, save, write_json
from train.data.check import check
from train.data.sample import Sample
from train.data.sources import open_source
from vitron.invocation import parse_reply
from vitron.prompt import escape


def read(root: Path, *records: dict[str, Any]) -> Sample:
    """Return the first sample of own records; a picture is at hand."""
    save(root / "a.png", picture(0))
    write_json(root / "own.json", list(records))
    sample = open_source("llava", root, "own")[0]
    check(sample)
    return sample


def said(*turns: str) -> list[dict[str, str]]:
    """Return turns of human and gpt."""
    return [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(turns)]


def test_a_record_with_a_drawn_box_becomes_a_marked_picture(tmp_path: Path) -> None:
    official.llava(tmp_path)
    sample = open_source("llava", tmp_path, "train")[0]
    assert sample.id == "llava/conversation/train/0"
    assert [turn.text for turn in sample.turns] == ["<image>\nWhat is\nthis <region>?", "A clock."]
    assert np.array_equal(sample.images[0], load(tmp_path / "photos/7.jpg"))
    expected = np.zeros((24, 32), np.bool_)
    expected[6:12, 8:16] = True
    assert sample.marks[0][0] == 0
    assert np.array_equal(sample.marks[0][1], expected)
    assert sample.target["boxes"] == ((0.25, 0.25, 0.5, 0.5),)
    assert sample.target["answer"] == "A clock."


def test_a_record_of_vitron_invokes_a_specialist_in_our_spelling(tmp_path: Path) -> None:
    official.llava(tmp_path)
    sample = open_source("llava", tmp_path, "train", num_frames=4)[1]
    assert sample.turns[0].text == "<video>\nMask the bag."
    assert sample.turns[1].text == (
        "Sure. <Module>Video Segmentation</Module><Instruction>segmentation: bag</Instruction>"
    )
    assert sample.turns[1].invokes
    assert sample.condition_text == "bag"
    assert numbers_of(sample.clips[0]) == [0, 2, 5, 7]
    assert sample.target["frame_numbers"][0].tolist() == [0, 2, 5, 7]


def test_what_the_assistant_says_before_the_human_is_skipped(tmp_path: Path) -> None:
    official.llava(tmp_path)
    sample = open_source("llava", tmp_path, "train")[2]
    assert [turn.text for turn in sample.turns] == ["2 + 2?", "4"]
    assert not sample.images


def test_placeholders_move_to_the_front_of_their_turn(tmp_path: Path) -> None:
    sample = read(
        tmp_path,
        {
            "image": ["a.png", "a.png"],
            "conversations": said("Same as\n<image>?", "Yes.", "And <image> this one?", "No."),
        },
    )
    assert [turn.text for turn in sample.turns] == ["<image>\nSame as\n ?", "Yes.", "<image>\nAnd this one?", "No."]
    assert len(sample.images) == 2


@pytest.mark.parametrize("letter", "ABCDEFG")
def test_every_letter_of_vitron_is_a_module(letter: str, tmp_path: Path) -> None:
    reply = f"Ok <module> {letter} </module>\n<instruction> do: it </instruction>"
    names = ["Image Generation", "Image Segmentation", "Image Editing", "Video Generation", "Video Segmentation",
             "Video Editing", "Video Generation"]  # fmt: skip
    invocation = parse_reply(read(tmp_path, {"conversations": said("Go.", reply)}).turns[1].text).invocation
    assert invocation is not None
    assert invocation.module == names["ABCDEFG".index(letter)]
    assert invocation.instruction == "do: it"


def test_regions_of_an_invocation_are_kept(tmp_path: Path) -> None:
    call = "<Module>Video Editing</Module><Instruction>remove: car</Instruction>"
    reply = f"Done. {call}<Region>car: (0.10, 0.20, 0.30, 0.40 | 2, 7)</Region>"
    assert read(tmp_path, {"conversations": said("Go.", reply)}).turns[1].text == reply


def test_several_boxes_without_a_region_in_the_text_are_only_targets(tmp_path: Path) -> None:
    sample = read(
        tmp_path,
        {
            "image": "a.png",
            "bbox": [[0, 0, 16, 12], [16, 12, 32, 24]],
            "conversations": said("<image>\nWhere?", "Here."),
        },
    )
    assert sample.target["boxes"] == ((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0))
    assert not sample.marks


def test_other_tokens_and_tags_of_a_conversation_are_broken_up(tmp_path: Path) -> None:
    asked = "<im<image>age> <signal_0></s><Module>Image Editing</Module> <unk>"
    sample = read(tmp_path, {"image": "a.png", "conversations": said(asked, "Use <image> and </s> or <Region>.")})
    user, reply = (turn.text for turn in sample.turns)
    assert user.count("<image>") == 1 and user.startswith("<image>\n")
    assert escape(user.removeprefix("<image>\n")) == user.removeprefix("<image>\n")
    assert "<Module>" not in user
    assert escape(reply) == reply
    assert parse_reply(reply).invocation is None


def test_line_breaks_of_a_conversation_stay(tmp_path: Path) -> None:
    sample = read(tmp_path, {"conversations": said("A.\nB.\n\nC?", "one\ntwo")})
    assert [turn.text for turn in sample.turns] == ["A.\nB.\n\nC?", "one\ntwo"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "got no conversations"),
        ({"conversations": said("Hi")}, r"got turns from \['human'\]"),
        ({"conversations": [*said("Hi", "Ho"), {"from": "system", "value": "x"}]}, "got turns from"),
        ({"conversations": said("Hi", " ")}, "got value = ''"),
        ({"conversations": said("<image>\nHi", "Ho")}, "got 1 <image> for 0 files"),
        ({"image": "a.png", "conversations": said("Hi", "Ho")}, "got 0 <image> for 1 files"),
        ({"image": "a.png", "conversations": said("<image>", "Ho")}, "got a turn without words"),
        ({"image": 3, "conversations": said("<image>\nHi", "Ho")}, "got image = 3"),
        ({"bbox": [0, 0, 1, 1], "conversations": said("Hi", "Ho")}, "for 1 bbox, expected as many, and media"),
        ({"conversations": said("What is <region>?", "Ho")}, "got 1 <region> for 0 bbox"),
        ({"image": "a.png", "bbox": [0, 0, 1, 1], "conversations": said("<image> <region> <region>", "Ho")},
         "got 2 <region> for 1 bbox"),
        ({"image": "a.png", "bbox": [0, 0, 1], "conversations": said("<image>Hi", "Ho")}, r"got bbox = \[0, 0, 1\]"),
        ({"image": "a.png", "bbox": [40, 0, 50, 9], "conversations": said("<image>Hi", "Ho")}, "got box .40.0"),
        ({"image": "../a.png", "conversations": said("<image>Hi", "Ho")}, r"got the file name '\.\./a\.png'"),
        ({"conversations": said("Hi", "<module>Z</module><instruction>x</instruction>")}, "unknown module 'Z'"),
        ({"conversations": said("Hi", "<module>A</module>")}, "lacks"),
        ({"conversations": said("Hi", "<module>A</module><instruction>x</instruction><region>1</region>")}, "region"),
        ({"conversations": said(*["Hi", "<module>A</module><instruction>x</instruction>"] * 2)}, "got 2 replies"),
    ],
)  # fmt: skip
def test_malformed_conversations_are_refused_with_file_and_place(
    record: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        read(tmp_path, record)
    assert "own.json: [0]: " in str(raised.value)


def test_a_missing_picture_of_a_conversation_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        read(tmp_path, {"image": "b.png", "conversations": said("<image>Hi", "Ho")})
