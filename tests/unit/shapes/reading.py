"""An evaluator of noun phrases and questions that shares no code with what wrote them."""

from __future__ import annotations

import re

from train.data.shapes.scene import COLORS, SHAPES, SIZES, Object, Scene

PLACES = {
    (0, 0): "at the top left", (1, 0): "at the top", (2, 0): "at the top right",
    (0, 1): "on the left", (1, 1): "in the center", (2, 1): "on the right",
    (0, 2): "at the bottom left", (1, 2): "at the bottom", (2, 2): "at the bottom right",
}  # fmt: skip
NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}


def place(obj: Object) -> str:
    """The place phrase of an object."""
    return PLACES[(int(obj.x // (64 / 3)), int(obj.y // (64 / 3)))]


def meant(scene: Scene, text: str) -> list[int]:
    """Objects of which a phrase such as "the large red circle at the top left" is true."""
    body = text.removeprefix("the ")
    at = re.search(r" (?:at the|on the|in the) .*$", body)
    where = at[0].strip() if at else None
    words = (body[: at.start()] if at else body).split()
    found = []
    for i, obj in enumerate(scene.objects):
        facts = {obj.size, obj.color, obj.shape, "object"}
        if set(words) <= facts and (where is None or place(obj) == where):
            found.append(i)
    return found


def extreme(scene: Scene, among: list[int], word: str) -> int:
    """The leftmost (or so) of some objects."""
    key = {
        "leftmost": lambda o: o.x, "rightmost": lambda o: -o.x, "topmost": lambda o: o.y,
        "bottommost": lambda o: -o.y, "largest": lambda o: -o.radius, "biggest": lambda o: -o.radius,
        "smallest": lambda o: o.radius,
    }[word]  # fmt: skip
    return min(among, key=lambda i: key(scene.objects[i]))


def standing(scene: Scene, relation: str, anchor: int) -> list[int]:
    """Objects strictly on the named side of another."""
    base = scene.objects[anchor]
    side = relation.removeprefix("to the ").removesuffix(" of")
    test = {
        "left": lambda o: o.x < base.x, "right": lambda o: o.x > base.x,
        "above": lambda o: o.y < base.y, "over": lambda o: o.y < base.y,
        "below": lambda o: o.y > base.y, "under": lambda o: o.y > base.y,
    }[side]  # fmt: skip
    return [i for i, o in enumerate(scene.objects) if i != anchor and test(o)]


def caption_holds(scene: Scene, caption: str) -> bool:
    """Whether every object group a caption names exists in that number, with the background."""
    background = re.search(r"(white|gray|black|brown)", caption)
    if background and background[0] != scene.background.color:
        return False
    size, color = f"(?:({'|'.join(SIZES)}) )?", f"({'|'.join(COLORS)})"
    shape = f"({'|'.join(SHAPES)})"
    where = r"((?: at the| on the| in the) (?:top|bottom|left|right|center)(?: left| right)?)?"
    pattern = rf"\b(an?|one|two|three|four) {size}{color} {shape}(?:e?s)?\b{where}"
    wanted: dict[tuple[str, ...], int] = {}
    for number, *facts in re.findall(pattern, caption):
        key = (facts[0], facts[1], facts[2], facts[3].strip())
        wanted[key] = wanted.get(key, 0) + NUMBERS[number]
    for (s, c, sh, where), count in wanted.items():
        like = [
            o for o in scene.objects if s in ("", o.size) and c == o.color and sh == o.shape and where in ("", place(o))
        ]
        if len(like) != count:
            return False
    return sum(wanted.values()) == len(scene.objects)
