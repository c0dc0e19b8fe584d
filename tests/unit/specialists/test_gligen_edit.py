"""The image editor with random weights: what it may touch, what reaches it, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.diffusion import models
from tests.unit.specialists import edit_fixtures as small
from vitron.specialists.base import Cancelled
from vitron.specialists.gligen_edit import GligenEdit
from vitron.specialists.gligen_edit_pixels import fill, ground_of, grow, inner_weight, main_color, tint
from vitron.specialists.gligen_edit_request import prompt, read_edit
from vitron.types import DrawnRegion, Grounding, Image

AT = (0.125, 0.125, 0.375, 0.375)
FREE = (0.6, 0.1, 0.85, 0.35)
RED = Grounding(box=AT, label="red star")
GONE = Grounding(box=AT, label="background")
REQUESTS: dict[str, dict[str, object]] = {
    "replace": {"text": "replace the square with a star", "regions": (RED,)},
    "remove": {"text": "remove the square", "regions": (GONE,)},
    "recolor": {"text": "make the square blue", "regions": (RED,)},
    "add": {"text": "add a red star", "regions": (Grounding(box=FREE, label="red star"),)},
    "move": {"text": "move it to the right", "regions": (GONE, Grounding(box=FREE, label="red star"))},
}


@pytest.fixture(scope="module")
def editor() -> GligenEdit:
    return small.editor()


def edit(editor: GligenEdit, text: str = "remove the square", image: Image | None = None, **fields: object) -> Image:
    source = small.picture() if image is None else image
    return editor.run(models.request(text, image=source, **fields)).images[0]


def touched(before: Image, after: Image) -> np.ndarray:
    return (before != after).any(axis=2)


@pytest.mark.parametrize("kind", REQUESTS)
def test_pixels_outside_of_the_edit_stay_bit_for_bit(editor: GligenEdit, kind: str) -> None:
    source = small.picture()
    changed = touched(source, edit(editor, **REQUESTS[kind]))
    allowed = np.zeros((32, 32), bool)
    for region in REQUESTS[kind]["regions"]:
        x1, y1, x2, y2 = (round(value * 32) for value in region.box)
        allowed[max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3] = True
    assert changed.any()
    assert not (changed & ~allowed).any()


def test_a_new_background_leaves_the_objects_that_stay(editor: GligenEdit) -> None:
    whole = Grounding(box=(0.0, 0.0, 1.0, 1.0), label="rocky background")
    stays = (Grounding(box=AT, label="red square"), Grounding(box=(0.62, 0.62, 0.88, 0.88), label="blue square"))
    source = small.picture()
    changed = touched(source, edit(editor, "replace the background with rocks", regions=(whole, *stays)))
    kept = small.object_mask(source) | small.object_mask(source, small.OTHER)
    assert not (changed & grow(kept, -1)).any()
    assert changed[~grow(kept, 3)].mean() > 0.9


def test_another_colour_keeps_shape_and_plainness(editor: GligenEdit) -> None:
    source = small.picture()
    mask = small.object_mask(source)
    made = edit(editor, "make it blue", regions=(RED,))
    assert np.array_equal(touched(source, made), mask)
    assert len(np.unique(made[grow(mask, -1)], axis=0)) == 1


def test_one_seed_gives_one_picture_and_another_seed_another(editor: GligenEdit) -> None:
    assert np.array_equal(edit(editor, seed=3), edit(editor, seed=3))
    assert not np.array_equal(edit(editor, seed=3), edit(editor, seed=4))


@pytest.mark.parametrize("size", [(32, 32), (45, 80), (200, 120), (24, 24)])
def test_a_picture_of_any_size_comes_back_in_its_own(editor: GligenEdit, size: tuple[int, int]) -> None:
    source = small.picture(*size)
    made = edit(editor, image=source, regions=(GONE,))
    assert made.shape == (*size, 3)
    far = slice(size[0] // 2, None)
    assert np.array_equal(made[far], source[far])


@pytest.mark.parametrize(
    "region",
    [
        DrawnRegion(kind="box", box=AT),
        DrawnRegion(kind="point", points=((0.25, 0.25),)),
        DrawnRegion(kind="scribble", points=((0.18, 0.2), (0.3, 0.3))),
        DrawnRegion(kind="polygon", points=((0.2, 0.2), (0.3, 0.2), (0.3, 0.3))),
        DrawnRegion(kind="mask", mask=small.object_mask(small.picture())),
    ],
    ids=lambda region: region.kind,
)
def test_every_kind_of_drawing_says_where(editor: GligenEdit, region: DrawnRegion) -> None:
    source = small.picture()
    changed = touched(source, edit(editor, drawn=(region,)))
    assert changed[small.object_mask(source)].mean() > 0.5
    assert not changed[16:].any()


def test_what_is_drawn_outranks_the_box_it_lies_on() -> None:
    mark = DrawnRegion(kind="point", points=((0.2, 0.2),))
    assert prompt(AT, [mark]) is mark
    assert prompt(FREE, [mark]).box == FREE


def test_an_exact_mask_is_the_area(editor: GligenEdit) -> None:
    area = np.zeros((32, 32), bool)
    area[20:28, 4:12] = True
    drawn = (DrawnRegion(kind="mask", mask=area),)
    made = edit(editor, "a red star", drawn=drawn, options={"steps": 2, "exact_mask": 1})
    assert np.array_equal(touched(small.picture(), made), area)


def test_with_a_signal_alone_the_whole_picture_is_painted(editor: GligenEdit) -> None:
    signal = torch.randn(3, models.SIGNAL_WIDTH)
    assert touched(small.picture(), edit(editor, "", signal=signal)).mean() > 0.9


def test_several_pictures_differ_and_progress_counts_all_their_steps(editor: GligenEdit) -> None:
    seen: list[tuple[int, int]] = []
    request = models.request("replace it", image=small.picture(), regions=(RED,), options={"steps": 3, "num_images": 2})
    images = editor.run(request, on_progress=lambda done, total: seen.append((done, total))).images
    assert not np.array_equal(*images)
    assert seen == [(step, 6) for step in range(1, 7)]


def test_a_weaker_start_takes_fewer_steps(editor: GligenEdit) -> None:
    seen: list[tuple[int, int]] = []
    request = models.request("replace it", image=small.picture(), regions=(RED,), options={"steps": 4, "strength": 0.5})
    editor.run(request, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_cancelled_edit_stops_at_a_step(editor: GligenEdit) -> None:
    seen: list[int] = []
    request = models.request("replace it", image=small.picture(), regions=(RED,), options={"steps": 50})
    with pytest.raises(Cancelled):
        editor.run(request, on_progress=lambda done, total: seen.append(done), cancelled=lambda: len(seen) >= 2)
    assert len(seen) < 10


def test_a_batch_equals_the_requests_one_by_one(editor: GligenEdit) -> None:
    requests = [
        models.request(str(fields["text"]), image=small.picture(), regions=fields["regions"])
        for fields in REQUESTS.values()
    ]
    together = [output.images[0] for output in editor.run_batch(requests)]
    for request, made in zip(requests, together, strict=True):
        assert np.abs(made.astype(int) - editor.run(request).images[0].astype(int)).max() <= 1


@pytest.mark.parametrize("in_channels", [4, 9])
def test_generators_with_and_without_inpainting_channels_edit(in_channels: int) -> None:
    made = edit(small.editor(in_channels), **REQUESTS["replace"])
    assert touched(small.picture(), made).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": None}, "image: got None"),
        ({"image": np.zeros((4, 4), np.uint8)}, "image: got uint8"),
        ({"image": small.picture(), "options": {"steps": 0}}, "options.steps"),
        ({"image": small.picture(), "options": {"strength": 2.0}}, "options.strength"),
        ({"image": small.picture(), "options": {"exact_mask": 1}}, "drawn: got nothing"),
        ({"image": small.picture(), "options": {"sharpness": 1}}, "options: got 'sharpness'"),
        ({"image": small.picture(), "seed": -1}, "seed: got -1"),
        ({"image": small.picture(), "text": " "}, "instruction: got ''"),
    ],
)
def test_wrong_requests_are_refused_by_name(editor: GligenEdit, fields: dict[str, object], message: str) -> None:
    text = str(fields.pop("text", "remove it"))
    with pytest.raises(ValueError, match=message):
        editor.run(models.request(text, **fields))


def test_a_full_background_region_is_told_from_a_place_that_becomes_background() -> None:
    whole = Grounding(box=(0.0, 0.0, 1.0, 1.0), label="green background")
    ground = read_edit(models.request("make the background green", regions=(whole, RED)), exact=False)
    assert ground.ground and ground.tint_ground and len(ground.stays) == 1
    gone = read_edit(models.request("remove it", regions=(GONE,)), exact=False)
    assert not gone.ground and len(gone.gone) == 1 and not gone.painted


def test_make_means_another_colour_only_with_the_name_of_one() -> None:
    blue = read_edit(models.request("make it blue", regions=(Grounding(box=AT, label="blue star"),)), exact=False)
    cat = read_edit(models.request("make it a cat", regions=(Grounding(box=AT, label="cat"),)), exact=False)
    assert blue.tinted and not blue.gone
    assert cat.gone and not cat.tinted


def test_a_hole_in_a_slope_is_filled_along_the_slope() -> None:
    slope = np.repeat(np.linspace(0, 200, 40, dtype=np.float32)[None, :, None], 40, 0).repeat(3, 2)
    hole = np.zeros((40, 40), bool)
    hole[15:25, 15:25] = True
    broken = np.where(hole[..., None], np.float32(255.0), slope)
    filled = fill(broken, hole)
    assert np.array_equal(filled[~hole], slope[~hole])
    assert np.abs(filled - slope)[hole].mean() < 12


def test_areas_grow_by_a_disc_and_seams_lie_inside() -> None:
    dot = np.zeros((11, 11), bool)
    dot[5, 5] = True
    rows, columns = np.nonzero(grow(dot, 2))
    far = np.hypot(rows - 5, columns - 5)
    assert 2.0 <= far.max() < 2.5 and len(rows) == 17
    assert np.array_equal(grow(grow(dot, 3), -3), dot)
    weight = inner_weight(grow(dot, 4), 1)
    assert weight.max() == 1.0 and set(np.unique(weight)) == {0.0, 0.5, 1.0}
    assert not weight[~grow(dot, 4)].any()


def test_a_background_of_one_colour_is_told_by_its_colour() -> None:
    rng = np.random.default_rng(0)
    picture = (120 + rng.normal(0, 8, (40, 40, 3))).clip(0, 255).astype(np.uint8)
    picture[5:15, 5:15], picture[25:35, 20:30] = (200, 30, 30), (30, 40, 210)
    objects = np.zeros((2, 40, 40), bool)
    objects[0, 5:15, 5:15], objects[1, 25:35, 20:30] = True, True
    wrong = np.zeros((40, 40), bool)
    wrong[2:12, 22:36] = True  # a box around nothing
    for stays in ([objects[0], objects[1]], [objects[0]], [], [objects[0], wrong]):
        assert np.array_equal(ground_of(picture, stays), ~objects.any(axis=0))
    alike = picture.copy()
    alike[5:15, 5:15] = 120  # an object of the background's colour
    assert np.array_equal(ground_of(alike, [objects[0]]), ~objects[1])


def test_in_a_background_of_many_colours_masks_alone_say_what_stays() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[5:15, 5:15] = True
    assert np.array_equal(ground_of(noise, [mask]), ~mask)
    assert not ground_of(noise, [~np.zeros_like(mask)]).any()


def test_a_tint_follows_the_shading_and_the_soft_edge() -> None:
    ground, old, new = (np.array(c, np.float32) for c in ((40, 40, 40), (200, 30, 30), (30, 40, 210)))
    part = np.zeros((20, 20, 1), np.float32)
    part[5:15, 5:15] = 1.0
    part[4, 5:15] = 0.4
    shade = np.where(np.arange(20) % 4 < 2, 1.0, 0.7).astype(np.float32)[None, :, None]
    pixels = ground + part * (old * shade - ground)
    wanted = ground + part * (new * shade - ground)
    area = part[..., 0] > 0.5
    behind = np.broadcast_to(ground, pixels.shape).astype(np.float32)
    made = tint(pixels.astype(np.float32), area, behind, new, main_color(pixels.astype(np.float32), area))
    assert np.abs(made - wanted)[area].mean() < 8
    assert np.abs(made - wanted)[4].mean() < np.abs(pixels - wanted)[4].mean()
    assert np.array_equal(made[:2], pixels[:2].astype(np.float32))
