"""The oracle reads scenes back from pixels, also from imperfect ones."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from train.data.shapes.oracle import Reading, matches, read, relation_holds
from train.data.shapes.render import masks, paint_background, render
from train.data.shapes.scene import Background, Scene, scene_at

CLEAN, BLURRED = 60, 15


@functools.cache
def reading(index: int) -> Reading:
    return read(render(scene_at("test", index)))


def required(scene: Scene) -> list[dict[str, str]]:
    return [{"shape": o.shape, "color": o.color, "size": o.size} for o in scene.objects]


def test_clean_test_pictures_are_read_right() -> None:
    right = [matches(reading(i), required(scene_at("test", i))) for i in range(CLEAN)]
    assert np.mean(right) >= 0.95
    backgrounds = [reading(i).background == scene_at("test", i).background.color for i in range(60)]
    assert all(backgrounds)


def test_pictures_blurred_and_noisy_like_reconstructions_are_read_right() -> None:
    rng = np.random.default_rng(0)
    right = []
    for i in range(BLURRED):
        scene = scene_at("test", i)
        soft = Image.fromarray(render(scene)).filter(ImageFilter.GaussianBlur(0.7))
        noisy = np.asarray(soft, dtype=np.float64) + rng.normal(0.0, 6.0, (64, 64, 3))
        found = read(np.clip(noisy, 0, 255).astype(np.uint8))
        right.append(matches(found, required(scene)))
    assert np.mean(right) >= 0.85


def test_masks_of_objects_read_overlap_the_true_ones() -> None:
    overlaps = []
    for i in range(20):
        for mask in masks(scene_at("test", i)):
            found = [o.mask for o in reading(i).objects]
            overlaps.append(max((mask & m).sum() / (mask | m).sum() for m in found))
    assert np.mean(overlaps) > 0.9


def test_an_empty_picture_holds_no_object() -> None:
    canvas = paint_background(Background(color="brown", texture="noise", seed=1), 64, 64)
    found = read(np.clip(canvas, 0, 255).astype(np.uint8))
    assert found.objects == () and found.background == "brown"


def test_equal_pictures_are_read_once_and_nobody_changes_what_was_read() -> None:
    image = render(scene_at("test", 3))
    found = read(image)
    assert read(image.copy()) is found and read(image[::-1]) is not found
    with pytest.raises(ValueError, match="read-only"):
        found.objects[0].mask[0, 0] = True


def test_matching_is_by_multiset_and_exact_unless_told() -> None:
    index = next(i for i in range(CLEAN) if len(reading(i).objects) == 3)
    found = reading(index)
    wanted = [{"shape": o.shape, "color": o.color} for o in found.objects]
    assert matches(found, wanted)
    assert not matches(found, wanted[:2])
    assert matches(found, wanted[:2], exact=False)
    assert not matches(found, [wanted[0]] * 4)


def test_relations_follow_the_centres() -> None:
    index = next(i for i in range(CLEAN) if len(reading(i).objects) == 2)
    first, second = sorted(reading(index).objects, key=lambda o: o.center[0])
    a, b = ({"shape": o.shape, "color": o.color, "size": o.size} for o in (first, second))
    assert relation_holds(reading(index), a, "left of", b)
    assert a == b or not relation_holds(reading(index), a, "right of", b)
    with pytest.raises(ValueError, match="relation is 'near'"):
        relation_holds(reading(index), a, "near", b)
