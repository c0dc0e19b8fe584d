"""Scene graphs of the Shapes world and how they are drawn at random.

A scene is a background and one to four coloured shapes in painting order. Everything else
(pictures, masks, captions, questions) is derived from it exactly. Some properties are rendered but
never named in any text: the continuous hue, the rotation and the textures. They exist so that a
picture always holds more than its description.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from train.data.shapes import geometry

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "ring", "cross")
COLORS: dict[str, float] = {
    "red": 0.0,
    "orange": 30.0,
    "yellow": 55.0,
    "green": 120.0,
    "cyan": 180.0,
    "blue": 225.0,
    "purple": 275.0,
    "pink": 325.0,
}
# Saturation and value per colour name: pink is paler and green/purple darker than pure hues, which
# keeps neighbours on the hue circle apart for the eye too.
SATURATION_VALUE: dict[str, tuple[float, float]] = {
    "red": (0.90, 0.86),
    "orange": (0.95, 0.97),
    "yellow": (0.90, 0.96),
    "green": (0.85, 0.70),
    "cyan": (0.80, 0.85),
    "blue": (0.85, 0.90),
    "purple": (0.78, 0.72),
    "pink": (0.58, 0.97),
}
SIZES: dict[str, tuple[float, float]] = {"small": (6.0, 7.5), "large": (11.0, 14.0)}
TEXTURES: tuple[str, ...] = ("solid", "striped", "dotted")
BACKGROUND_COLORS: dict[str, tuple[int, int, int]] = {
    "white": (240, 240, 237),
    "gray": (138, 139, 141),
    "black": (24, 24, 26),
    "brown": (108, 84, 64),
}
BACKGROUND_TEXTURES: tuple[str, ...] = ("plain", "gradient", "checker", "noise")

HELD_OUT: tuple[tuple[str, str], ...] = (
    ("red", "star"),
    ("orange", "square"),
    ("yellow", "cross"),
    ("green", "ring"),
    ("cyan", "star"),
    ("blue", "triangle"),
    ("purple", "circle"),
    ("pink", "triangle"),
)
SPLITS: dict[str, int] = {"train": 0, "val": 1, "test": 2, "compositional": 3}

WIDTH = HEIGHT = 64
MAX_OBJECTS = 4
MIN_VISIBLE = 0.6
HUE_JITTER = 7.0
MAX_ROTATION = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Object:
    """One coloured shape; lengths in pixels, angles in degrees, `(x, y)` its centre."""

    shape: str
    color: str
    size: str
    x: float
    y: float
    radius: float
    hue: float
    saturation: float
    value: float
    rotation: float
    texture: str

    def __post_init__(self) -> None:
        """Refuses names outside the world's vocabulary."""
        _check("shape", self.shape, SHAPES)
        _check("color", self.color, tuple(COLORS))
        _check("size", self.size, tuple(SIZES))
        _check("texture", self.texture, TEXTURES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Background:
    """A muted background; `shade` shifts its brightness, `seed` fixes its texture."""

    color: str
    texture: str = "plain"
    shade: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses names outside the world's vocabulary."""
        _check("color", self.color, tuple(BACKGROUND_COLORS))
        _check("texture", self.texture, BACKGROUND_TEXTURES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A background and objects painted back to front."""

    background: Background
    objects: tuple[Object, ...]
    width: int = WIDTH
    height: int = HEIGHT


def scene_rng(split: str, index: int, seed: int = 0, stream: int = 0) -> np.random.Generator:
    """A generator no other `(split, seed, index, stream)` shares."""
    _check("split", split, tuple(SPLITS))
    return np.random.default_rng([SPLITS[split], seed, index, stream])


def scene_at(split: str, index: int, seed: int = 0) -> Scene:
    """The scene number `index` of a split; always the same one."""
    return sample_scene(scene_rng(split, index, seed), split)


def sample_scene(rng: np.random.Generator, split: str) -> Scene:
    """Draws a scene that obeys the split's rule on held-out colour-shape pairs."""
    _check("split", split, tuple(SPLITS))
    count = int(rng.integers(1, MAX_OBJECTS + 1))
    objects: tuple[Object, ...] = ()
    while len(objects) < count:
        pair = _sample_pair(rng, split, objects)
        placed = _place(rng, objects, *pair)
        if placed is None:
            if objects:
                break  # A crowded picture keeps the objects that fit.
            continue
        objects = placed
    return Scene(background=sample_background(rng), objects=objects)


def sample_object(rng: np.random.Generator, color: str, shape: str, size: str | None = None) -> Object:
    """Draws the unnamed properties and the place of an object of given colour and shape."""
    size = size or ("small", "large")[int(rng.integers(2))]
    radius = float(rng.uniform(*SIZES[size]))
    saturation, value = SATURATION_VALUE[color]
    margin = radius + 1.0
    return Object(
        shape=shape,
        color=color,
        size=size,
        x=float(rng.uniform(margin, WIDTH - margin)),
        y=float(rng.uniform(margin, HEIGHT - margin)),
        radius=radius,
        hue=float((COLORS[color] + rng.uniform(-HUE_JITTER, HUE_JITTER)) % 360.0),
        saturation=float(min(saturation + rng.uniform(-0.05, 0.05), 1.0)),
        value=float(min(value + rng.uniform(-0.04, 0.03), 1.0)),
        rotation=float(rng.uniform(-MAX_ROTATION, MAX_ROTATION)),
        texture=str(rng.choice(TEXTURES, p=(0.5, 0.25, 0.25))),
    )


def sample_background(rng: np.random.Generator, color: str | None = None) -> Background:
    """Draws a background, of the given colour if one is given."""
    return Background(
        color=color or str(rng.choice(list(BACKGROUND_COLORS))),
        texture=str(rng.choice(BACKGROUND_TEXTURES)),
        shade=float(rng.uniform(-6.0, 6.0)),
        seed=int(rng.integers(2**31)),
    )


def sample_pair(rng: np.random.Generator, split: str) -> tuple[str, str]:
    """Draws a (colour, shape) pair the split may show."""
    while True:
        pair = (str(rng.choice(list(COLORS))), str(rng.choice(SHAPES)))
        if split == "compositional" or pair not in HELD_OUT:
            return pair


def position_word(obj: Object, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The cell of a 3x3 grid in which the object's centre lies, as in "top left"."""
    column = ("left", "", "right")[min(max(int(3 * obj.x / width), 0), 2)]
    row = ("top", "", "bottom")[min(max(int(3 * obj.y / height), 0), 2)]
    return f"{row} {column}".strip() or "center"


def well_formed(objects: tuple[Object, ...]) -> bool:
    """Whether every object is visible enough and can be told apart by words alone."""
    names = [(o.size, o.color, o.shape, position_word(o)) for o in objects]
    return len(set(names)) == len(names) and geometry.visible_enough(objects, MIN_VISIBLE)


def _sample_pair(rng: np.random.Generator, split: str, objects: tuple[Object, ...]) -> tuple[str, str, str | None]:
    """Draws colour, shape and maybe size, often shared with an earlier object.

    Shared attributes are what makes counting, referring and "this one" requests hard.
    """
    if split == "compositional" and not objects:
        color, shape = HELD_OUT[int(rng.integers(len(HELD_OUT)))]
        return color, shape, None
    color, shape = sample_pair(rng, split)
    size: str | None = None
    draw = float(rng.random())
    if objects and draw < 0.45:
        other = objects[int(rng.integers(len(objects)))]
        if draw < 0.20:
            color, shape = other.color, other.shape
            size = other.size if draw < 0.12 else None
        elif draw < 0.33:
            shape = other.shape
        else:
            color = other.color
    if split != "compositional" and (color, shape) in HELD_OUT:
        return (*sample_pair(rng, split), size)
    return color, shape, size


def _place(
    rng: np.random.Generator,
    objects: tuple[Object, ...],
    color: str,
    shape: str,
    size: str | None,
) -> tuple[Object, ...] | None:
    """Adds one object in front of or behind the others; None if no place was found."""
    for _ in range(30):
        new = sample_object(rng, color, shape, size)
        at = int(rng.integers(len(objects) + 1))
        candidate = (*objects[:at], new, *objects[at:])
        if well_formed(candidate):
            return candidate
    return None


def _check(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field} is {value!r}, must be one of {', '.join(allowed)}")
