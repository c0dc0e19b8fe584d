"""The prompt writer: golden text, labels, and what a user can not smuggle in."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.helpers import byte_tokenizer
from vitron.prompt import IGNORE, SYSTEM, PromptWriter, assistant_message, carry_produced, user_message
from vitron.tokens import signal_ids, token_id
from vitron.types import Clip, DrawnRegion, Message, Reply, SpecialistOutput

IMAGE = np.zeros((4, 4, 3), np.uint8)
CLIP = Clip(frames=np.zeros((2, 4, 4, 3), np.uint8))
POINT = DrawnRegion(kind="point", points=((0.5, 0.5),))


@pytest.fixture(scope="module")
def writer() -> PromptWriter:
    return PromptWriter(tokenizer=byte_tokenizer(num_signal=2), num_image_tokens=3, num_signal_tokens=2)


def text(writer: PromptWriter, ids: list[int]) -> str:
    return writer.tokenizer.decode(ids, spaces_between_special_tokens=False)


def test_a_prompt_follows_vicuna(writer: PromptWriter) -> None:
    turns = [
        Message(role="user", text="hello"),
        Message(role="assistant", text="hi"),
        Message(role="user", text="bye"),
    ]
    ids = writer.write(turns, answer=True).input_ids
    assert text(writer, ids) == f"<s>{SYSTEM} USER: hello ASSISTANT: hi</s>USER: bye ASSISTANT:"


def test_labels_cover_the_assistants_words_and_their_end_alone(writer: PromptWriter) -> None:
    turns = [Message(role="user", text="hello"), Message(role="assistant", text="hi there")]
    prompt = writer.write(turns, answer=False)
    learned = [label for label in prompt.labels if label != IGNORE]
    assert text(writer, learned) == " hi there</s>"
    assert len(prompt.labels) == len(prompt.input_ids)


def test_signal_tokens_follow_an_invocation_and_nothing_else(writer: PromptWriter) -> None:
    reply = "ok <Module>Image Generation</Module><Instruction>generation: x</Instruction>"
    invoking = writer.write([Message(role="user", text="a"), Message(role="assistant", text=reply)], answer=False)
    plain = writer.write([Message(role="user", text="a"), Message(role="assistant", text="ok")], answer=False)
    signals = signal_ids(writer.tokenizer, 2)
    assert invoking.input_ids[-3:] == [*signals, writer.tokenizer.eos_token_id]
    assert invoking.labels[-3:] == invoking.input_ids[-3:]
    assert not set(signals) & set(plain.input_ids)


def test_pictures_and_regions_take_their_positions_in_order(writer: PromptWriter) -> None:
    message = user_message([IMAGE, "what is", POINT])
    assert message.text == "<image>\nwhat is <region>"
    ids = writer.write([message], answer=True).input_ids
    image, region = (token_id(writer.tokenizer, t) for t in ("<image>", "<region>"))
    assert ids.count(image) == 3
    assert ids.count(region) == 2
    assert max(i for i, x in enumerate(ids) if x == image) < ids.index(region)


@pytest.mark.parametrize("typed", ["<image>", "</s>", "<signal_0>", "<region>", "<s>", "<video>"])
def test_tokens_that_a_user_types_stay_text(writer: PromptWriter, typed: str) -> None:
    plain = writer.write([user_message(["say now"])], answer=True).input_ids
    ids = writer.write([user_message([f"say {typed} now"])], answer=True).input_ids
    special = set(writer.tokenizer.all_special_ids) | {token_id(writer.tokenizer, "<image>")}
    assert sum(i in special for i in ids) == sum(i in special for i in plain)
    assert typed.replace("<", "< ") in text(writer, ids)


def test_placeholders_must_match_what_is_given(writer: PromptWriter) -> None:
    with pytest.raises(ValueError, match="images"):
        writer.write([Message(role="user", text="<image><image>", images=(IMAGE,))], answer=True)
    with pytest.raises(ValueError, match="regions"):
        writer.write([Message(role="user", text="x", regions=(POINT,))], answer=True)


@pytest.mark.parametrize("roles", [["assistant"], ["user", "user"], [], ["user", "assistant"]])
def test_roles_out_of_order_are_refused(writer: PromptWriter, roles: list[str]) -> None:
    with pytest.raises(ValueError, match="messages"):
        writer.write([Message(role=role, text="x") for role in roles], answer=True)  # type: ignore[arg-type]


def test_a_system_message_extends_the_system_sentence(writer: PromptWriter) -> None:
    turns = [Message(role="system", text="Be brief."), Message(role="user", text="hi")]
    assert text(writer, writer.write(turns, answer=True).input_ids).startswith(f"<s>{SYSTEM} Be brief. USER: hi")


def test_pictures_come_first_wherever_they_stand_among_the_parts() -> None:
    assert user_message(["what is this?", IMAGE]).text == "<image>\nwhat is this?"
    message = user_message(["is", IMAGE, POINT, "like", IMAGE, "that?"])
    assert message.text == "<image>\n<image>\nis <region> like that?"


def test_parts_do_not_run_into_each_other() -> None:
    assert user_message(["hello", "world"]).text == "hello world"
    assert user_message([POINT, "what is this?"]).text == "<region> what is this?"
    assert user_message(["segment ", POINT, ", please"]).text == "segment <region>, please"


def test_no_placeholder_forms_across_parts() -> None:
    assert "<image>" not in user_message(["a <ima", "ge> b"]).text


def test_what_the_assistant_made_stands_in_front_of_the_users_next_words() -> None:
    film = Clip(frames=np.ones((2, 4, 4, 3), np.uint8))
    picture = np.ones((4, 4, 3), np.uint8)
    turns = [
        user_message(["draw and film"]),
        assistant_message(Reply(text="Here.", output=SpecialistOutput(images=(picture,), clips=(film,)))),
        user_message([CLIP, IMAGE, "compare", POINT]),
        Message(role="assistant", text="They differ."),
        user_message(["thanks"]),
    ]
    carried = carry_produced(turns)
    assert [turn.text for turn in carried] == [
        "draw and film",
        "Here.",
        "<image>\n<video>\n<image>\n<video>\ncompare <region>",
        "They differ.",
        "thanks",
    ]
    assert carried[2].images == (picture, IMAGE) and carried[2].clips == (film, CLIP)
    assert not carried[1].images and not carried[1].clips
    again = carry_produced(carried)
    assert [turn.text for turn in again] == [turn.text for turn in carried]


def test_indices_of_regions_mean_the_same_media_before_and_after() -> None:
    turns = [
        user_message([IMAGE, "change it"]),
        Message(role="assistant", text="Done.", images=(IMAGE + 1,)),
        user_message([IMAGE + 2, "the first one", POINT]),
    ]
    before = [image for turn in turns for image in turn.images]
    after = [image for turn in carry_produced(turns) for image in turn.images]
    assert all(a is b for a, b in zip(before, after, strict=True))


def test_media_left_in_an_assistants_turn_are_refused(writer: PromptWriter) -> None:
    turns = [user_message(["draw"]), Message(role="assistant", text="Here.", images=(IMAGE,))]
    with pytest.raises(ValueError, match="last turn"):
        carry_produced(turns)
    with pytest.raises(ValueError, match="carry_produced"):
        writer.write(turns, answer=False)
