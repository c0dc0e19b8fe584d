"""The language recipe: what a batch holds, what learns, and what is exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.helpers import byte_tokenizer, small_config
from train.data.shapes.dialogues import build, packed
from train.export import export, revision
from train.loop import Loop, LoopConfig
from train.recipes.alignment import Target
from train.recipes.language import Assistant, Batch, Collator, losses, messages, samples_at
from vitron.encoders.image import ImageEncoder
from vitron.llm.core import LanguageModel
from vitron.prompt import IGNORE, PromptWriter
from vitron.specialists.output_projection import OutputProjection
from vitron.weights import Weights


@pytest.fixture
def assistant(monkeypatch: pytest.MonkeyPatch) -> Assistant:
    monkeypatch.setattr("train.recipes.language.order_coordinates", lambda *_: None)
    torch.manual_seed(0)
    config = small_config()
    return Assistant(config, byte_tokenizer(), ImageEncoder(config.clip))


@pytest.fixture
def collate(assistant: Assistant) -> Collator:
    writer = PromptWriter(tokenizer=byte_tokenizer(), num_image_tokens=16, num_signal_tokens=8)
    return Collator(writer, assistant._image[0], assistant.region)


def batch(collate: Collator) -> Batch:
    return collate(
        [
            build("segment_reference", "train", 3),
            build("chat", "train", 1),
            packed("train", 2, 3),
            build("generate", "train", 0),
        ]
    )


def test_pictures_and_marks_are_laid_out_in_reading_order(collate: Collator) -> None:
    made = batch(collate)
    assert made.pixels is not None and made.owners is not None
    assert len(made.pixels) == 3  # two of the reference, none of the chat, one of the packed
    marks = [2 + index for index, _ in made.samples[2].marks]
    assert made.owners.tolist() == [made.samples[0].marks[0][0], *marks]


def test_only_the_assistants_words_are_learned(collate: Collator) -> None:
    made = batch(collate)
    for ids, labels in zip(made.ids, made.labels, strict=True):
        kept = labels != IGNORE
        assert torch.equal(labels[kept], ids[kept])
        assert 0 < kept.sum() < len(ids)


def test_a_conversation_keeps_its_media_with_the_turns_that_name_them() -> None:
    sample = packed("train", 5, 4)
    turns = messages(sample)
    assert sum(len(turn.images) for turn in turns) == 1
    assert sum(len(turn.regions) for turn in turns) == len(sample.marks)
    assert turns[0].images[0] is sample.images[0]


def states(texts: list[str]) -> tuple[Tensor, Tensor]:
    values = torch.tensor([[float(len(text) % 7)] * 128 for text in texts])
    return values[:, None].expand(-1, 48, -1), torch.ones(len(texts), 48, dtype=torch.bool)


def test_every_trained_part_learns_and_the_vision_tower_does_not(assistant: Assistant, collate: Collator) -> None:
    config = small_config()
    projection = OutputProjection(config.signal.width, 128, config.gligen.projection)
    target = Target(projection, states, ("generate",))
    parts = losses(assistant, {"gligen": target}, {"all": batch(collate)})
    assert set(parts) == {"all", "all_gligen"}
    torch.stack(list(parts.values())).sum().backward()
    missing = [name for name, p in [*assistant.named_parameters(), *target.named_parameters()] if p.grad is None]
    assert not missing
    assert all(p.grad is None for p in assistant._image[0].parameters())


def test_a_distance_to_states_that_are_met_is_zero() -> None:
    from vitron.losses import condition_distance

    states_, mask = states(["a", "bb"])
    assert condition_distance(states_, states_, mask).item() == 0
    mask[0] = False
    assert condition_distance(states_ + 1, states_, mask).item() == pytest.approx(np.sqrt(128), rel=1e-4)


def test_steps_draw_different_samples_and_repeat_exactly() -> None:
    mix = ("chat", "generate")
    first, again = (samples_at(4, rows=2, single=3, turns=2, mix=mix) for _ in range(2))
    other = samples_at(5, rows=2, single=3, turns=2, mix=mix)
    texts = [[s.turns[0].text for s in made["chat"] + made["request"]] for made in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]


def test_exported_weights_load_into_the_parts_that_serve(assistant: Assistant, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "aligned"
    Loop({"assistant": assistant}, LoopConfig(out=run, steps=1, batch=1)).save()
    (run / "log.jsonl").write_text('{"step": 1}\n')
    export(tmp_path / "runs", tmp_path / "weights")
    fresh = LanguageModel(small_config(), byte_tokenizer())
    Weights(tmp_path / "weights").load("language_model", fresh)
    mine, theirs = assistant.language.state_dict(), fresh.state_dict()
    assert all(torch.allclose(mine[name], theirs[name], atol=2e-3) for name in mine)
    assert Weights(tmp_path / "weights").revision == revision(tmp_path / "weights")


def test_weights_that_do_not_fit_or_are_missing_are_refused(assistant: Assistant, tmp_path: Path) -> None:
    weights = Weights(tmp_path)
    with pytest.raises(FileNotFoundError, match="language_model"):
        weights.load("language_model", assistant.language)
    weights.save("language_model", assistant.region)
    with pytest.raises(ValueError, match="lacks"):
        weights.load("language_model", assistant.language)
