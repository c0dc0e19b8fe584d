"""Which objects a noun phrase means: the base of questions and referring expressions."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from train.data.shapes.captions import place, plural
from train.data.shapes.scene import Object, Scene, position_word

ATTRIBUTES: tuple[str, ...] = ("size", "color", "shape", "position")


class Description(NamedTuple):
    """A noun phrase: the attributes it names; those it leaves open are None."""

    size: str | None = None
    color: str | None = None
    shape: str | None = None
    position: str | None = None

    def noun(self, many: bool = False) -> str:
        """The phrase without its place, as in "large red circle" or "red objects"."""
        noun = self.shape or "object"
        words = [self.size, self.color, plural(noun) if many else noun]
        return " ".join(word for word in words if word)

    def short(self) -> str:
        """Colour and shape only, as far as they are named: what an instruction says."""
        return Description(color=self.color, shape=self.shape).noun()

    def fits(self, obj: Object, scene: Scene, loosely: bool = False) -> bool:
        """Whether the phrase is true of the object.

        Loosely, "top" also covers "top left": a reader may take it so, so that no phrase relies on
        the narrow sense to be unambiguous.
        """
        named = ((self.size, obj.size), (self.color, obj.color), (self.shape, obj.shape))
        if any(wanted is not None and wanted != actual for wanted, actual in named):
            return False
        if self.position is None:
            return True
        actual = position_word(obj, scene.width, scene.height)
        if loosely:
            return set(self.position.split()) <= set(actual.split())
        return self.position == actual


def select(scene: Scene, description: Description, loosely: bool = False) -> list[int]:
    """Indices of the objects of which the phrase is true."""
    return [i for i, obj in enumerate(scene.objects) if description.fits(obj, scene, loosely)]


def of(scene: Scene, i: int, attributes: tuple[str, ...]) -> Description:
    """The description of an object by the given attributes."""
    obj = scene.objects[i]
    values = {"size": obj.size, "color": obj.color, "shape": obj.shape}
    values["position"] = position_word(obj, scene.width, scene.height)
    return Description(**{name: values[name] for name in attributes})


def phrase(scene: Scene, i: int, description: Description) -> str:
    """The whole noun phrase, as in "red circle at the top left"."""
    if description.position is None:
        return description.noun()
    return f"{description.noun()} {place(scene.objects[i], scene)}"


def unique(scene: Scene, i: int, without: tuple[str, ...] = ()) -> list[Description]:
    """Every description that singles out object `i`, fewest attributes first."""
    allowed = [name for name in ATTRIBUTES if name not in without]
    found = []
    for count in range(len(allowed) + 1):
        for attributes in itertools.combinations(allowed, count):
            description = of(scene, i, attributes)
            if select(scene, description, loosely=True) == [i]:
                found.append(description)
    return found
