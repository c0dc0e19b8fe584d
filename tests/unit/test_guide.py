"""Guided decoding: right replies pass as they are, and what was begun can only become an invocation."""

from __future__ import annotations

import numpy as np
import pytest

from train.data.collate import Collator
from train.data.shapes import tasks
from train.recipes.language_recipe import CLIP_INVOKING, INVOKING
from vitron.guide import MOST_WORDS, InvocationGuide, possible_modules
from vitron.invocation import InvocationError, parse_reply
from vitron.presets import preset
from vitron.prompt import IGNORE, user_message
from vitron.tokens import signal_ids
from vitron.types import Clip, Module
from vitron.weights import ASSETS, Weights

TOKENIZER = Weights(ASSETS / "tiny").tokenizer()
SIGNAL = signal_ids(TOKENIZER, preset("tiny").signal.num_tokens)
FREE = (*INVOKING, *CLIP_INVOKING, "follow_up", "session", "unfamiliar", "vqa", "caption", "video_grounding", "chat")


@pytest.fixture(scope="module")
def guide() -> InvocationGuide:
    return InvocationGuide(TOKENIZER, SIGNAL, strict=True)


def allowed(guide: InvocationGuide, state: str) -> np.ndarray:
    mask = np.ones(len(TOKENIZER), dtype=bool)
    choices = guide.choices(state)
    if choices.only is not None:
        mask[:] = False
        mask[choices.only] = True
    if choices.never is not None:
        mask[choices.never] = False
    return mask


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("task", FREE)
def test_every_right_reply_may_be_written(task: str, strict: bool) -> None:
    guide, collate = InvocationGuide(TOKENIZER, SIGNAL, strict=strict), Collator(preset("tiny"), TOKENIZER)
    for index in range(6):
        labels = collate([tasks.build(task, "train", index, 3)]).labels[0]
        state = guide.begin
        for token in labels[labels != IGNORE].tolist():
            assert allowed(guide, state)[token], (state, TOKENIZER.decode([token]))
            state = guide.after(state, token)


def drawn_by_lot(guide: InvocationGuide, rng: np.random.Generator, ends: bool) -> list[int]:
    """Draw a reply from what is allowed; `ends`: also where no invocation has begun."""
    close = [i for i in range(len(TOKENIZER)) if "</" in TOKENIZER.decode([i]) or TOKENIZER.decode([i]) == " <"]
    state, ids = guide.begin, list[int]()
    while not ids or ids[-1] != TOKENIZER.eos_token_id:
        mask = allowed(guide, state)
        mask[TOKENIZER.eos_token_id] &= bool(state) or ends
        likely = mask.astype(float)
        likely[close] *= 200.0  # or fields would be endless
        likely[SIGNAL] *= 1e6
        ids.append(int(rng.choice(len(mask), p=likely / likely.sum())))
        state = guide.after(state, ids[-1])
    return ids


def test_what_is_drawn_by_lot_becomes_an_invocation_once_it_is_begun(guide: InvocationGuide) -> None:
    rng = np.random.default_rng(0)
    modules = set()
    for _ in range(60):
        ids = drawn_by_lot(guide, rng, ends=False)
        assert [i for i in ids if i in SIGNAL] == SIGNAL
        text = TOKENIZER.decode(ids[:-1], skip_special_tokens=False, spaces_between_special_tokens=False)
        try:
            invocation = parse_reply(text).invocation
        except InvocationError as error:
            assert "malformed region" in str(error), text  # words drawn by lot are no boxes
            continue
        assert invocation is not None and invocation.instruction
        modules.add(invocation.module)
    assert len(modules) >= 3


@pytest.mark.parametrize("strict", [True, False])
def test_a_required_invocation_comes_in_any_case(strict: bool) -> None:
    wanted = Module.VIDEO_EDITING
    guide = InvocationGuide(TOKENIZER, SIGNAL, strict=strict, modules=(wanted,), required=True)
    rng = np.random.default_rng(1)
    head = f"<Module>{wanted.value}</Module><Instruction>"
    for _ in range(12):
        ids = drawn_by_lot(guide, rng, ends=True)
        assert [i for i in ids if i in SIGNAL] == SIGNAL
        text = TOKENIZER.decode(ids, skip_special_tokens=False, spaces_between_special_tokens=False)
        assert text.count(head) == 1
    state, word = guide.begin, TOKENIZER(" red", add_special_tokens=False)["input_ids"][0]
    for _ in range(MOST_WORDS):
        assert allowed(guide, state)[word] and not allowed(guide, state)[TOKENIZER.eos_token_id]
        state = guide.after(state, word)
    first = np.flatnonzero(allowed(guide, state))
    assert len(first) and all("<" in TOKENIZER.decode([i]) for i in first)
    for index in range(6):  # and a right reply may be written as ever
        labels = Collator(preset("tiny"), TOKENIZER)([tasks.build("video_edit", "train", index, 3)]).labels[0]
        state = guide.begin
        for token in labels[labels != IGNORE].tolist():
            assert allowed(guide, state)[token], (state, TOKENIZER.decode([token]))
            state = guide.after(state, token)


