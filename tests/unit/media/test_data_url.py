"""Data URLs and content names."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from vitron.media import ImageLimits, MediaError, fingerprint, parse_data_url


def url(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_data_url_gives_type_and_bytes(size):
    data = bytes(range(size))
    assert parse_data_url(url(data, "IMAGE/Png")) == ("image/png", data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://example.org/a.png",
        "data:image/png,abc",
        "data:;base64,AAAA",
        "data:image/png;charset=x;base64,AAAA",
        "data:image/png;base64,AA AA",
        "data:image/png;base64,AAA",
        "data:image/png;base64,A-_A",
        "data:image/png;base64,AA\u00e9A",
        " data:image/png;base64,AAAA",
    ],
)
def test_another_form_is_refused(text):
    with pytest.raises(MediaError) as caught:
        parse_data_url(text)
    assert (caught.value.status, caught.value.code) == (400, "data_url_invalid")


def test_the_limit_is_exact():
    limits = ImageLimits(max_bytes=100)
    assert len(parse_data_url(url(b"x" * 100), limits).data) == 100
    for size in (101, 1000):
        with pytest.raises(MediaError, match="at most 100 bytes") as caught:
            parse_data_url(url(b"x" * size), limits)
        assert caught.value.status == 413


def test_too_long_text_is_refused_without_decoding_it():
    with pytest.raises(MediaError) as caught:
        parse_data_url("data:image/png;base64," + "!" * 1000, ImageLimits(max_bytes=10))
    assert caught.value.status == 413


def test_a_fingerprint_depends_on_pixels_and_shape_alone():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert fingerprint(image) == fingerprint(np.asfortranarray(image))
    assert fingerprint(image) != fingerprint(image.reshape(4, 2, 3))
    changed = image.copy()
    changed[1, 1, 1] += 1
    assert fingerprint(image) != fingerprint(changed)
