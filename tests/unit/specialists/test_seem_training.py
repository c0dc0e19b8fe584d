"""What SEEM's pre-training is taught is true of its pictures."""

from __future__ import annotations

import numpy as np
import torch

from tests.unit.specialists.seem_fixtures import small_seem
from train.data.shapes.captions import full_description
from train.recipes.seem import batch_losses, prompts_of, targets_of
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
    prompts = [p for picture in PICTURES[:4] for p in picture.worded]
    still = prompts_of(network, prompts, 4).signal
    assert still is not None and not still.requires_grad
    torch.testing.assert_close(prompts_of(network, prompts, 4).signal, still)
    shaken = prompts_of(network.train(), prompts, 4).signal
    assert shaken is not None and not torch.allclose(shaken, still)


def test_losses_of_a_batch_are_finite_and_teach_the_language_encoder() -> None:
    network = small_seem().network.train()
    losses = batch_losses(network, with_references(PICTURES[:3], np.random.default_rng(0)))
    losses.total.backward()
    assert all(bool(part.isfinite()) for part in losses)
    gradient = network.lang_encoder.lang_proj.grad
    assert gradient is not None and float(gradient.abs().sum()) > 0
