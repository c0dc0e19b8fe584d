"""Video editing with random weights: the atlas, what an edit may touch, progress, cancellation and the cache."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.diffusion import models
from tests.unit.specialists import edit_fixtures as small
from vitron.config import AtlasConfig
from vitron.specialists.base import Cancelled, SpecialistError
from vitron.specialists.gligen_edit_pixels import grow
from vitron.specialists.stablevideo.cache import LayersCache, key_of
from vitron.specialists.stablevideo.fit import fit
from vitron.specialists.stablevideo.layers import Layers, bake
from vitron.specialists.stablevideo.model import StableVideo
from vitron.specialists.stablevideo.motion import camera_shifts, flow, object_shifts
from vitron.specialists.stablevideo.paths import shifts_of
from vitron.specialists.stablevideo.request import Kind, read_clip_edit
from vitron.types import Clip, DrawnRegion, Grounding

FRAMES, SIDE = 6, 32
CONFIG = AtlasConfig(
    hidden=32, layers=2, color_bands=4, alpha_bands=3, steps=60, batch=512, lr=5e-3, max_side=32, keyframes=2
)
AT = (0.125, 0.125, 0.375, 0.375)
FULL = (0.0, 0.0, 1.0, 1.0)
RED = Grounding(box=AT, label="blue square", span=(0, FRAMES - 1))
GONE = replace(RED, label="background")
FREE = (0.6, 0.1, 0.85, 0.35)


def moving(frames: int = FRAMES, side: int = SIDE) -> Clip:
    """The red square moves two pixels of 32 to the right in each frame; all else rests."""
    still, step = small.picture(side, side), side // 16
    mask = small.object_mask(still)
    empty = still.copy()
    empty[mask] = small.GROUND
    made = []
    for t in range(frames):
        frame = empty.copy()
        frame[np.roll(mask, t * step, axis=1)] = small.OBJECT
        made.append(frame)
    return Clip(frames=np.stack(made))


def red(clip: Clip) -> np.ndarray:
    return np.stack([small.object_mask(frame) for frame in clip.frames])


@pytest.fixture(scope="module")
def video() -> StableVideo:
    return StableVideo(CONFIG, editor=small.editor(), segmenter=small.ColorTracker())


def edit(video: StableVideo, text: str, clip: Clip | None = None, **fields: object) -> Clip:
    return video.run(models.request(text, clip=clip or moving(), **fields)).clips[0]


def changed(before: Clip, after: Clip) -> np.ndarray:
    return (before.frames != after.frames).any(axis=3)


def test_an_atlas_renders_its_clip() -> None:
    clip = moving()
    config = replace(CONFIG, steps=250)
    layers = fit(clip.frames.astype(np.float32) / 255, red(clip), config, seed=0)
    assert layers.psnr > 22
    assert ((layers.alpha > 0.5) == red(clip)).mean() > 0.97
    # The square's middle has one place in the atlas, whatever the frame.
    middles = np.array([layers.foreground[t, 8, 8 + 2 * t] for t in range(FRAMES)])
    assert middles.std(axis=0).max() < 1.0 / SIDE


def test_one_seed_fits_one_atlas() -> None:
    clip, config = moving(), replace(CONFIG, steps=5)
    first, second, other = (
        fit(clip.frames.astype(np.float32) / 255, red(clip), config, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.foreground, second.foreground)
    assert not np.array_equal(first.foreground, other.foreground)


def test_a_removed_object_uncovers_what_other_frames_show(video: StableVideo) -> None:
    clip = moving()
    made = edit(video, "remove the square", clip, regions=(GONE,))
    seen_free = ~red(clip).all(axis=0)
    for t in range(FRAMES):
        hole = red(clip)[t] & seen_free
        assert np.abs(made.frames[t][hole].astype(int) - small.GROUND).mean() < 12
    assert not changed(clip, made)[~np.stack([grow(m, 4) for m in red(clip)])].any()


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        ("make the square blue", (RED,)),
        ("replace the square with a star", (replace(RED, label="red star"),)),
        ("remove the square", (GONE,)),
    ],
    ids=["recolor", "replace", "remove"],
)
def test_an_edit_is_there_in_every_frame_and_touches_nothing_else(
    video: StableVideo, text: str, regions: tuple[Grounding, ...]
) -> None:
    clip = moving()
    made = edit(video, text, clip, regions=regions)
    assert made.frames.shape == clip.frames.shape and made.fps == clip.fps
    touched = changed(clip, made)
    assert (touched & red(clip)).any(axis=(1, 2)).all()
    assert not touched[~np.stack([grow(m, 5) for m in red(clip)])].any()


def test_another_colour_is_one_colour_in_all_frames(video: StableVideo) -> None:
    clip = moving()
    made = edit(video, "make the square blue", clip, regions=(RED,))
    inside = [grow(mask, -1) for mask in red(clip)]
    means = np.array([frame[mask].mean(axis=0) for frame, mask in zip(made.frames, inside, strict=True)])
    assert means.std(axis=0).max() < 1.0


def test_a_new_background_colour_leaves_the_objects(video: StableVideo) -> None:
    clip = moving()
    whole = Grounding(box=FULL, label="white background", span=(0, FRAMES - 1))
    blue = Grounding(box=(0.62, 0.62, 0.88, 0.88), label="blue square", span=(0, FRAMES - 1))
    made = edit(video, "make the background white", clip, regions=(whole, replace(RED, label="red square"), blue))
    objects = red(clip) | np.stack([small.object_mask(frame, small.OTHER) for frame in clip.frames])
    touched = changed(clip, made)
    assert not touched[np.stack([grow(mask, -1) for mask in objects])].any()
    assert touched[~np.stack([grow(mask, 3) for mask in objects])].mean() > 0.9


def test_a_new_background_is_painted_into_the_atlas(video: StableVideo) -> None:
    clip = moving()
    whole = Grounding(box=FULL, label="rocky background")
    made = edit(video, "replace the background with rocks", clip, regions=(whole, replace(RED, label="red square")))
    free = ~np.stack([grow(mask, 3) for mask in red(clip)])
    still = free.all(axis=0)
    # The camera rests, so the same ground is shown in every frame.
    spread = made.frames.astype(float).std(axis=0).mean(axis=2)
    assert np.median(spread[still]) < 3
    assert changed(clip, made)[free].mean() > 0.8


def test_something_new_is_there_in_its_span_alone_and_moves_as_told(video: StableVideo) -> None:
    clip = moving()
    place = Grounding(box=FREE, label="red star", span=(1, 4))
    made = edit(video, "add a red star that moves to the bottom", clip, regions=(place,))
    touched = changed(clip, made)
    assert [bool(frame.any()) for frame in touched] == [False, True, True, True, True, False]
    rows = [np.argwhere(frame)[:, 0].mean() for frame in touched[1:5]]
    assert rows == sorted(rows) and rows[-1] - rows[0] > 3


@pytest.mark.parametrize(
    "region",
    [
        DrawnRegion(kind="box", box=(0.2, 0.1, 0.5, 0.4), clip=0, frame=1),
        DrawnRegion(kind="point", points=((0.3, 0.25),), clip=0, frame=1),
        DrawnRegion(kind="scribble", points=((0.25, 0.2), (0.35, 0.3)), clip=0, frame=1),
        DrawnRegion(kind="mask", mask=small.object_mask(moving().frames[1]), clip=0, frame=1),
    ],
    ids=lambda region: region.kind,
)
def test_every_kind_of_drawing_on_any_frame_says_what(video: StableVideo, region: DrawnRegion) -> None:
    clip = moving()
    made = edit(video, "remove this", clip, drawn=(region,))
    assert (changed(clip, made) & red(clip)).any(axis=(1, 2)).all()


def test_a_clip_that_is_larger_than_the_fit_comes_back_in_its_size(video: StableVideo) -> None:
    clip = moving(side=96)
    made = edit(video, "remove the square", clip, regions=(GONE,))
    assert made.frames.shape == clip.frames.shape
    assert not changed(clip, made)[:, 60:].any()
    assert changed(clip, made)[red(clip)].mean() > 0.9


def test_one_request_gives_one_clip(video: StableVideo) -> None:
    fields = {"regions": (replace(RED, label="red star"),), "seed": 5}
    first = edit(video, "replace it", **fields)
    fresh = StableVideo(CONFIG, editor=video.editor, segmenter=video.segmenter)
    assert np.array_equal(first.frames, edit(fresh, "replace it", **fields).frames)


def test_a_second_edit_of_a_clip_needs_no_second_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    video = StableVideo(CONFIG, editor=small.editor(), segmenter=small.ColorTracker())
    fits: list[int] = []

    def counted(*args: object, **kwargs: object) -> Layers:
        fits.append(1)
        return fit(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("vitron.specialists.stablevideo.model.fit", counted)
    edit(video, "remove the square", regions=(GONE,))
    edit(video, "make it blue", regions=(RED,))
    assert len(fits) == 1 and len(video.cache) == 1
    edit(video, "remove the square", moving(frames=5), regions=(replace(GONE, span=(0, 4)),))
    assert len(fits) == 2


def test_the_cache_forgets_the_oldest_and_copies_empty() -> None:
    cache = LayersCache(2)
    layers = fit(np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 8, 8), bool), replace(CONFIG, steps=1), seed=0)
    for name in ("a", "b", "c"):
        cache.store(name, layers)
    assert cache.find("a") is None and cache.find("c") is layers
    assert len(copy.deepcopy(cache)) == len(pickle.loads(pickle.dumps(cache))) == 0
    clip = moving()
    assert key_of(clip.frames, red(clip)) != key_of(clip.frames, ~red(clip))


def test_progress_never_goes_back_and_ends_at_its_total(video: StableVideo) -> None:
    seen: list[tuple[int, int]] = []
    fresh = StableVideo(CONFIG, editor=video.editor, segmenter=video.segmenter)
    request = models.request("remove it", clip=moving(), regions=(GONE,))
    fresh.run(request, on_progress=lambda done, total: seen.append((done, total)))
    done = [step for step, _ in seen]
    assert done == sorted(done) and len({total for _, total in seen}) == 1
    assert seen[-1][0] == seen[-1][1] and len(seen) > CONFIG.steps


def test_cancelling_stops_the_fit_at_an_iteration(video: StableVideo) -> None:
    seen: list[int] = []
    fresh = StableVideo(replace(CONFIG, steps=100_000), editor=video.editor, segmenter=video.segmenter)
    with pytest.raises(Cancelled):
        fresh.run(
            models.request("remove it", clip=moving(), regions=(GONE,)),
            on_progress=lambda done, total: seen.append(done),
            cancelled=lambda: len(seen) > 20,
        )
    assert len(seen) < 40


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clip": None, "regions": (GONE,)}, "clip: got None"),
        ({}, "regions: got none"),
        ({"regions": (GONE,), "options": {"keyframes": 0}}, "options.keyframes"),
        ({"regions": (GONE,), "options": {"num_images": 2}}, "options: got 'num_images'"),
        ({"regions": (GONE,), "text": " "}, "instruction: got ''"),
    ],
)
def test_wrong_requests_are_refused_by_name(video: StableVideo, fields: dict[str, object], message: str) -> None:
    given = {"clip": moving(), **fields}
    text = str(given.pop("text", "remove it"))
    with pytest.raises(ValueError, match=message):
        video.run(models.request(text, **given))


def test_an_object_that_nobody_finds_is_an_error_and_no_unedited_clip(video: StableVideo) -> None:
    empty = Clip(frames=np.broadcast_to(np.array(small.GROUND, np.uint8), (3, 32, 32, 3)).copy())
    with pytest.raises(SpecialistError, match="not found"):
        edit(video, "remove it", empty, regions=(replace(GONE, span=(0, 2)),))


def test_the_verb_and_the_labels_say_what_becomes_of_the_object() -> None:
    def kind(text: str, *regions: Grounding) -> Kind:
        return read_clip_edit(models.request(text, regions=regions)).kind

    assert kind("make the square blue", RED) is Kind.RECOLOR
    assert kind("make the square a cat", replace(RED, label="cat")) is Kind.REPLACE
    assert kind("get rid of it", GONE) is Kind.REMOVE
    assert kind("add a star", RED) is Kind.ADD
    assert kind("make the background blue", Grounding(box=FULL, label="blue background")) is Kind.BACKGROUND


def test_a_path_stays_in_the_picture() -> None:
    moved = shifts_of("add a ball that moves to the right", (0.5, 0.4, 0.7, 0.6), 5)
    assert moved[0].tolist() == [0.0, 0.0] and 0.2 < moved[-1][0] <= 0.3
    assert not moved[:, 1].any()


def test_an_object_at_the_edge_is_cut_off_and_not_slower() -> None:
    masks = np.zeros((5, 32, 32), bool)
    for t in range(5):
        masks[t, 10:18, max(20 + 4 * t, 0) : min(28 + 4 * t, 32)] = True
    shifts, reference = object_shifts(masks)
    steps = np.diff(shifts[:, 0])
    assert reference in (0, 1)
    assert np.abs(steps[:2] - 4).max() < 1.0 and np.abs(shifts[:, 1]).max() < 1.0


def test_a_moving_object_does_not_move_the_camera_and_a_pan_does() -> None:
    rng = np.random.default_rng(0)
    ground = rng.random((40, 60, 3)).astype(np.float32)
    pan = np.stack([ground[:, 2 * t : 2 * t + 40] for t in range(4)])
    nothing = np.zeros(pan.shape[:3], bool)
    assert camera_shifts(pan, nothing)[:, 0].tolist() == [0.0, -2.0, -4.0, -6.0]
    clip = moving()
    assert not camera_shifts(clip.frames.astype(np.float32) / 255, np.zeros_like(red(clip))).any()


def test_flow_follows_a_texture() -> None:
    rng = np.random.default_rng(1)
    smooth = rng.random((10, 14, 3)).astype(np.float32).repeat(4, 0).repeat(4, 1)
    frames = np.stack([smooth[:, 4 + t : 44 + t] for t in range(3)])
    found, trusted = flow(frames)
    assert trusted.float().mean() > 0.2
    inner = trusted[:, 6:-6, 6:-6]
    assert (found[:, 6:-6, 6:-6][inner].mean(dim=0) - found.new_tensor([-1.0, 0.0])).abs().max() < 0.3


def test_what_does_not_move_comes_back_from_a_lattice_as_it_was() -> None:
    values = np.random.default_rng(2).random((3, 8, 12, 3)).astype(np.float32)
    values[:] = values[0]
    y, x = np.meshgrid(np.arange(8), np.arange(12), indexing="ij")
    uv = np.stack([x + 0.5 - 6, y + 0.5 - 4], axis=-1).astype(np.float32)[None].repeat(3, 0) / 6
    lattice = bake(values, np.ones((3, 8, 12), np.float32), uv)
    assert np.abs(lattice.look_up(uv[0]) - values[0]).max() < 1e-3
    assert lattice.known(uv[0]).min() > 0.99 and lattice.known(uv[0] + 5.0).max() == 0.0
