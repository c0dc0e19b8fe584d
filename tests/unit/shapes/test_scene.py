"""Scenes: determinism, splits, held-out pairs, and the exactness of masks and boxes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from train.data.shapes import captions, geometry
from train.data.shapes.render import amodal_masks, boxes, masks, paint_background, render
from train.data.shapes.scene import (
    HELD_OUT,
    MIN_VISIBLE,
    SPLITS,
    Background,
    Scene,
    position_word,
    scene_at,
)

COUNT = 150


def scenes(split: str = "train", count: int = COUNT) -> list[Scene]:
    return [scene_at(split, i) for i in range(count)]


def test_a_scene_and_its_picture_depend_on_split_index_and_seed_alone() -> None:
    assert scene_at("train", 7, seed=3) == scene_at("train", 7, seed=3)
    assert np.array_equal(render(scene_at("val", 5)), render(scene_at("val", 5)))


def test_no_two_splits_seeds_or_indices_share_a_scene() -> None:
    drawn = [scene_at(split, i, seed) for split in SPLITS for i in range(40) for seed in (0, 1)]
    assert len({repr(scene) for scene in drawn}) == len(drawn)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_held_out_pairs_never_occur_in_plain_splits(split: str) -> None:
    pairs = {(o.color, o.shape) for scene in scenes(split, 400) for o in scene.objects}
    assert not pairs & set(HELD_OUT)
    assert len(pairs) == 40


def test_every_compositional_scene_shows_a_held_out_pair() -> None:
    drawn = scenes("compositional")
    assert all(any((o.color, o.shape) in HELD_OUT for o in s.objects) for s in drawn)
    assert {(o.color, o.shape) for s in drawn for o in s.objects} >= set(HELD_OUT)


def test_an_unknown_split_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="split is 'dev'"):
        scene_at("dev", 0)


def test_visible_masks_are_disjoint_and_large_enough() -> None:
    for scene in scenes():
        visible, whole = masks(scene), amodal_masks(scene)
        assert visible.sum(axis=0).max() <= 1
        shares = visible.sum(axis=(1, 2)) / whole.sum(axis=(1, 2))
        assert shares.min() >= MIN_VISIBLE


def test_pixels_outside_all_objects_show_the_background_unchanged() -> None:
    for scene in scenes(count=40):
        empty = paint_background(scene.background, scene.width, scene.height)
        expected = np.clip(np.rint(empty), 0, 255).astype(np.uint8)
        same = (render(scene) == expected).all(axis=2)
        near = np.any([_within(o, 0.5, scene) for o in scene.objects], axis=0)
        assert same[~near].all()


def test_a_mask_is_where_coverage_is_at_least_one_half() -> None:
    scene = dataclasses.replace(scene_at("train", 0), background=Background(color="black"))
    for obj in scene.objects:
        alone = dataclasses.replace(obj, saturation=0.0, value=1.0, texture="solid")
        canvas = Background(color="black", shade=-26.0)
        picture = render(Scene(background=canvas, objects=(alone,)))[:, :, 0].astype(float)
        share = picture / 255.0
        mask = amodal_masks(Scene(background=canvas, objects=(alone,)))[0]
        assert (share[mask] >= 0.49).all()
        assert (share[~mask] <= 0.51).all()


def test_boxes_are_the_extent_of_the_visible_masks() -> None:
    for scene in scenes(count=40):
        for (x1, y1, x2, y2), mask in zip(boxes(scene), masks(scene), strict=True):
            rows, columns = np.nonzero(mask)
            expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.allclose(np.array([x1, y1, x2, y2]) * 64, expected)


def test_an_object_outside_the_picture_has_an_empty_mask_and_box() -> None:
    scene = scene_at("train", 0)
    gone = tuple(dataclasses.replace(o, x=-40.0) for o in scene.objects)
    outside = dataclasses.replace(scene, objects=gone)
    assert not masks(outside).any()
    assert not boxes(outside).any()


def test_position_words_follow_a_three_by_three_grid() -> None:
    obj = scene_at("train", 0).objects[0]
    place = {(5.0, 5.0): "top left", (32.0, 5.0): "top", (32.0, 32.0): "center"}
    place |= {(60.0, 32.0): "right", (5.0, 60.0): "bottom left"}
    for (x, y), word in place.items():
        assert position_word(dataclasses.replace(obj, x=x, y=y)) == word


def test_full_descriptions_tell_all_objects_of_a_scene_apart() -> None:
    for scene in scenes():
        names = [captions.full_description(scene, i) for i in range(len(scene.objects))]
        assert len(set(names)) == len(names)


def _within(obj: object, reach: float, scene: Scene) -> np.ndarray:
    out = np.zeros((scene.height, scene.width), dtype=bool)
    part = geometry.window(obj, scene.width, scene.height)  # type: ignore[arg-type]
    u, v = geometry.local_coordinates(obj, part)  # type: ignore[arg-type]
    out[part] = geometry.signed_distance(obj, u, v) < reach  # type: ignore[arg-type]
    return out
