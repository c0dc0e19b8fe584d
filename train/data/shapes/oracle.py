"""Recovers a scene from its pixels alone, to score generated and edited pictures by content.

Pixels are sorted by hue into the world's colours, against a background taken as the most common
muted colour. Each colour's pixels are then explained by shapes, one at a time: a bank of templates
is correlated with the map "this colour +1, background -1, any other object 0", so hidden parts cost
nothing, and the best candidates are refined by `oracle_fit`. No part of it knows the scene.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes import oracle_fit
from train.data.shapes.render import mask_box
from train.data.shapes.scene import BACKGROUND_COLORS, COLORS, SHAPES

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

# A shape must explain this many pixels more than it contradicts; the smallest visible star has 27.
MIN_SCORE = 17.0
MIN_VISIBLE = 0.45
MAX_OBJECTS = 8
SHAPE_PRICE = 8.0  # Pixels a further shape must save to be worth assuming.
SIZE_LIMIT = 9.25  # Between the largest small and the smallest large radius.
RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
_STEP = 2  # The bank looks at pictures of half the size: four times faster, refined afterwards.
_PAD = 40  # FFT side: no wrap-around for centres inside a 32-pixel picture.
_MAX_KEPT = 20_000  # Readings of some 14 KB each.
_RADII = (6.1, 6.8, 7.5, 11.2, 12.1, 13.0, 13.9)
_ROTATIONS = (-24.0, -8.0, 8.0, 24.0)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ReadObject:
    """One object found in a picture; `box` and `center` are normalised, `mask` is [H, W]."""

    shape: str
    color: str
    size: str
    box: tuple[float, float, float, float]
    center: tuple[float, float]
    mask: BoolArray


class Reading(NamedTuple):
    """What a picture shows: its objects, largest first, and the background's colour name."""

    objects: tuple[ReadObject, ...]
    background: str


class _Template(NamedTuple):
    shape: str
    radius: float
    rotation: float
    area: float


def read(image: npt.NDArray[np.uint8]) -> Reading:
    """Finds every object of a picture uint8 [64, 64, 3].

    Equal pictures are read once: a clip's frames are asked for by every metric and kind, and reading is the slow part.
    """
    if image.ndim != 3 or image.shape[2] != 3 or max(image.shape[:2]) > 64:
        raise ValueError(f"image has shape {image.shape}, must be [H, W, 3] of at most 64x64")
    key = hashlib.blake2b(image.tobytes() + bytes(image.shape), digest_size=16).digest()
    if key not in _KEPT:
        if len(_KEPT) >= _MAX_KEPT:
            _KEPT.clear()
        _KEPT[key] = _read(image)
    return _KEPT[key]


_KEPT: dict[bytes, Reading] = {}


def _read(image: npt.NDArray[np.uint8]) -> Reading:
    pixels = image.astype(np.float32)
    background = _background_color(pixels)
    labels = label_colors(pixels, background)
    objects: list[ReadObject] = []
    for i, color in enumerate(COLORS):
        if np.count_nonzero(labels == i) >= MIN_SCORE:
            objects += _explain(labels, i, color)
    objects.sort(key=lambda o: -np.count_nonzero(o.mask))
    for each in objects:
        each.mask.setflags(write=False)
    distance = {name: float(np.abs(background - rgb).sum()) for name, rgb in BACKGROUND_COLORS.items()}
    return Reading(tuple(objects[:MAX_OBJECTS]), min(distance, key=distance.__getitem__))


def matches(reading: Reading, required: Iterable[Mapping[str, str]], exact: bool = True) -> bool:
    """Whether the objects found are those required, as multisets.

    Args:
        reading: what `read` found.
        required: wanted attributes per object, any of "shape", "color", "size".
        exact: whether further objects in the picture are a mistake.
    """
    wanted = list(required)
    if exact and len(wanted) != len(reading.objects):
        return False
    return _assign(wanted, list(reading.objects))


def relation_holds(reading: Reading, first: Mapping[str, str], relation: str, second: Mapping[str, str]) -> bool:
    """Whether some object like `first` stands in `relation` to another like `second`."""
    if relation not in RELATIONS:
        raise ValueError(f"relation is {relation!r}, must be one of {', '.join(RELATIONS)}")
    axis = 0 if relation in ("left of", "right of") else 1
    sign = 1.0 if relation in ("left of", "above") else -1.0
    return any(
        a is not b and sign * (b.center[axis] - a.center[axis]) > 0.0
        for a in reading.objects
        if _fits(a, first)
        for b in reading.objects
        if _fits(b, second)
    )


