"""The codec of structured replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitron.invocation import (
    InvocationError,
    ReplyParser,
    format_invocation,
    format_reply,
    parse_boxes,
    parse_groundings,
    parse_reply,
    strip_verb,
    visible_text,
)
from vitron.types import Grounding, Invocation, Module

WORDS = st.text(alphabet="abcdefghij klmnop:,.'", min_size=1, max_size=30).map(str.strip).filter(bool)
CENTS = st.integers(0, 100)


@st.composite
def groundings(draw: st.DrawFn) -> Grounding:
    x1, x2 = sorted((draw(CENTS), draw(CENTS)))
    y1, y2 = sorted((draw(CENTS), draw(CENTS)))
    span = tuple(sorted((draw(st.integers(0, 99)), draw(st.integers(0, 99))))) if draw(st.booleans()) else None
    label = draw(st.sampled_from(["", "red circle", "the dog's ball", "sign"]))
    return Grounding(box=(x1 / 100, y1 / 100, x2 / 100, y2 / 100), label=label, span=span)


INVOCATIONS = st.builds(
    Invocation,
    module=st.sampled_from(list(Module)),
    instruction=WORDS,
    regions=st.lists(groundings(), max_size=3).map(tuple),
)


@given(WORDS, INVOCATIONS)
def test_parsing_gives_back_what_was_formatted(text: str, invocation: Invocation) -> None:
    parsed = parse_reply(format_reply(text, invocation))
    assert parsed.text == text
    assert parsed.invocation == invocation


@given(WORDS, INVOCATIONS, st.data())
def test_the_incremental_parser_shows_the_text_and_no_tag_whatever_the_pieces(
    text: str, invocation: Invocation, data: st.DataObject
) -> None:
    raw = f" {format_reply(text, invocation)}<signal_0><signal_1>"
    parser, shown = ReplyParser(), ""
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        shown += parser.feed(raw[:size])
        raw = raw[size:]
        assert text.startswith(shown)
    assert shown + parser.finish() == text
    assert parser.parse().invocation == invocation


def test_a_less_than_sign_that_opens_no_tag_is_shown() -> None:
    parser = ReplyParser()
    shown = parser.feed("two <") + parser.feed(" three and 1 <") + parser.finish()
    assert shown == "two < three and 1 <"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<Module>Image Painting</Module><Instruction>x: y</Instruction>", "unknown module"),
        ("<Module>Image Segmentation</Module>", "lacks"),
        ("<Instruction>x</Instruction>", "lacks"),
        ("<Module>Image Segmentation</Module><Instruction></Instruction>", "empty"),
        ("<Module>Image Segmentation</Module><Instruction>x", "unclosed"),
        ("<Module>Image Segmentation</Module><Instruction>x</Instruction><Region>(0.2, 0.3)</Region>", "region"),
        (
            "<Module>Image Segmentation</Module><Instruction>x</Instruction><Region>(0.9, 0.3, 0.1, 0.5)</Region>",
            "region",
        ),
        (
            "<Module>Image Segmentation</Module><Instruction>x</Instruction><Region>(0.1, 0.3, 1.1, 0.5)</Region>",
            "region",
        ),
        ("<Module>Image Segmentation</Module>" * 2 + "<Instruction>x</Instruction>", "repeats"),
    ],
)
def test_an_invocation_that_cannot_be_carried_out_is_an_error_that_keeps_the_text(text: str, reason: str) -> None:
    with pytest.raises(InvocationError, match=reason) as caught:
        parse_reply(f"Sure. {text}")
    assert caught.value.text.startswith("Sure.")


def test_the_papers_spelling_with_white_space_is_read() -> None:
    text = (
        "Sure!\n<Module> Video Segmentation </Module>\n<Instruction> segmentation: clock </Instruction>\n"
        "<Region> (0.23, 0.35, 0.46, 0.61 | 2, 7) </Region>"
    )
    parsed = parse_reply(text)
    assert parsed.text == "Sure!"
    assert parsed.invocation == Invocation(
        module=Module.VIDEO_SEGMENTATION,
        instruction="segmentation: clock",
        regions=(Grounding(box=(0.23, 0.35, 0.46, 0.61), span=(2, 7)),),
    )


def test_grounded_captions_are_read_with_their_labels() -> None:
    found = parse_groundings("red circle: (0.12, 0.30, 0.40, 0.61), blue star: (0.5, 0.5, 0.7, 0.7)")
    assert [g.label for g in found] == ["red circle", "blue star"]


def test_malformed_boxes_in_free_text_are_left_out() -> None:
    assert parse_boxes("at (0.1, 0.2, 0.3, 0.4) and (0.9, 0.2, 0.3, 0.4) and (1, 2)") == [(0.1, 0.2, 0.3, 0.4)]


def test_only_the_first_colon_ends_the_verb() -> None:
    assert strip_verb("replace: sign saying: hello") == "sign saying: hello"
    assert strip_verb("red circle") == "red circle"


@pytest.mark.parametrize("instruction", ["", "  ", "a</Instruction>", "<Module>"])
def test_instructions_that_would_break_the_format_are_refused(instruction: str) -> None:
    with pytest.raises(ValueError, match="instruction"):
        format_invocation(Invocation(module=Module.IMAGE_EDITING, instruction=instruction))


def test_a_reply_cut_inside_a_tag_shows_no_piece_of_it() -> None:
    parser = ReplyParser()
    assert parser.feed("Sure. <Modu") + parser.finish() == "Sure."
    assert parse_reply("Sure. <Modu").text == "Sure."


def test_a_less_than_sign_before_a_broken_invocation_is_kept() -> None:
    assert visible_text("x < 0.5. <Module>bad") == "x < 0.5."


def test_a_span_names_the_same_frames_from_either_end() -> None:
    forward, backward = (parse_groundings(f"star: (0.1, 0.2, 0.3, 0.4 | {span})")[0] for span in ("2, 5", "5, 2"))
    assert forward == backward and forward.span == (2, 5)
