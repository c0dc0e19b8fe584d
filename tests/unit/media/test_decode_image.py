"""Decoding pictures that strangers send."""

from __future__ import annotations

import pickle
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from vitron.media import ImageLimits, MediaError, decode_image, encode_jpeg, encode_png

RED = (200, 30, 40)


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises `width` x `height` pixels and holds almost none."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_every_accepted_format_decodes_to_rgb(kind):
    image = decode_image(saved(Image.new("RGB", (9, 5), RED), kind))
    assert image.shape == (5, 9, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - RED).max() <= 8


def test_png_round_trip_is_exact():
    image = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    assert (decode_image(encode_png(image)) == image).all()


def test_jpeg_quality_is_checked():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    assert decode_image(encode_jpeg(image, 80)).shape == (4, 4, 3)
    with pytest.raises(ValueError, match="quality: got 0"):
        encode_jpeg(image, 0)


def test_the_exif_orientation_is_applied():
    picture = Image.new("RGB", (8, 4), "white")
    picture.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    image = decode_image(saved(picture, exif=exif))
    assert image.shape == (8, 4, 3)
    assert tuple(image[0, 3]) == RED


def test_transparency_is_laid_over_white():
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (*RED, 255))
    assert decode_image(saved(picture)).tolist() == [[[255, 255, 255], list(RED)]]


def test_a_transparent_palette_entry_is_laid_over_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([0, 0, 0, *RED])
    picture.putpixel((1, 0), 1)
    assert decode_image(saved(picture, transparency=0)).tolist() == [[[255] * 3, list(RED)]]


def test_sixteen_bit_gray_keeps_its_tones():
    wide = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    image = decode_image(saved(Image.fromarray(wide)))
    assert image[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "CMYK"])
def test_other_colour_modes_are_converted(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decode_image(saved(Image.new(mode, (3, 2)), kind)).shape == (2, 3, 3)


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), color) for color in ((255, 0, 0), (0, 0, 255))]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(decode_image(data)[0, 0]) == (255, 0, 0)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_from_its_header():
    for size in ((10_000, 10_000), (60_000, 60_000)):
        with pytest.raises(MediaError) as caught:
            decode_image(png_header(*size))
        assert (caught.value.status, caught.value.code) == (413, "image_too_many_pixels")


def test_too_many_bytes_are_refused():
    data = saved(Image.new("RGB", (4, 4)))
    with pytest.raises(MediaError, match=f"got {len(data)} bytes, expected at most 20") as caught:
        decode_image(data, ImageLimits(max_bytes=20))
    assert caught.value.status == 413


def test_nothing_is_refused():
    with pytest.raises(MediaError, match="0 bytes") as caught:
        decode_image(b"")
    assert caught.value.status == 400


@pytest.mark.parametrize("data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"hello", b"\0" * 64])
def test_other_formats_are_unsupported(data):
    with pytest.raises(MediaError) as caught:
        decode_image(data)
    assert (caught.value.status, caught.value.code) == (415, "image_unsupported")


def test_a_format_that_the_limits_leave_out_is_unsupported():
    with pytest.raises(MediaError, match="expected PNG"):
        decode_image(saved(Image.new("RGB", (4, 4)), "JPEG"), ImageLimits(formats=("PNG",)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_truncated_picture_is_broken(kind):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)
    with pytest.raises(MediaError) as caught:
        decode_image(data[: len(data) // 2])
    assert caught.value.status in (400, 415)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_damaged_pictures_raise_media_errors_only(kind):
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    good = saved(Image.fromarray(noise), kind)
    for _ in range(60):
        data = bytearray(good)
        for place in rng.integers(0, len(data), 6):
            data[place] = rng.integers(0, 256)
        try:
            image = decode_image(bytes(data), ImageLimits(max_pixels=100_000))
        except MediaError:
            continue
        assert image.ndim == 3


def test_a_media_error_survives_pickling():
    error = pickle.loads(pickle.dumps(MediaError(413, "image_too_large", "too large")))
    assert (error.status, error.code, error.message) == (413, "image_too_large", "too large")


def test_wrong_limits_are_refused():
    with pytest.raises(ValueError, match="formats: got"):
        ImageLimits(formats=("SVG",))
    with pytest.raises(ValueError, match="max_bytes"):
        ImageLimits(max_bytes=0)
