"""The wire forms of a mask: COCO run lengths and PNG."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from vitron.media import MediaError
from vitron.regions import mask_to_png, mask_to_rle, png_to_mask, rle_to_mask

masks = st.tuples(st.integers(1, 60), st.integers(1, 60), st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0])).flatmap(
    lambda shape: st.integers(0, 2**20).map(lambda seed: np.random.default_rng(seed).random(shape[:2]) < shape[2])
)


@given(masks)
@settings(max_examples=80, deadline=None)
def test_run_lengths_are_those_of_the_reference_codec(mask):
    expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    rle = mask_to_rle(mask)
    assert rle["size"] == list(expected["size"])
    assert rle["counts"] == expected["counts"].decode()


@given(masks)
@settings(max_examples=80, deadline=None)
def test_decoding_run_lengths_gives_the_mask_back(mask):
    assert (rle_to_mask(mask_to_rle(mask)) == mask).all()


def test_long_runs_survive():
    mask = np.zeros((1500, 1500), dtype=bool)
    mask[3:1400, 2:1490] = True
    assert (rle_to_mask(mask_to_rle(mask)) == mask).all()


@pytest.mark.parametrize("counts", ["", "o", "~~~", "00", "0", "PPPPPPPPPP0", "\u00e9", "0O"])
def test_broken_counts_are_refused(counts):
    with pytest.raises(ValueError, match="counts"):
        rle_to_mask({"size": [3, 3], "counts": counts})


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_text_is_decoded_or_refused(counts):
    try:
        mask = rle_to_mask({"size": [4, 5], "counts": counts})
    except ValueError:
        return
    assert mask.shape == (4, 5)


@pytest.mark.parametrize("size", [[0, 4], [4], [-1, 4], [2.0, 2], [True, 2]])
def test_a_broken_size_is_refused(size):
    with pytest.raises(ValueError, match="size"):
        rle_to_mask({"size": size, "counts": "09"})


def test_a_huge_size_is_refused_before_memory_is_taken():
    with pytest.raises(ValueError, match="at most"):
        rle_to_mask({"size": [10**9, 10**9], "counts": "0"})


@given(masks)
@settings(max_examples=20, deadline=None)
def test_a_png_gives_the_mask_back(mask):
    assert (png_to_mask(mask_to_png(mask)) == mask).all()


def test_a_png_above_the_limit_is_refused():
    with pytest.raises(MediaError, match="at most 10 pixels") as caught:
        png_to_mask(mask_to_png(np.ones((4, 4), dtype=bool)), max_pixels=10)
    assert caught.value.status == 413


def test_something_else_than_a_png_is_refused():
    with pytest.raises(ValueError, match="not recognised"):
        png_to_mask(b"GIF89a nothing of the kind")
