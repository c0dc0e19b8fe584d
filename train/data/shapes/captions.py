"""Descriptions of scenes in words: true, lower-case ASCII, at most 45 words."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping

import numpy as np

from train.data.shapes.scene import COLORS, SHAPES, SIZES, Object, Scene, position_word

VOCABULARY = {"size": tuple(SIZES), "color": tuple(COLORS), "shape": SHAPES}
_NAMED = re.compile(rf"\b({'|'.join(SIZES)}) ({'|'.join(COLORS)}) ({'|'.join(SHAPES)})\b")

STYLES: tuple[str, ...] = ("plain", "counts", "relations", "positions", "loose")
MAX_WORDS = 45
NUMBERS: tuple[str, ...] = ("no", "one", "two", "three", "four", "five", "six")
# How far apart two centres must be on an axis, in pixels, before a relation on it is stated.
RELATION_GAP = 8.0

_OPENINGS: tuple[str, ...] = (
    "{}", "{}", "{}", "a picture of {}", "an image of {}", "picture of {}", "there is {}",
    "this is {}", "a drawing showing {}", "we see {}", "an image with {}", "a scene with {}",
)  # fmt: skip
_COUNT_OPENINGS: tuple[str, ...] = (
    "{}", "a picture of {}", "an image of {}", "a scene with {}", "we see {}",
)  # fmt: skip
_BACKGROUNDS = (
    "{} on a {} background", "{} on a {} background", "{} against a {} background",
    "{} over a {} background", "{} in front of a {} background", "{}, the background is {}",
    "on a {1} background, {0}",
)  # fmt: skip


def plural(noun: str) -> str:
    """The plural of a phrase that ends in a shape name."""
    return noun + ("es" if noun.endswith("cross") else "s")


def article(phrase: str) -> str:
    """The phrase with "a" or "an" in front."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def describe(obj: Object) -> str:
    """Size, colour and shape, as in "large red circle"."""
    return f"{obj.size} {obj.color} {obj.shape}"


def name(obj: Object) -> str:
    """Colour and shape, as in "red circle"."""
    return f"{obj.color} {obj.shape}"


def place(obj: Object, scene: Scene | None = None) -> str:
    """Where the object is, as in "at the top left" or "in the center"."""
    size = (scene.width, scene.height) if scene else (64, 64)
    word = position_word(obj, *size)
    if word == "center":
        return "in the center"
    return f"on the {word}" if word in ("left", "right") else f"at the {word}"


def full_description(scene: Scene, i: int) -> str:
    """What singles the object out, place included: "large red circle at the top left"."""
    return f"{describe(scene.objects[i])} {place(scene.objects[i], scene)}"


def join(parts: list[str]) -> str:
    """Joins phrases as English does: "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def canonical_caption(scene: Scene) -> str:
    """Every object with size, colour, shape and place, left to right, then the background."""
    order = sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].x)
    return with_background(join([article(full_description(scene, i)) for i in order]), scene)


def with_background(text: str, scene: Scene) -> str:
    """Appends the background; a scene without objects is only its background."""
    background = article(f"{scene.background.color} background")
    return f"{text} on {background}" if text else f"an empty picture with {background}"


def caption(scene: Scene, rng: np.random.Generator, style: str | None = None) -> str:
    """A random true caption; `style` is one of STYLES, or None for any of them."""
    if style is not None and style not in STYLES:
        raise ValueError(f"style is {style!r}, must be one of {', '.join(STYLES)}")
    if not scene.objects:
        return with_background("", scene)
    chosen = style or STYLES[int(rng.integers(len(STYLES)))]
    order = [int(i) for i in rng.permutation(len(scene.objects))]
    openings = _COUNT_OPENINGS if chosen == "counts" else _OPENINGS
    if chosen == "counts":
        text = _counts(scene, rng, order)
    elif chosen == "relations":
        text = _relations(scene, rng, order)
    elif chosen == "positions":
        text = _positions(scene, rng, order)
    elif chosen == "loose":
        text = join([article(name(scene.objects[i])) for i in order])
    else:
        text = join([article(describe(scene.objects[i])) for i in order])
    return _finish(scene, rng, text, openings, always_background=chosen == "plain")


def _finish(
    scene: Scene,
    rng: np.random.Generator,
    text: str,
    openings: tuple[str, ...],
    always_background: bool,
) -> str:
    """Adds an opening and, nearly always, the background."""
    opened = openings[int(rng.integers(len(openings)))].format(text)
    if not always_background and rng.random() < 0.15:
        return opened
    # A leading background reads well only before a bare list.
    patterns = _BACKGROUNDS if opened == text else _BACKGROUNDS[:-1]
    pattern = patterns[int(rng.integers(len(patterns)))]
    full = pattern.format(opened, scene.background.color)
    return full if len(full.split()) <= MAX_WORDS else opened


def _counts(scene: Scene, rng: np.random.Generator, order: list[int]) -> str:
    """Groups equal objects: "two small red circles and a large blue star"."""
    wording = describe if rng.random() < 0.6 else name
    groups = collections.Counter(wording(scene.objects[i]) for i in order)
    single = "one {}" if rng.random() < 0.5 else ""
    parts = []
    for phrase, count in groups.items():
        one = single.format(phrase) if single else article(phrase)
        parts.append(one if count == 1 else f"{NUMBERS[count]} {plural(phrase)}")
    return join(parts)


def _positions(scene: Scene, rng: np.random.Generator, order: list[int]) -> str:
    """Every object with its place."""
    wording = describe if rng.random() < 0.7 else name
    objects = [scene.objects[i] for i in order]
    return join([f"{article(wording(o))} {place(o, scene)}" for o in objects])


def relation(a: Object, b: Object, rng: np.random.Generator | None = None) -> str | None:
    """How `a` lies to `b`, as in "to the left of"; None when neither axis is clear-cut."""
    dx, dy = b.x - a.x, b.y - a.y
    options = []
    if abs(dx) >= RELATION_GAP:
        options.append((abs(dx), "to the left of" if dx > 0 else "to the right of"))
    if abs(dy) >= RELATION_GAP:
        options.append((abs(dy), "above" if dy > 0 else "below"))
    if not options:
        return None
    if rng is None:
        return max(options)[1]
    return options[int(rng.integers(len(options)))][1]


def _relations(scene: Scene, rng: np.random.Generator, order: list[int]) -> str:
    """Objects in pairs with the relation between them: "a red circle above a blue star"."""
    wording = describe if rng.random() < 0.5 else name
    parts = []
    rest = [scene.objects[i] for i in order]
    while rest:
        first = rest.pop(0)
        link = relation(first, rest[0], rng) if rest else None
        if link is None:
            parts.append(article(wording(first)))
        else:
            parts.append(f"{article(wording(first))} {link} {article(wording(rest.pop(0)))}")
    return join(parts)


def names_exactly(text: str, required: Iterable[Mapping[str, str]]) -> bool:
    """Whether a text names with size, colour and shape just what is required, as often as it is."""
    wanted = collections.Counter((each["size"], each["color"], each["shape"]) for each in required)
    return collections.Counter(_NAMED.findall(text)) == wanted