def label_colors(pixels: FloatArray, background: FloatArray) -> npt.NDArray[np.int8]:
    """Per pixel the index of a colour name, -1 for background, -2 for in between."""
    difference = np.sqrt(((pixels - background) ** 2).sum(axis=2))
    chroma = pixels.max(axis=2) - pixels.min(axis=2)
    background_chroma = float(background.max() - background.min())
    labels = np.full(pixels.shape[:2], -1, dtype=np.int8)
    vivid = (chroma > background_chroma * 0.8 + 28.0) & (difference > 40.0)
    hue = _hue(pixels)
    turns = np.array(list(COLORS.values()), dtype=np.float32)
    apart = np.abs((hue[:, :, None] - turns + 180.0) % 360.0 - 180.0)
    names = apart.argmin(axis=2).astype(np.int8)
    labels[vivid] = names[vivid]
    labels[~vivid & (difference > 60.0)] = -2
    for i in range(len(COLORS)):
        mine = labels == i
        if mine.any():  # Half-covered border pixels belong to the object from one half on.
            typical = float(np.percentile(difference[mine], 70))
            labels[mine & (difference < 0.5 * typical)] = -1
    return _without_thin_lines(labels)


def _without_thin_lines(labels: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Marks coloured pixels with too few like neighbours as undecided: mixed colours at borders."""
    padded = np.pad(labels, 1, constant_values=-3)
    same = np.zeros(labels.shape, dtype=np.int8)
    height, width = labels.shape
    for dy in range(3):
        for dx in range(3):
            same += padded[dy : dy + height, dx : dx + width] == labels
    out = labels.copy()
    out[(labels >= 0) & (same < 4)] = -2
    return out


def _background_color(pixels: FloatArray) -> FloatArray:
    """Median colour of the muted pixels; of all pixels if hardly any is muted."""
    chroma = pixels.max(axis=2) - pixels.min(axis=2)
    muted = pixels[chroma < 62.0]
    if len(muted) < 200:
        muted = pixels.reshape(-1, 3)
    # One background has one brightness: the fullest brightness bin keeps stray greys out.
    brightness = muted.mean(axis=1)
    counts, edges = np.histogram(brightness, bins=16, range=(0.0, 256.0))
    middle = edges[int(counts.argmax())] + 8.0
    near = muted[np.abs(brightness - middle) < 20.0]
    return np.asarray(np.median(near, axis=0), dtype=np.float32)


def _hue(pixels: FloatArray) -> FloatArray:
    """Hue in degrees [H, W] by the hexagon projection's angle."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    top, low = pixels.max(axis=2), pixels.min(axis=2)
    span = np.maximum(top - low, 1.0)
    hue = np.where(
        top == red,
        (green - blue) / span,
        np.where(top == green, 2.0 + (blue - red) / span, 4.0 + (red - green) / span),
    )
    return np.asarray(hue * 60.0 % 360.0, dtype=np.float32)


@functools.cache
def _bank() -> tuple[tuple[_Template, ...], npt.NDArray[np.complex64]]:
    """All templates and their conjugate spectra [n, PAD, PAD // 2 + 1]."""
    axis = np.fft.fftfreq(_PAD, 1.0 / _PAD).astype(np.float32)
    templates, spectra = [], []
    for shape in SHAPES:
        for radius in _RADII:
            for rotation in (0.0,) if shape in ("circle", "ring") else _ROTATIONS:
                cover = oracle_fit.coverage(
                    shape, np.array([[0.0, 0.0, radius / _STEP, rotation]], np.float32), axis, axis
                )[0]
                templates.append(_Template(shape, radius, rotation, float(cover.sum()) * _STEP**2))
                spectra.append(np.conj(np.fft.rfft2(cover)))
    return tuple(templates), np.stack(spectra).astype(np.complex64)


def _correlate(plane: FloatArray) -> FloatArray:
    """Sum of `plane` under each template at centres two pixels apart, [n, H / 2, W / 2]."""
    padded = np.zeros((_PAD * _STEP, _PAD * _STEP), dtype=np.float32)
    padded[: plane.shape[0], : plane.shape[1]] = plane
    padded = padded.reshape(_PAD, _STEP, _PAD, _STEP).sum(axis=(1, 3))
    height, width = (-(-side // _STEP) for side in plane.shape)
    spectrum = np.fft.rfft2(padded) * _bank()[1]
    return np.asarray(np.fft.irfft2(spectrum, s=(_PAD, _PAD))[:, :height, :width], np.float32)


def _explain(labels: npt.NDArray[np.int8], index: int, color: str) -> list[ReadObject]:
    """Explains the pixels of one colour by shapes."""
    mine = labels == index
    evidence = np.where(labels == -1, np.float32(-1.0), np.float32(0.0))
    evidence[mine] = 1.0
    fits = _best_explanation(evidence)
    if not fits:
        return []
    owner = np.stack([fit.distance for fit in fits]).argmin(axis=0)
    return [_read_object(fit, mine & (owner == i) & (fit.distance <= 1.0), color) for i, fit in enumerate(fits)]


def _best_explanation(evidence: FloatArray) -> list[oracle_fit.Fit]:
    """Greedy explanation; where it leaves much open, others that begin with another shape."""
    firsts = _candidates(evidence)
    best: list[oracle_fit.Fit] = []
    best_cost = np.inf
    for first in firsts:
        fits = [first]
        while len(fits) < MAX_OBJECTS:
            more = _candidates(_unexplained(evidence, fits))
            if not more:
                break
            fits.append(more[0])
        if len(fits) > 1:
            fits = [_refit(evidence, fits, i) for i in range(len(fits))]
        wrong = _wrong_pixels(evidence, fits)
        cost = wrong + SHAPE_PRICE * len(fits)
        if cost < best_cost:
            best, best_cost = fits, cost
        if wrong < 8.0 * len(fits) + 0.03 * np.count_nonzero(evidence > 0):
            break  # Good enough: the usual case of objects that do not touch.
    return best


def _unexplained(evidence: FloatArray, fits: list[oracle_fit.Fit]) -> FloatArray:
    """Evidence in which explained pixels neither ask for nor speak against another shape."""
    left = evidence.copy()
    for fit in fits:
        left[(fit.distance <= 1.3) & (left > 0)] = 0.0
    return left


def _refit(evidence: FloatArray, fits: list[oracle_fit.Fit], i: int) -> oracle_fit.Fit:
    """Improves one shape given all others, each of which claims only what it covers."""
    left = evidence.copy()
    for j, other in enumerate(fits):
        if j != i:
            left[(other.distance <= 0.0) & (left > 0)] = 0.0
    fit = fits[i]
    return oracle_fit.refine(fit.shape, (fit.x, fit.y, fit.radius, fit.rotation), left)


def _wrong_pixels(evidence: FloatArray, fits: list[oracle_fit.Fit]) -> float:
    """How many pixels the shapes miss or wrongly cover."""
    covered = np.any([fit.distance <= 0.0 for fit in fits], axis=0)
    wrong = (evidence > 0) & ~covered | (evidence < 0) & covered
    return float(np.count_nonzero(wrong))


def _candidates(evidence: FloatArray) -> list[oracle_fit.Fit]:
    """The best fit of each promising shape to the evidence, best first."""
    templates = _bank()[0]
    score = _correlate(evidence)
    area = np.array([t.area for t in templates], dtype=np.float32)[:, None, None]
    visible = _correlate((evidence > 0).astype(np.float32))
    score[visible < MIN_VISIBLE * area] = -np.inf
    flat = score.reshape(len(templates), -1)
    peaks = flat.argmax(axis=1)
    starts: dict[str, tuple[float, tuple[float, float, float, float]]] = {}
    for i, template in enumerate(templates):
        value = float(flat[i, peaks[i]])
        row, column = divmod(int(peaks[i]), score.shape[2])
        start = (_STEP * (column + 0.5), _STEP * (row + 0.5), template.radius, template.rotation)
        if value > starts.get(template.shape, (0.0, start))[0]:
            starts[template.shape] = (value, start)
    top = max((value for value, _ in starts.values()), default=0.0)
    fits = [
        oracle_fit.refine(shape, start, evidence) for shape, (value, start) in starts.items() if value > 0.6 * top - 5.0
    ]
    return sorted((f for f in fits if f.score >= MIN_SCORE), key=lambda f: -f.score)


def _read_object(fit: oracle_fit.Fit, mask: BoolArray, color: str) -> ReadObject:
    height, width = mask.shape
    return ReadObject(
        shape=fit.shape,
        color=color,
        size="small" if fit.radius < SIZE_LIMIT else "large",
        box=mask_box(mask),
        center=(fit.x / width, fit.y / height),
        mask=mask,
    )


def _fits(found: ReadObject, wanted: Mapping[str, str]) -> bool:
    unknown = set(wanted) - {"shape", "color", "size"}
    if unknown:
        raise ValueError(f"required names {sorted(unknown)}, must be among color, shape, size")
    return all(getattr(found, key) == value for key, value in wanted.items())


def _assign(wanted: list[Mapping[str, str]], found: list[ReadObject]) -> bool:
    """Whether each wanted object can have one found object of its own."""
    if not wanted:
        return True
    return any(
        _fits(candidate, wanted[0]) and _assign(wanted[1:], found[:i] + found[i + 1 :])
        for i, candidate in enumerate(found)
    )
