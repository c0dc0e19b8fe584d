"""The assistant in one process, with random weights: how its parts fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.helpers import byte_tokenizer, small_config
from vitron.encoders.image import ImageEncoder
from vitron.encoders.projector import Projector
from vitron.encoders.region import make_region_encoder
from vitron.language import Detokenizer, make_language
from vitron.llm.core import LanguageModel, order_coordinates
from vitron.llm.engine import GenerationResult, SamplingParams
from vitron.model import Vitron
from vitron.prompt import assistant_message, user_message
from vitron.routing import RoutingError, route
from vitron.specialists.base import SpecialistRequest
from vitron.types import Clip, DrawnRegion, Grounding, Invocation, Message, Module, SpecialistOutput

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 255, (40, 90, 3), dtype=np.uint8)
SQUARE = RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)
BOX = DrawnRegion(kind="box", box=(0.1, 0.2, 0.4, 0.6))


@pytest.fixture(scope="module")
def vitron() -> Vitron:
    torch.manual_seed(0)
    config, tokenizer = small_config(), byte_tokenizer()
    return Vitron(
        config=config,
        image_encoder=ImageEncoder(config.clip).eval(),
        region_encoder=make_region_encoder(config).eval(),
        language=make_language(config, tokenizer, LanguageModel(config, tokenizer)),
    )


def test_pictures_of_any_shape_give_the_same_number_of_features(vitron: Vitron) -> None:
    tall = np.zeros((300, 2, 3), np.uint8)
    features = vitron.image_encoder.encode([WIDE, SQUARE, tall])
    assert features.shape == (3, 64, 32)


def test_encoding_together_equals_encoding_alone(vitron: Vitron) -> None:
    together = vitron.image_encoder.encode([WIDE, SQUARE])
    alone = torch.cat([vitron.image_encoder.encode([image]) for image in (WIDE, SQUARE)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_merging_patches_keeps_neighbours_together() -> None:
    projector = Projector(feature_width=1, grid=4, merge=2, width=4)
    with torch.no_grad():
        projector.linear.weight.copy_(torch.eye(4))
        projector.linear.bias.zero_()
    grid = torch.arange(16.0).view(1, 16, 1)
    assert projector(grid)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_a_region_smaller_than_a_patch_still_has_content(vitron: Vitron) -> None:
    mask = np.zeros((900, 700), bool)
    mask[450, 699] = True
    features = torch.randn(64, 32)
    weights, _ = vitron.region_encoder.prepare([mask])
    assert weights.sum().item() == pytest.approx(1)
    assert weights.argmax().item() == 4 * 8 + 7
    assert vitron.region_encoder.encode(features, [mask]).shape == (1, 2, 48)


def test_pooling_follows_rows_and_columns_of_the_mask(vitron: Vitron) -> None:
    mask = np.zeros((64, 64), bool)
    mask[:8, 24:32] = True  # first row of patches, fourth column
    weights, geometry = vitron.region_encoder.prepare([mask])
    assert weights[0].nonzero().tolist() == [[3]]
    assert geometry[0, 0, 6:8].tolist() == [1, 1]


def test_an_empty_region_is_refused(vitron: Vitron) -> None:
    with pytest.raises(ValueError, match="empty"):
        vitron.region_encoder.prepare([np.zeros((8, 8), bool)])


def test_answering_together_equals_answering_alone(vitron: Vitron) -> None:
    conversations = [
        [user_message(["hello"])],
        [user_message([WIDE, "what is this?"])],
        [user_message([SQUARE, "and this", BOX])],
        [user_message([WIDE, SQUARE, "compare"]), Message(role="assistant", text="ok"), user_message(["go on"])],
    ]
    params = SamplingParams(max_tokens=12)
    together = vitron.reply_batch(conversations, params=params)
    alone = [vitron.reply(conversation, params=params) for conversation in conversations]
    assert [reply.raw_text for reply in together] == [reply.raw_text for reply in alone]
    assert [reply.prompt_tokens for reply in together] == [reply.prompt_tokens for reply in alone]


def test_the_engine_answers_as_transformers_generate_does(vitron: Vitron) -> None:
    messages = [user_message([WIDE, "describe", replace(BOX, box=(0.0, 0.0, 0.5, 1.0))])]
    request = vitron.language.start(messages, *vitron.encode(messages), SamplingParams(max_tokens=20))
    expected = vitron.language.model.llama.generate(
        inputs_embeds=request.inputs_embeds[None], max_new_tokens=20, do_sample=False
    )[0].tolist()
    assert vitron.language.engine.generate([request])[0].token_ids == expected


def test_the_picture_and_the_region_reach_the_llm(vitron: Vitron) -> None:
    def embeds(image: np.ndarray, box: tuple[float, float, float, float]) -> torch.Tensor:
        messages = [user_message([image, "what is", replace(BOX, box=box)])]
        return vitron.language.start(messages, *vitron.encode(messages), SamplingParams()).inputs_embeds

    base = embeds(WIDE, (0.1, 0.2, 0.4, 0.6))
    assert torch.equal(base, embeds(WIDE, (0.1, 0.2, 0.4, 0.6)))
    assert not torch.equal(base, embeds(SQUARE, (0.1, 0.2, 0.4, 0.6)))
    assert not torch.equal(base, embeds(WIDE, (0.5, 0.2, 0.9, 0.6)))


def test_a_region_on_a_picture_that_is_not_there_is_refused(vitron: Vitron) -> None:
    with pytest.raises(ValueError, match=r"region\.image"):
        vitron.reply([user_message([SQUARE, "this", replace(BOX, image=3)])])


def result(vitron: Vitron, text: str, signals: int) -> GenerationResult:
    tokenizer = vitron.language.tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False) + vitron.language.model.signal_ids[:signals]
    dtype = vitron.language.model.embedding.weight.dtype
    hidden = torch.randn(signals, vitron.config.language.width, dtype=dtype)
    return GenerationResult([*ids, tokenizer.eos_token_id], "stop", hidden, 5, 0)


INVOKING = " Sure. <Module>Image Segmentation</Module><Instruction>segmentation: red circle</Instruction>"


def test_an_invocation_carries_its_signal_embedding(vitron: Vitron) -> None:
    answer = vitron.language.answer(result(vitron, INVOKING, 8))
    assert answer.text == "Sure."
    assert answer.invocation == Invocation(module=Module.IMAGE_SEGMENTATION, instruction="segmentation: red circle")
    assert answer.signal is not None
    assert answer.signal.shape == (8, vitron.config.signal.width)


def test_an_invocation_without_all_signal_tokens_is_an_error_that_keeps_the_text(vitron: Vitron) -> None:
    answer = vitron.language.answer(result(vitron, INVOKING, 5))
    assert (answer.text, answer.invocation) == ("Sure.", None)
    assert answer.error is not None
    assert "signal tokens" in answer.error


def test_text_streams_without_breaking_characters(vitron: Vitron) -> None:
    text = "naïve ⟨x⟩ 日本"
    detokenizer = Detokenizer(vitron.language)
    pieces = [detokenizer.feed(i) for i in vitron.language.tokenizer.encode(text, add_special_tokens=False)]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)


def test_coordinates_start_out_in_order() -> None:
    from tokenizers import AddedToken

    torch.manual_seed(0)
    config, tokenizer = small_config(), byte_tokenizer()
    words = [f"{i / 100:.2f}" for i in range(101)]
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in words])
    model = LanguageModel(config, tokenizer)
    order_coordinates(model, tokenizer, words)
    rows = torch.nn.functional.normalize(
        model.embedding.weight[[tokenizer.convert_tokens_to_ids(w) for w in words]], dim=-1
    )
    similar = rows @ rows.T
    assert similar[50, 51] > similar[50, 55] > similar[50, 80]


SEGMENT = Invocation(
    module=Module.IMAGE_SEGMENTATION,
    instruction="segmentation: red circle",
    regions=(Grounding(box=(0.1, 0.1, 0.2, 0.2)),),
)
SIGNAL = torch.ones(8, 4)


def test_the_mode_decides_which_half_of_the_message_goes_through() -> None:
    messages = [user_message([SQUARE, "segment", BOX])]
    _, hybrid = route(SEGMENT, messages, SIGNAL, "hybrid")
    _, text = route(SEGMENT, messages, SIGNAL, "text")
    _, signal = route(SEGMENT, messages, SIGNAL, "signal")
    assert (hybrid.instruction, hybrid.regions, hybrid.drawn) == ("red circle", SEGMENT.regions, (BOX,))
    assert hybrid.signal is SIGNAL
    assert (text.instruction, text.signal) == ("red circle", None)
    assert (signal.instruction, signal.regions, signal.drawn) == ("", (), ())
    assert signal.signal is SIGNAL


def test_a_mark_on_the_first_of_two_pictures_makes_it_the_reference() -> None:
    messages = [user_message([WIDE, SQUARE, "the same as", replace(BOX, image=0)])]
    _, request = route(SEGMENT, messages, SIGNAL, "hybrid")
    assert request.image is SQUARE
    assert request.reference is WIDE
    assert request.reference_drawn == BOX
    assert request.drawn == ()


def test_a_later_turn_may_draw_on_an_earlier_picture() -> None:
    messages = [
        user_message([WIDE, "hello"]),
        Message(role="assistant", text="hi"),
        user_message(["segment", replace(BOX, image=0)]),
    ]
    _, request = route(SEGMENT, messages, SIGNAL, "hybrid")
    assert request.image is WIDE
    assert request.drawn == (BOX,)


def test_what_lacks_its_picture_or_clip_is_an_error() -> None:
    with pytest.raises(RoutingError, match="picture"):
        route(SEGMENT, [user_message(["segment the clock"])], SIGNAL, "hybrid")
    video = Invocation(module=Module.VIDEO_EDITING, instruction="edit: x")
    with pytest.raises(RoutingError, match="video"):
        route(video, [user_message([SQUARE, "x"])], SIGNAL, "hybrid")


def test_an_animation_goes_to_the_image_animator_with_the_last_picture() -> None:
    asked = Invocation(module=Module.VIDEO_GENERATION, instruction="animation: the clock falls")
    name, request = route(asked, [user_message([SQUARE, "let it fall"])], SIGNAL, "hybrid")
    assert (name, request.instruction, request.image) == ("i2vgen", "the clock falls", SQUARE)
    asked = Invocation(module=Module.VIDEO_GENERATION, instruction="generation: a clock falls")
    name, request = route(asked, [user_message([SQUARE, "a clock falls"])], SIGNAL, "hybrid")
    assert (name, request.image) == ("zeroscope", None)


def test_a_video_task_works_on_the_clip_that_is_drawn_on() -> None:
    clips = [Clip(frames=np.zeros((3, 4, 4, 3), np.uint8)) for _ in range(2)]
    box = DrawnRegion(kind="box", box=(0.0, 0.0, 0.5, 0.5), clip=0, frame=2)
    asked = Invocation(module=Module.VIDEO_SEGMENTATION, instruction="segmentation: object")
    name, request = route(asked, [user_message([*clips, "track", box])], SIGNAL, "hybrid")
    assert (name, request.clip, request.drawn) == ("seem_video", clips[0], (box,))
    _, request = route(asked, [user_message([*clips, "track the dog"])], SIGNAL, "hybrid")
    assert request.clip is clips[1]


def test_spans_of_the_frames_seen_become_frame_numbers_of_the_video() -> None:
    clips = [Clip(frames=np.zeros((40, 4, 4, 3), np.uint8)) for _ in range(2)]
    spans = (Grounding(box=(0, 0, 1, 1), span=(1, 2)), Grounding(box=(0, 0, 1, 1), span=(2, 9)), Grounding(box=BOX.box))
    asked = Invocation(module=Module.VIDEO_EDITING, instruction="edit: make it blue", regions=spans)
    messages = [user_message([*clips, "make it blue"])]
    _, request = route(asked, messages, SIGNAL, "hybrid", seen_frames=[(0, 1, 2), (0, 13, 39)])
    assert [region.span for region in request.regions] == [(13, 39), (39, 39), None]
    _, request = route(asked, messages, SIGNAL, "hybrid")
    assert request.regions == spans


def test_a_picture_that_was_made_is_worked_on_next(vitron: Vitron, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[SpecialistRequest] = []

    class Painter:
        module = Module.IMAGE_SEGMENTATION

        def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
            seen.extend(requests)
            return [SpecialistOutput(images=(WIDE,)) for _ in requests]

    painting = replace(vitron, specialists={"seem": Painter()})
    monkeypatch.setattr(Vitron, "generate", lambda *_: [result(vitron, INVOKING, 8)])
    turns = [user_message([SQUARE, "change it"])]
    turns += [assistant_message(painting.reply(turns)), user_message(["now this", replace(BOX, image=1)])]
    painting.reply(turns)
    assert seen[0].image is SQUARE and seen[1].image is WIDE and seen[1].drawn == (replace(BOX, image=1),)


def test_what_is_not_to_be_carried_out_is_only_written(vitron: Vitron, monkeypatch: pytest.MonkeyPatch) -> None:
    class Painter:
        module = Module.IMAGE_SEGMENTATION

        def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
            raise AssertionError("nothing was to be carried out")

    monkeypatch.setattr(Vitron, "generate", lambda *_: [result(vitron, INVOKING, 8)])
    painting = replace(vitron, specialists={"seem": Painter()})
    reply = painting.reply_batch([[user_message([SQUARE, "change it"])]], carry_out=False)[0]
    assert reply.invocation is not None
    assert reply.output is None and reply.error is None


def test_a_made_picture_reaches_the_llm_as_one_of_the_users_would(vitron: Vitron) -> None:
    made = [
        user_message(["draw"]),
        Message(role="assistant", text="Here.", images=(WIDE,)),
        user_message(["what is it?"]),
    ]
    sent = [user_message(["draw"]), Message(role="assistant", text="Here."), user_message([WIDE, "what is it?"])]
    params = SamplingParams(max_tokens=8)
    assert vitron.reply(made, params=params) == vitron.reply(sent, params=params)


def test_parts_in_bfloat16_answer_too() -> None:
    torch.manual_seed(0)
    config, tokenizer = small_config(), byte_tokenizer()
    half = Vitron(
        config=config,
        image_encoder=ImageEncoder(config.clip).eval().bfloat16(),
        region_encoder=make_region_encoder(config).eval().bfloat16(),
        language=make_language(config, tokenizer, LanguageModel(config, tokenizer).bfloat16()),
    )
    reply = half.reply([user_message([WIDE, "what is", BOX])], params=SamplingParams(max_tokens=4))
    assert reply.completion_tokens == 4
    assert half.language.answer(result(half, INVOKING, 8)).signal is not None


def test_a_specialist_that_is_not_loaded_is_an_error_in_the_reply(
    vitron: Vitron, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Vitron, "generate", lambda *_: [result(vitron, INVOKING, 8)])
    reply = vitron.reply([user_message([SQUARE, "segment the red circle"])])
    assert reply.text == "Sure."
    assert reply.error is not None
    assert "not loaded" in reply.error
