"""What SEEM's pre-training is taught is true of its pictures."""

from __future__ import annotations

import numpy as np
import torch

from tests.unit.specialists.seem_fixtures import small_seem
from train.data.shapes.captions import full_description
from train.recipes.seem import Segmentation, batch_losses, prompts_of
from train.recipes.seem_data import collate, group_of, targets_of
from train.recipes.seem_prompts import picture_at, with_references

PICTURES = [picture_at("train", i, 6, 2) for i in range(30)]


def test_every_prompt_says_something_and_means_objects_of_its_picture() -> None:
    for picture in PICTURES:
        for prompt in (*picture.worded, *picture.drawn):
            assert prompt.meant
            assert prompt.meant <= set(range(len(picture.scene.objects)))
            assert prompt.text or prompt.signal or prompt.drawn is not None


def test_prompts_of_a_picture_never_change() -> None:
    again = picture_at("train", 3, 6, 2)
    assert [p.text for p in again.worded] == [p.text for p in PICTURES[3].worded]
    assert all(np.array_equal(a.drawn, b.drawn) for a, b in zip(again.drawn, PICTURES[3].drawn, strict=True))


def test_a_full_description_as_signal_means_the_object_it_describes() -> None:
    checked = 0
    for picture in PICTURES:
        full = {full_description(picture.scene, i): i for i in range(len(picture.scene.objects))}
        for prompt in picture.worded:
            if prompt.signal in full:
                assert prompt.meant == {full[prompt.signal]}
                checked += 1
    assert checked > 20


def test_vague_text_comes_only_with_something_that_settles_it() -> None:
    for picture in PICTURES:
        for prompt in picture.worded:
            if prompt.text in {"this one", "it", "that one"}:
                assert prompt.signal or prompt.drawn is not None


def test_a_reference_shows_an_object_of_the_same_name() -> None:
    mixed = with_references(PICTURES, np.random.default_rng(0))
    replaced = [(p, p.drawn[-1]) for p in mixed if p.drawn[-1].reference is not None]
    assert replaced
    for picture, prompt in replaced:
        assert prompt.reference is not None and prompt.drawn is not None
        shown = PICTURES[prompt.reference]
        overlap = [np.sum(mask & prompt.drawn) for mask in shown.masks]
        model = shown.scene.objects[int(np.argmax(overlap))]
        for i in prompt.meant:
            found = picture.scene.objects[i]
            assert (found.color, found.shape) == (model.color, model.shape)


def test_targets_mark_the_meant_objects_of_each_row() -> None:
    targets = targets_of(PICTURES[:2], [PICTURES[0].drawn, PICTURES[1].drawn])
    assert targets.masks.shape == (4, 4, 64, 64)
    assert targets.every_object.tolist() == [True, False, True, False]
    for row, prompt in enumerate((*PICTURES[0].drawn, *PICTURES[1].drawn)):
        assert set(targets.meant[row].nonzero().flatten().tolist()) == set(prompt.meant)


def test_signals_are_cut_off_from_the_encoder_and_shaken_only_in_training() -> None:
    network = small_seem().network
    group = group_of(PICTURES[:4], [picture.worded for picture in PICTURES[:4]], 6)
    still = prompts_of(network, group).signal
    assert still is not None and not still.requires_grad
    torch.testing.assert_close(prompts_of(network, group).signal, still)
    shaken = prompts_of(network.train(), group).signal
    assert shaken is not None and not torch.allclose(shaken, still)


def test_drawings_are_marks_on_the_picture_they_were_made_on() -> None:
    mixed = with_references(PICTURES[:8], np.random.default_rng(0))
    group = group_of(mixed, [picture.drawn for picture in mixed], 6)
    flat = [prompt for picture in mixed for prompt in picture.drawn]
    own = [row for row, prompt in enumerate(flat) if prompt.reference is None]
    assert group.spatial is not None and group.spatial.rows.tolist() == own
    assert group.spatial.pictures.tolist() == [row // 2 for row in own]
    assert group.visual is not None
    assert group.visual.pictures.tolist() == [p.reference for p in flat if p.reference is not None]


def test_every_object_is_called_by_its_name_and_by_its_full_description() -> None:
    short, full = collate(PICTURES[:3], 6).names
    for i, picture in enumerate(PICTURES[:3]):
        row = i * len(picture.worded)
        for k, obj in enumerate(picture.scene.objects):
            assert short.texts[short.labels[row, k]] == f"{obj.color} {obj.shape}"
            assert full.texts[full.labels[row, k]] == full_description(picture.scene, k)


def test_losses_of_a_batch_are_finite_and_teach_the_language_encoder() -> None:
    network = small_seem().network.train()
    batch = collate(with_references(PICTURES[:3], np.random.default_rng(0)), 6)
    worded, drawn = batch_losses(network, batch)
    (worded.total + drawn.total).backward()
    assert all(bool(part.isfinite()) for part in (*worded, *drawn))
    gradient = network.lang_encoder.lang_proj.grad
    assert gradient is not None and float(gradient.abs().sum()) > 0


def test_the_parts_of_the_loss_add_up_to_that_of_all_prompts() -> None:
    network = small_seem().network.eval()
    batch = collate(PICTURES[:3], 6)
    worded, drawn = batch_losses(network, batch)
    parts = Segmentation({"seem": network})(batch)
    assert set(parts) == {"bce", "dice", "match", "name"}
    torch.testing.assert_close(sum(parts.values()), (6 * worded.total + 2 * drawn.total) / 8)
