"""What a user asks to see in a video: part of a clip, in the user's words and in canonical ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from train.data.shapes import captions, clip_captions
from train.data.shapes.clip_captions import Noun
from train.data.shapes.motion import Clip, Mover
from train.data.shapes.scene import Object
from train.data.shapes.wording import BACKGROUND_WORDS, SIZE_WORDS, pick

Rng = np.random.Generator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A request for a video.

    Attributes:
        text: as the user says it.
        canonical: the same content in the fixed wording of captions, nothing added.
        order: numbers of the movers, in which they are named.
        target: "required" (what each mover must be and do), "background" (name or None), "exact".
    """

    text: str
    canonical: str
    order: tuple[int, ...]
    target: dict[str, Any]


def ask(clip: Clip, rng: Rng, *, relative: bool) -> Asked:
    """A request that the clip fulfils, asking for its movers with some of their attributes.

    Args:
        clip: what is asked for.
        rng: draws wording, order, and which attributes are named.
        relative: objects with relative clauses ("a circle that moves up") instead of sentences.
    """
    with_size = bool(rng.random() < 0.6) or _alike(clip)
    with_speed = bool(rng.random() < 0.4) and len(clip.movers) == 1
    order = [int(i) for i in rng.permutation(len(clip.movers))]
    canonical_noun: Noun = captions.describe if with_size else captions.name

    def spoken_noun(obj: Object) -> str:
        size = f"{pick(SIZE_WORDS[obj.size], rng)} " if with_size else ""
        return f"{size}{captions.name(obj)}"

    link = " that " if relative else " "
    spoken = [
        f"{captions.article(spoken_noun(mover.looks))}{link}"
        f"{clip_captions.spoken_action(clip, mover, rng, spoken_noun, speed=with_speed)}"
        for mover in (clip.movers[i] for i in clip_captions.spoken_movers(clip, order))
    ]
    text = captions.join(spoken)
    canonical = captions.join(clip_captions.sentences(clip, canonical_noun, order=order, speed=with_speed))
    background = None
    if rng.random() < 0.75:
        background = clip.background.color
        text = pick(BACKGROUND_WORDS, rng).format(text, background)
        canonical = clip_captions.on_background(canonical, clip)
    wanted = [required(clip.movers[i], size=with_size, speed=with_speed) for i in order]
    target = {"required": wanted, "background": background, "exact": True}
    return Asked(text=text, canonical=canonical, order=tuple(order), target=target)


def required(mover: Mover, *, size: bool = True, speed: bool = False) -> dict[str, str]:
    """What a mover must look like and do: "shape", "color", "direction", "event", perhaps "size" and "speed"."""
    looks, path = mover.looks, mover.path
    wanted = {"shape": looks.shape, "color": looks.color, "direction": path.direction, "event": path.event}
    if size:
        wanted["size"] = looks.size
    if speed and path.moves:
        wanted["speed"] = path.speed
    return wanted


def _alike(clip: Clip) -> bool:
    """Whether some movers differ in size alone, so that it has to be said."""
    names = {(m.looks.color, m.looks.shape, m.path.direction, m.path.event) for m in clip.movers}
    return len(names) < len(clip.movers)
