"""Pictures as bytes: decoding what strangers send, encoding what we made, naming both by content.

Every limit is checked on the header, before a pixel is decoded. Files are read from memory only;
where bytes come from is the caller's business.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from vitron.types import Image

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MARKS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif", b"BM": "bmp"}
# What Pillow's readers raise on broken files, beside its own UnidentifiedImageError (an OSError).
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,", re.IGNORECASE)


class MediaError(ValueError):
    """Media that cannot be accepted.

    Attributes:
        status: the HTTP status that fits: 400 broken, 413 too large, 415 a format that is not read.
        code: a stable name for programs.
        message: a sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[MediaError], tuple[int, str, str]]:
        """Pickle with all three arguments: the default would keep the message alone."""
        return type(self), (self.status, self.code, self.message)


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """What a picture may be.

    Attributes:
        max_bytes: size of the encoded file.
        max_pixels: width times height.
        formats: names in Pillow's spelling; of an animation the first frame is read.
    """

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    formats: tuple[str, ...] = IMAGE_FORMATS

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_pixels < 1:
            got = f"{self.max_bytes}, {self.max_pixels}"
            raise ValueError(f"max_bytes, max_pixels: got {got}, expected 1 or more")
        unknown = sorted(set(self.formats) - set(IMAGE_FORMATS))
        if unknown or not self.formats:
            raise ValueError(f"formats: got {unknown}, expected some of {', '.join(IMAGE_FORMATS)}")


class ByteLimits(Protocol):
    """Limits of anything that arrives as bytes: pictures, and videos (`vitron.video.VideoLimits`)."""

    @property
    def max_bytes(self) -> int:
        """Size of the file."""
        ...


class DataUrl(NamedTuple):
    """A decoded `data:` URL."""

    mime: str
    data: bytes


def decode_image(data: bytes, limits: ImageLimits | None = None) -> Image:
    """Decode a picture to RGB as a person would see it.

    The EXIF orientation is applied, transparency is laid over white, and palette, gray, 16-bit
    and CMYK pictures are converted.

    Args:
        data: the encoded file.
        limits: what is accepted; None: `ImageLimits()`.

    Returns:
        A new `uint8 [height, width, 3]` array.

    Raises:
        MediaError: 413 too large, 415 not a format of `limits`, 400 empty or broken.
    """
    picture = open_picture(data, limits or ImageLimits())
    try:
        return np.array(_to_rgb(ImageOps.exif_transpose(picture)), dtype=np.uint8)
    except _BROKEN as error:
        raise MediaError(400, "image_broken", f"image: cannot be decoded ({error})") from error


def sniff_picture(data: bytes) -> str:
    """Return the subtype of a readable picture's media type, as "png" or "jpeg", from its first bytes."""
    return next(name for mark, name in _MARKS.items() if data.startswith(mark))


def transparent_area(data: bytes, limits: ImageLimits | None = None) -> npt.NDArray[np.bool_]:
    """Return where a picture is fully transparent, bool `[height, width]`; raises as `decode_image`."""
    picture = open_picture(data, limits or ImageLimits())
    if not picture.has_transparency_data:
        raise MediaError(400, "mask_opaque", "mask: expected a PNG with transparent pixels where to edit; it has none")
    try:
        alpha = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"))[..., 3]
    except _BROKEN as error:
        raise MediaError(400, "image_broken", f"mask: cannot be decoded ({error})") from error
    return alpha == 0


