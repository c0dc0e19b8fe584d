"""Edits of clips: exactly what they say is changed, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.shapes.clip_facts import core, footage, reach, reaches
from train.data.shapes import clip_oracle
from train.data.shapes.clip_edits import EDITS, ClipEdit, changed_pixels, edit
from train.data.shapes.clip_requests import required
from train.data.shapes.render_clip import Footage, film
from train.data.shapes.scene import HELD_OUT


def edits(kind: str, count: int, split: str = "train") -> list[tuple[Footage, ClipEdit]]:
    found = []
    for i in range(3 * count):
        before = footage(split, i)
        made = edit(before, np.random.default_rng([3, i]), split, kind)
        if made is not None:
            found.append((before, made))
    assert len(found) >= count
    return found[:count]


def unchanged(before: Footage, after: Footage, mine: np.ndarray) -> bool:
    """Whether pixels differ only in `mine` [T, H, W]."""
    return not (changed_pixels(before.frames, after.frames) & ~mine).any()


def alike(before: Footage, after: Footage, where: np.ndarray) -> bool:
    """Whether pixels are equal, but for the last bit of a blend that ends in the same colour."""
    return bool(np.abs(before.frames[where].astype(int) - after.frames[where]).max(initial=0) <= 1)


def test_recolouring_changes_the_colour_of_one_object_alone() -> None:
    for before, made in edits("recolor", 20):
        assert made.target is not None and made.target == made.result
        after = film(made.clip)
        old, new = before.clip.movers[made.target].looks, made.clip.movers[made.target].looks
        assert new.color == made.words["color"] != old.color
        assert (new.shape, new.size, new.texture, new.x, new.y) == (old.shape, old.size, old.texture, old.x, old.y)
        assert np.array_equal(before.masks, after.masks)
        assert unchanged(before, after, reach(before, made.target))
        shown = before.masks[made.target]
        assert changed_pixels(before.frames, after.frames)[shown].mean() > 0.95


def test_removing_shows_what_was_behind() -> None:
    for before, made in edits("remove", 20):
        assert made.target is not None and made.result is None
        after = film(made.clip)
        assert unchanged(before, after, reach(before, made.target))
        others = [k for k in range(len(before.masks)) if k != made.target]
        assert alike(before, after, core(before.masks[others]).any(axis=0) & ~reach(before, made.target))
        kept = np.delete(before.amodal, made.target, axis=0)
        assert np.array_equal(after.amodal, kept)


def test_replacing_puts_another_object_on_the_same_path() -> None:
    for before, made in edits("replace", 20):
        assert made.target is not None and made.target == made.result
        after = film(made.clip)
        old, new = before.clip.movers[made.target], made.clip.movers[made.target]
        assert new.path == old.path and new.looks.size == old.looks.size and new.looks.shape != old.looks.shape
        assert made.words["new"].endswith(f"{new.looks.color} {new.looks.shape}")
        assert unchanged(before, after, reach(before, made.target) | reach(after, made.target))


def test_another_background_leaves_every_object_as_it_was() -> None:
    for before, made in edits("background", 20):
        after = film(made.clip)
        assert made.clip.background.color == made.words["color"] != before.clip.background.color
        assert made.clip.movers == before.clip.movers
        inner = core(before.masks).any(axis=0)
        assert alike(before, after, inner)
        assert changed_pixels(before.frames, after.frames)[~reaches(before)].all()


def test_adding_brings_one_object_and_hides_nobody_for_long() -> None:
    for before, made in edits("add", 20):
        assert made.target is None and made.result is not None
        after = film(made.clip)
        new = made.clip.movers[made.result]
        assert f"{new.looks.size} {new.looks.color} {new.looks.shape}" in made.words["new"]
        assert ("moves" in made.words["new"]) == new.path.moves
        assert made.clip.movers[: made.result] == before.clip.movers
        assert unchanged(before, after, reach(after, made.result))


def test_no_edit_of_training_brings_a_held_out_pair() -> None:
    for kind in EDITS:
        for _, made in edits(kind, 30):
            assert not any((m.looks.color, m.looks.shape) in HELD_OUT for m in made.clip.movers)


def test_the_oracle_reads_edited_clips_as_they_should_be() -> None:
    right = 0
    pairs = [pair for kind in EDITS for pair in edits(kind, 3, "test")]
    for _, made in pairs:
        reading = clip_oracle.read_clip(film(made.clip).frames)
        wanted = [{k: v for k, v in required(m).items() if k != "event"} for m in made.clip.movers]
        right += clip_oracle.matches(reading, wanted) and reading.background == made.clip.background.color
    assert right >= len(pairs) - 1


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="kind is 'blur'"):
        edit(footage("train", 0), np.random.default_rng(0), "train", "blur")
