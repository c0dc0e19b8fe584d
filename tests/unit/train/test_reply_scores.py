"""The right answer is right, and one that is a little off is not."""

from __future__ import annotations

import itertools

import pytest

from train.data.sample import Sample
from train.data.shapes.dialogues import TASKS, build
from train.recipes.reply_scores import located_answer, right
from vitron.invocation import InvocationError, parse_reply
from vitron.types import Reply


def reply(text: str) -> Reply:
    try:
        parsed = parse_reply(text)
    except InvocationError as error:
        return Reply(text=text, error=str(error))
    return Reply(text=parsed.text, invocation=parsed.invocation)


def samples(task: str, count: int = 12) -> list[Sample]:
    return [build(task, "val", index) for index in range(count)]


@pytest.mark.parametrize("task", TASKS)
def test_the_answer_of_the_world_is_right(task: str) -> None:
    for sample in samples(task):
        assert right(sample, reply(sample.turns[-1].text)), sample.turns[-1].text


@pytest.mark.parametrize("task", [task for task in TASKS if not task.startswith("chat")])
def test_the_answer_to_another_sample_is_wrong_nearly_always(task: str) -> None:
    found = samples(task)
    verdicts = [right(a, reply(b.turns[-1].text)) for a, b in itertools.pairwise(found)]
    assert sum(verdicts) <= len(verdicts) / 2


@pytest.mark.parametrize("task", [task for task in TASKS if not task.startswith("chat")])
def test_small_talk_answers_nothing(task: str) -> None:
    assert not any(right(sample, reply("Hello! How can I help you?")) for sample in samples(task, 4))


def test_small_talk_must_not_invoke() -> None:
    invoking = build("generate", "val", 0).turns[-1].text
    assert not right(build("chat", "val", 0), reply(invoking))


def test_a_caption_counts_its_objects() -> None:
    sample = next(s for s in samples("caption", 40) if len(s.target["required"]) > 1)
    short = sample.turns[-1].text.split(",")[0].split(" and ")[0]
    assert not right(sample, reply(short))
    assert not right(sample, reply(f"{sample.turns[-1].text} and a small red circle"))


def test_a_layout_may_be_anywhere_but_has_to_name_what_was_asked_for() -> None:
    sample = next(s for s in samples("generate") if s.turns[-1].text.count("(") > 1)
    text = sample.turns[-1].text
    start = text.index("(")
    moved = f"{text[:start]}(0.00, 0.00, 0.01, 0.01){text[text.index(')', start) + 1 :]}"
    dropped = text[: text.index("<Region>")]
    assert right(sample, reply(moved))
    assert not right(sample, reply(dropped))


def test_a_segmentation_has_to_point_at_its_object() -> None:
    sample = build("segment_mark", "val", 0)
    head = sample.turns[-1].text.split("<Region>")[0]
    assert not right(sample, reply(f"{head}<Region>(0.00, 0.00, 0.01, 0.01)</Region>"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("red star: (0.10, 0.10, 0.20, 0.20), so the answer is blue.", "blue"),
        ("nothing like that is there, so the answer is no.", "no"),
        ("red star: (0.10, 0.10, 0.20, 0.20), so the answer is top left", "top left"),
        ("blue", ""),
    ],
)
def test_the_answer_stands_behind_what_was_located(text: str, answer: str) -> None:
    assert located_answer(text) == answer


def test_a_task_without_a_judge_is_an_error() -> None:
    with pytest.raises(ValueError, match="task: got 'dance'"):
        right(Sample(id="x", task="dance", turns=build("vqa", "val", 0).turns), reply("x"))