def open_picture(data: bytes, limits: ImageLimits) -> PillowImage.Image:
    """Check size, format and header of `data`, then decode it in its own colour mode."""
    if not data:
        raise MediaError(400, "image_empty", "image: got 0 bytes, expected a picture")
    if len(data) > limits.max_bytes:
        raise MediaError(
            413,
            "image_too_large",
            f"image: got {len(data)} bytes, expected at most {limits.max_bytes}",
        )
    try:
        # Reads the header alone. Pillow merely warns up to twice its own limit, so the check below
        # is the one that refuses (a warning filter is process-wide: no thread may set one).
        picture = PillowImage.open(BytesIO(data), formats=limits.formats)
        width, height = picture.size
        if width * height > limits.max_pixels:
            raise _too_many_pixels(f"{width} x {height}", limits)
        picture.load()
        return picture
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(
            415,
            "image_unsupported",
            f"image: format not recognised, expected {', '.join(limits.formats)}",
        ) from error
    except (PillowImage.DecompressionBombWarning, PillowImage.DecompressionBombError) as error:
        raise _too_many_pixels("a decompression bomb", limits) from error
    except _BROKEN as error:
        raise MediaError(400, "image_broken", f"image: cannot be decoded ({error})") from error


def _too_many_pixels(got: str, limits: ImageLimits) -> MediaError:
    return MediaError(
        413,
        "image_too_many_pixels",
        f"image: got {got}, expected at most {limits.max_pixels} pixels",
    )


def _to_rgb(picture: PillowImage.Image) -> PillowImage.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_wide_gray(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = PillowImage.new("RGBA", picture.size, (255, 255, 255, 255))
        return PillowImage.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _from_wide_gray(picture: PillowImage.Image) -> PillowImage.Image:
    """Scale 16-bit gray to 8 bits (Pillow's own conversion clips: such pictures turn white)."""
    wide = np.asarray(picture).astype(np.float64)
    gray = np.clip(np.rint(wide / 257.0), 0, 255).astype(np.uint8)
    return PillowImage.fromarray(gray).convert("RGB")


def encode_png(image: Image) -> bytes:
    """Encode `image` (`uint8 [height, width, 3]`) without loss."""
    return _encode(image, "PNG")


def encode_jpeg(image: Image, quality: int = 90) -> bytes:
    """Encode `image` (`uint8 [height, width, 3]`) as JPEG with `quality` from 1 to 95."""
    if not 1 <= quality <= 95:
        raise ValueError(f"quality: got {quality}, expected 1 to 95")
    return _encode(image, "JPEG", quality=quality)


def encode_gray_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Encode a gray picture (`uint8 [height, width]`) without loss."""
    return _encode(image, "PNG")


def _encode(image: npt.NDArray[np.uint8], format_: str, **options: int) -> bytes:
    if image.dtype != np.uint8:
        raise ValueError(f"image: got {image.dtype}, expected uint8")
    buffer = BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(image)).save(buffer, format=format_, **options)
    return buffer.getvalue()


def parse_data_url(url: str, limits: ByteLimits | None = None) -> DataUrl:
    """Split a base64 `data:` URL into media type and bytes.

    Args:
        url: `data:<type>/<subtype>;base64,<data>`, without other parameters or white space.
        limits: `max_bytes` is checked on the text before it is decoded; None: `ImageLimits()`.

    Raises:
        MediaError: 400 for another form, 413 for too much data.
    """
    limits = limits or ImageLimits()
    head = _DATA_URL.match(url)
    if head is None:
        raise MediaError(400, "data_url_invalid", "url: expected data:<type>/<subtype>;base64,<data>")
    # Four characters carry three bytes; the padding is at most two of them.
    if (len(url) - head.end()) // 4 * 3 - 2 > limits.max_bytes:
        raise MediaError(413, "image_too_large", f"url: expected at most {limits.max_bytes} bytes of data")
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaError(400, "data_url_invalid", f"url: broken base64 ({error})") from error
    if len(data) > limits.max_bytes:
        raise MediaError(413, "image_too_large", f"url: expected at most {limits.max_bytes} bytes of data")
    return DataUrl(head.group(1).lower(), data)


def fingerprint(image: Image) -> str:
    """Return the SHA-256 (hex) of pixels and shape: one name for a picture, however encoded."""
    digest = hashlib.sha256(repr(image.shape).encode("ascii"))
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()