def test_free_text_holds_no_other_tags_where_nothing_else_has_any(guide: InvocationGuide) -> None:
    loose = InvocationGuide(TOKENIZER, SIGNAL, strict=False)
    closing = TOKENIZER("</Module>", add_special_tokens=False)["input_ids"][0]
    assert not allowed(guide, "")[closing] and allowed(loose, "")[closing]
    assert not any(allowed(each, "")[SIGNAL].any() for each in (guide, loose))
    assert loose.after(loose.begin, closing) == ""
    opened = loose.after(loose.begin, TOKENIZER(" <Module", add_special_tokens=False)["input_ids"][0])
    assert opened == "<" and allowed(loose, opened).sum() == len(TOKENIZER) - len(SIGNAL)  # this may become anything
    other = TOKENIZER(" red", add_special_tokens=False)["input_ids"][0]
    assert loose.after(opened, other) == ""  # and became a tag of another kind, or none


def test_a_few_states_say_all(guide: InvocationGuide) -> None:
    text = "Here. <Module>Image Editing</Module><Instruction>edit: make the ring blue</Instruction><Region>"
    states, state = set(), guide.begin
    for token in TOKENIZER(text + "blue ring: (0.10, 0.20, 0.30, 0.40)" * 9, add_special_tokens=False)["input_ids"]:
        state = guide.after(state, token)
        states.add(state)
    assert state == "<Module>Image Editing</Module><Instruction>~</Instruction><Region>~" and len(states) < 30


def test_there_are_no_more_regions_than_a_reply_has_room_for() -> None:
    head = "<Module>Video Editing</Module><Instruction>edit: make the background blue</Instruction><Region>"
    region = " small orange star: (0.50, 0.27, 0.69, 0.44 | 0, 15)"
    for max_tokens in (128, 256):
        guide = InvocationGuide(TOKENIZER, SIGNAL, strict=True, max_tokens=max_tokens)
        state, ids = guide.begin, TOKENIZER(head, add_special_tokens=False)["input_ids"]
        for token in ids:
            state = guide.after(state, token)
        parting = [i for i in range(len(TOKENIZER)) if ";" in TOKENIZER.decode([i])]
        closing = TOKENIZER("</Region>", add_special_tokens=False)["input_ids"][0]
        while True:
            for token in TOKENIZER(region, add_special_tokens=False)["input_ids"]:
                state = guide.after(state, token)
                ids.append(token)
            mask = allowed(guide, state)
            assert mask[closing]
            if not mask[parting].any():
                break
            ids.append(parting[int(mask[parting].argmax())])
            state = guide.after(state, ids[-1])
        whole = [*ids, *TOKENIZER("</Region>", add_special_tokens=False)["input_ids"], *SIGNAL]
        assert max_tokens / 3 < len(whole) < max_tokens


def test_signal_tokens_come_in_order_and_then_the_end(guide: InvocationGuide) -> None:
    state = "<Module>Image Segmentation</Module><Instruction>~</Instruction>"
    for wanted in (*SIGNAL, TOKENIZER.eos_token_id):
        assert allowed(guide, state)[wanted]
        if "#" in state:
            assert allowed(guide, state).sum() == 1
        state = guide.after(state, wanted)


@pytest.mark.parametrize("module", list(Module))
def test_an_edit_says_where_it_is(module: Module) -> None:
    state = f"<Module>{module.value}</Module><Instruction>~</Instruction>"
    edits = module in (Module.IMAGE_EDITING, Module.VIDEO_EDITING)
    for strict in (True, False):
        mask = allowed(InvocationGuide(TOKENIZER, SIGNAL, strict=strict), state)
        assert mask[SIGNAL[0]] == (not (strict and edits))
        opening = [TOKENIZER.decode([token]).strip() for token in np.flatnonzero(mask) if token not in SIGNAL]
        assert opening and all("<Region>".startswith(text) for text in opening)
    located = f"{state}<Region>~</Region>"
    assert allowed(InvocationGuide(TOKENIZER, SIGNAL, strict=True), located)[SIGNAL[0]]


def test_where_there_is_no_clip_nothing_is_done_to_clips() -> None:
    picture, film = np.zeros((4, 4, 3), np.uint8), Clip(frames=np.zeros((2, 4, 4, 3), np.uint8))
    only_pictures = possible_modules([user_message([picture, "track it"])])
    assert set(Module) - set(only_pictures) == {Module.VIDEO_SEGMENTATION, Module.VIDEO_EDITING}
    only_clips = possible_modules([user_message([film, "segment it"])])
    assert set(Module) - set(only_clips) == {Module.IMAGE_SEGMENTATION, Module.IMAGE_EDITING}
    both = possible_modules([user_message([picture, "look"]), user_message([film, "segment it"])])
    assert both == possible_modules([user_message(["segment it"])]) == tuple(Module)
    guide = InvocationGuide(TOKENIZER, SIGNAL, strict=True, modules=only_clips)
    state = guide.begin
    for token in TOKENIZER(" <Module>Video", add_special_tokens=False)["input_ids"]:
        assert allowed(guide, state)[token]
        state = guide.after(state, token)
    image = TOKENIZER(" <Module>Image", add_special_tokens=False)["input_ids"][-1]
    assert allowed(guide, "<Module>")[image]  # "Image Generation" is left
    assert not any("Editing" in TOKENIZER.decode([i]) for i in np.flatnonzero(allowed(guide, "<Module>Image")))


def test_presets_say_whether_their_model_has_other_uses_for_tags() -> None:
    assert preset("tiny").language.pretrained is None and preset("vitron-7b").language.pretrained is not None
