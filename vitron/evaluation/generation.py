"""Scores of generated pictures by content: are the objects asked for there, and no others.

What a picture shows is read by somebody else (an oracle of the synthetic world, a detector) and
handed in as attributes, so this file compares descriptions only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Attributes = Mapping[str, str]
"""One object, as attribute to value: `{"shape": "circle", "color": "red"}`."""


class ContentMatch(NamedTuple):
    """How one picture compares with what was asked for.

    Attributes:
        all_match: as many objects as asked for, each with every attribute that was asked of it.
        count_match: as many objects as asked for.
        colour_match: the colours asked for are there, each as often as asked.
        shape_match: the same of the shapes.
    """

    all_match: bool
    count_match: bool
    colour_match: bool
    shape_match: bool


def content_match(required: Sequence[Attributes], found: Sequence[Attributes]) -> ContentMatch:
    """Compare the objects asked for with those in the picture.

    Args:
        required: every object of the request; an attribute that it leaves open is left out.
        found: every object that was read from the picture, with all its attributes.
    """
    count = len(required) == len(found)
    return ContentMatch(
        all_match=count and assignable(required, found),
        count_match=count,
        colour_match=_covers(required, found, "color"),
        shape_match=_covers(required, found, "shape"),
    )


def assignable(required: Sequence[Attributes], found: Sequence[Attributes]) -> bool:
    """Tell whether each required object can have a found one to itself with all its attributes."""
    owner: dict[int, int] = {}

    def place(index: int, tried: set[int]) -> bool:
        for candidate, attributes in enumerate(found):
            if candidate in tried or not _has(attributes, required[index]):
                continue
            tried.add(candidate)
            # Kuhn's augmenting path: take a free object, or move its owner to another one.
            if candidate not in owner or place(owner[candidate], tried):
                owner[candidate] = index
                return True
        return False

    return all(place(index, set()) for index in range(len(required)))


def _has(attributes: Attributes, wanted: Attributes) -> bool:
    return all(attributes.get(name) == value for name, value in wanted.items())


def _covers(required: Sequence[Attributes], found: Sequence[Attributes], name: str) -> bool:
    wanted = Counter(item[name] for item in required if name in item)
    return wanted <= Counter(item[name] for item in found if name in item)
