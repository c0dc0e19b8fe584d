"""What a batch holds: prompts, media in reading order, and what invocations mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from train.data.collate import MODULES, Collator, GenerationBatch
from train.data.layout import messages
from train.data.sample import Sample
from train.data.shapes import clip_dialogues, dialogues
from train.data.shapes.tasks import TASKS, build
from vitron.encoders.image import ImageEncoder
from vitron.presets import preset
from vitron.prompt import IGNORE
from vitron.specialists.objectives import SegmentationBatch
from vitron.tokens import REGION_TOKENS
from vitron.types import Module
from vitron.weights import ASSETS, Weights

CONFIG = preset("tiny")
TOKENIZER = Weights(ASSETS / "tiny").tokenizer()


@pytest.fixture(scope="module")
def collate() -> Collator:
    return Collator(CONFIG, TOKENIZER, taught=2)


def mixed() -> list[Sample]:
    """Pictures, none, a clip with a mark, two pictures, a clip without, and a packed conversation."""
    return [
        build("segment_mark", "train", 3),
        build("chat", "train", 1),
        build("track_mark", "train", 2),
        build("segment_reference", "train", 4),
        build("video_caption", "train", 5),
        dialogues.packed("train", 2, 4, tasks=("region_vqa", "vqa")),
    ]


def test_pictures_come_before_the_frames_of_clips_and_regions_know_theirs(collate: Collator) -> None:
    samples = mixed()
    made = collate(samples)
    frames = [len(samples[2].clips[0]), len(samples[4].clips[0])]
    assert made.lengths == tuple(frames)
    assert made.pixels is not None and made.owners is not None
    assert len(made.pixels) == 1 + 2 + 1 + sum(frames)
    first_frame = 4
    on_frame = first_frame + int(samples[2].target["mark_frame"])
    packed = [3] * len(samples[5].marks)
    assert made.owners.tolist() == [0, on_frame, 1, *packed]
    with torch.device("meta"):
        encoder = ImageEncoder(CONFIG.clip)
    shown = samples[2].clips[0][samples[2].target["mark_frame"]]
    assert torch.equal(made.pixels[on_frame], encoder.preprocess([shown])[0])
    assert torch.equal(made.pixels[2], encoder.preprocess([samples[3].images[1]])[0])


def test_regions_cover_what_was_drawn(collate: Collator) -> None:
    samples = mixed()
    made = collate(samples)
    assert made.weights is not None and made.geometry is not None
    drawn = [mask for sample in samples for _, mask in sample.marks]
    assert len(made.weights) == len(made.geometry) == len(drawn)
    for weights, mask in zip(made.weights, drawn, strict=True):
        assert weights.sum().item() == pytest.approx(1)
        column = np.argwhere(mask)[:, 1].mean() / mask.shape[1]
        cells = weights.view(CONFIG.clip.grid, CONFIG.clip.grid).sum(0)
        centre = (cells * (torch.arange(len(cells)) + 0.5)).sum().item() / len(cells)
        assert centre == pytest.approx(column, abs=0.1)


def test_every_placeholder_has_its_embedding(collate: Collator) -> None:
    samples = mixed()
    made = collate(samples)
    counts = {token: int((made.ids == TOKENIZER.convert_tokens_to_ids(token)).sum()) for token in
              ("<image>", "<video>", "<region>")}  # fmt: skip
    assert counts["<image>"] == 4 * CONFIG.num_image_tokens
    assert counts["<video>"] == sum(CONFIG.num_image_tokens + n * CONFIG.video.tokens_per_frame for n in made.lengths)
    assert counts["<region>"] == REGION_TOKENS * sum(len(sample.marks) for sample in samples)


def test_only_the_assistants_words_are_learned(collate: Collator) -> None:
    samples = mixed()
    made = collate(samples)
    for ids, labels, sample in zip(made.ids, made.labels, samples, strict=True):
        kept = labels != IGNORE
        assert torch.equal(labels[kept], ids[kept])
        learned = TOKENIZER.decode(labels[kept], skip_special_tokens=True)
        said = " ".join(turn.text for turn in sample.turns if turn.role == "assistant")
        assert learned.replace(" ", "") == said.replace(" ", "")


def test_a_conversation_keeps_its_media_with_the_turns_that_name_them() -> None:
    sample = clip_dialogues.packed("train", 5, 4)
    turns = messages(sample)
    assert [len(turn.clips) for turn in turns] == [1] + [0] * (len(turns) - 1)
    assert turns[0].clips[0].frames is sample.clips[0]
    sample = dialogues.packed("train", 5, 4, tasks=("region_vqa",))
    turns = messages(sample)
    assert sum(len(turn.images) for turn in turns) == 1 and turns[0].images[0] is sample.images[0]
    assert [len(turn.regions) for turn in turns[::2]] == [1] * (len(turns) // 2)


def test_invocations_are_grouped_by_specialist_among_the_rows_that_invoke(collate: Collator) -> None:
    names = ("generate", "chat", "segment_text", "video_edit", "generate_like", "segment_mark", "generate")
    samples = [build(name, "train", index) for index, name in enumerate(names)]
    made = collate(samples)
    invoking = [sample for sample in samples if sample.turns[-1].invokes]
    assert [MODULES[i] for i in made.modules] == [
        Module.IMAGE_GENERATION, Module.IMAGE_SEGMENTATION, Module.VIDEO_EDITING, Module.IMAGE_GENERATION,
        Module.IMAGE_SEGMENTATION, Module.IMAGE_GENERATION,
    ]  # fmt: skip
    assert made.calls["gligen"].rows.tolist() == [0, 3, 5]
    assert made.calls["seem"].rows.tolist() == [1, 4]
    for calls in made.calls.values():
        assert list(calls.texts) == [invoking[row].condition_text for row in calls.rows]


def test_specialists_are_taught_what_they_get_when_they_serve(collate: Collator) -> None:
    names = ("generate", "segment_mark", "generate_like", "segment_text", "generate")
    samples = [build(name, "train", index + 20) for index, name in enumerate(names)]
    made = collate(samples)
    drawn, segmented = made.calls["gligen"].taught, made.calls["seem"].taught
    assert isinstance(drawn, GenerationBatch) and isinstance(segmented, SegmentationBatch)
    assert len(drawn.instructions) == 2  # the third is one too many
    assert drawn.instructions[1] in samples[2].turns[-1].text and not drawn.layouts[1]
    assert [region.label for region in drawn.layouts[0]]
    shown = (drawn.pixels[0].permute(1, 2, 0) * 127.5 + 127.5).round().numpy().astype(np.uint8)
    assert np.array_equal(shown, samples[0].target["image"])
    assert segmented.spatial is not None and segmented.spatial.rows.tolist() == [0]
    assert np.array_equal(segmented.targets.masks[1, 0].numpy() > 0.5, samples[3].target["mask"])
    assert Collator(CONFIG, TOKENIZER)(samples).calls["gligen"].taught is None


def test_what_has_no_target_teaches_no_specialist_but_counts_among_the_invocations(collate: Collator) -> None:
    samples = [build("segment_text", "train", index) for index in range(3)]
    samples[0] = replace(samples[0], target={})  # as in conversations of one's own
    calls = collate(samples).calls["seem"]
    assert calls.rows.tolist() == [1, 2, 0]
    assert list(calls.texts) == [samples[row].condition_text for row in (1, 2, 0)]
    assert isinstance(calls.taught, SegmentationBatch)
    for row in (0, 1):
        assert np.array_equal(calls.taught.targets.masks[row, 0].numpy() > 0.5, samples[row + 1].target["mask"])
    assert collate([samples[0]]).calls["seem"].taught is None


@pytest.mark.parametrize("task", TASKS)
def test_every_task_of_the_world_can_be_collated(collate: Collator, task: str) -> None:
    samples = [build(task, "train", index) for index in range(2)]
    made = collate(samples)
    assert len(made.modules) == sum(sample.turns[-1].invokes for sample in samples)
    assert sum(len(calls.texts) for calls in made.calls.values()) == len(made.modules)


def test_a_batch_moves_with_all_that_the_llm_reads(collate: Collator) -> None:
    made = collate(mixed())
    moved = made.to(torch.device("meta"))
    for name in ("ids", "labels", "pixels", "owners", "weights", "geometry", "modules"):
        assert getattr(moved, name).device.type == "meta"
    assert moved.calls is made.calls and moved.lengths == made.lengths
