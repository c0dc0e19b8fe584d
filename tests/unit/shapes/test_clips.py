"""Clips: reproducible, within the rules of the world, with masks, tracks and spans that fit what is painted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.unit.shapes.clip_facts import core, direction, footage, inside, reaches
from train.data.shapes.motion import Clip, Mover, clip_at, hidden_shares, remove
from train.data.shapes.motion_paths import EVENTS, Path
from train.data.shapes.render import render
from train.data.shapes.render_clip import SEEN_SHARE, spans
from train.data.shapes.scene import HELD_OUT, Scene

COUNT = 60
INDICES = range(COUNT)


def test_a_clip_depends_on_split_index_and_seed_alone() -> None:
    assert clip_at("val", 3, seed=5) == clip_at("val", 3, seed=5)
    others = [clip_at("val", 4, seed=5), clip_at("val", 3, seed=6), clip_at("test", 3, seed=5)]
    assert all(other != clip_at("val", 3, seed=5) for other in others)


def test_clips_have_the_length_asked_for_and_something_happens_in_each() -> None:
    assert {clip_at("train", i).frames for i in INDICES} == {8, 12, 16}
    assert {clip_at("train", i, frames=10).frames for i in range(8)} == {10}
    for i in INDICES:
        assert any(m.path.moves or m.path.event != "none" for m in footage("train", i).clip.movers)


def test_every_event_occurs() -> None:
    events = Counter(m.path.event for i in range(150) for m in clip_at("train", i).movers)
    assert set(events) == set(EVENTS)
    assert min(events.values()) >= 8


def test_held_out_pairs_are_in_every_compositional_clip_and_in_no_other() -> None:
    for split in ("train", "val", "test"):
        assert not any((m.looks.color, m.looks.shape) in HELD_OUT for i in range(150) for m in clip_at(split, i).movers)
    for i in range(60):
        assert any((m.looks.color, m.looks.shape) in HELD_OUT for m in clip_at("compositional", i).movers)


def test_visible_masks_do_not_overlap_and_lie_in_whole_masks() -> None:
    for i in INDICES:
        film = footage("train", i)
        assert film.masks.sum(axis=0).max() <= 1
        assert not (film.masks & ~film.amodal).any()
        hidden = film.amodal & ~film.masks
        for k in range(len(film.masks)):
            assert not (hidden[k] & ~film.masks[k + 1 :].any(axis=0)).any()  # only those in front hide


def test_nothing_but_objects_changes_from_frame_to_frame() -> None:
    for i in INDICES:
        film = footage("train", i)
        empty = render(Scene(background=film.clip.background, objects=()))
        away = ~reaches(film)
        assert np.array_equal(film.frames[away], np.broadcast_to(empty, film.frames.shape)[away])


def test_a_mask_covers_what_its_object_paints() -> None:
    for i in range(30):
        film = footage("train", i)
        empty = render(Scene(background=film.clip.background, objects=())).astype(int)
        painted = np.abs(film.frames.astype(int) - empty).sum(axis=3) > 60
        shown = core(film.masks).any(axis=0)
        assert (painted & shown).sum() >= 0.97 * shown.sum()
        astray = painted & core(~film.masks.any(axis=0))
        assert astray.sum() <= 0.01 * painted.sum()  # tips of stars, thinner than a pixel


def test_tracks_are_the_tight_boxes_of_the_masks() -> None:
    for i in INDICES:
        film = footage("train", i)
        for k, t in np.ndindex(film.seen.shape):
            if not film.seen[k, t]:
                assert not film.tracks[k, t].any()
                continue
            rows, columns = np.nonzero(film.masks[k, t])
            box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 64
            assert np.allclose(film.tracks[k, t], box)


def test_spans_are_exactly_the_runs_of_frames_that_show_enough() -> None:
    for i in INDICES:
        film = footage("train", i)
        for k in range(len(film.masks)):
            uncut = [film.amodal[k, t].sum() for t in range(film.clip.frames) if inside(film.amodal[k, t])]
            assert uncut, "every object is somewhere wholly in the picture"
            shown = film.masks[k].sum(axis=(1, 2)) / np.median(uncut)
            sure = abs(shown - SEEN_SHARE) > 0.03  # pixels on the grid make the whole area vary a little
            assert np.array_equal(film.seen[k, sure], shown[sure] >= SEEN_SHARE)
            frames = [t for start, end in film.spans[k] for t in range(start, end + 1)]
            assert frames == np.flatnonzero(film.seen[k]).tolist()
            assert all(a[1] + 1 < b[0] for a, b in zip(film.spans[k], film.spans[k][1:], strict=False))


def test_runs_are_inclusive() -> None:
    assert spans(np.array([1, 1, 0, 0, 1, 0, 1], dtype=bool)) == ((0, 1), (4, 4), (6, 6))
    assert spans(np.zeros(3, dtype=bool)) == ()


def test_what_a_path_says_is_what_the_pixels_do() -> None:
    for i in INDICES:
        film = footage("train", i)
        for k, mover in enumerate(film.clip.movers):
            seen, path = film.seen[k], mover.path
            if path.event not in ("slides in", "slides out"):
                assert direction(film.amodal[k]) == path.direction
            assert (not seen[0]) == (path.event in ("appears", "slides in"))
            assert (not seen[-1]) == (path.event in ("disappears", "slides out"))


def test_who_passes_behind_is_gone_for_a_while_and_nobody_else_is_hidden_much() -> None:
    passed = 0
    for i in range(120):
        clip = footage("train", i).clip
        for k, mover in enumerate(clip.movers):
            for j in range(k + 1, len(clip.movers)):
                share = hidden_shares(mover, clip.movers[j], clip.frames)
                if mover.behind == j:
                    passed += 1
                    assert share.max() >= 0.85 and share[0] <= 0.25 and share[-1] <= 0.25
                else:
                    assert share.max() <= 0.25
                    assert share.max() <= 0.02 or mover.looks.color != clip.movers[j].looks.color
    assert passed >= 10


def test_removing_keeps_who_is_behind_whom() -> None:
    clip = next(c for i in range(200) if len((c := clip_at("train", i)).movers) == 3 and c.movers[1].behind == 2)
    assert remove(clip.movers, 0)[0].behind == 1


def test_wrong_clips_are_refused() -> None:
    clip = clip_at("train", 0)
    with pytest.raises(ValueError, match=r"movers\[0\]\.path\.last"):
        Clip(background=clip.background, movers=clip.movers, frames=2)
    with pytest.raises(ValueError, match=r"movers\[0\]\.behind"):
        mover = Mover(looks=clip.movers[0].looks, path=clip.movers[0].path, behind=0)
        Clip(background=clip.background, movers=(mover,), frames=clip.frames)
    with pytest.raises(ValueError, match="direction"):
        Path(last=7, direction="sideways")
    with pytest.raises(ValueError, match="begins, stops"):
        Path(last=7, direction="left", begins=5, stops=9)
    with pytest.raises(ValueError, match="frames is 4"):
        clip_at("train", 0, frames=4)
    with pytest.raises(ValueError, match="split is 'dev'"):
        clip_at("dev", 0)
