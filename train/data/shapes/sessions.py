"""Requests in front of two media, of which the assistant made one and the user brings the other (paper Fig. 11).

The words decide which is meant ("add a star to the video"); without such words it is what came last: what the user
brings, or its edit.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from train.data.sample import Sample
from train.data.shapes import clip_dialogues, clip_words, dialogues, edited_motion, wording
from train.data.shapes.earlier import carried_out
from train.data.shapes.exchanges import picture
from train.data.shapes.follow_ups import build_one, drawn, filmed, joined, objects_of
from train.data.shapes.motion import clip_at
from train.data.shapes.render_clip import film
from train.data.shapes.scene import scene_at, scene_rng

Rng = np.random.Generator
TASK = "session"
_STREAM = 152
_PICTURE_TASKS = ("image_edit",) * 7 + ("image_to_video",) * 5 + ("segment_text", "segment_mark", "vqa", "caption")
_CLIP_TASKS = ("video_edit",) * 3 + ("track_text", "video_qa", "video_caption")
_KINDS = ("add",) * 5 + ("background",) * 2 + ("recolor", "remove")
"""More of those that name no object, which are easily taken for edits of the other medium; all can say which it is
(replacing part of a picture cannot), and both media know them (nothing is moved in a clip)."""
_NAMES = {"image_edit": ("picture", "image"), "video_edit": ("video", "clip")}
_NAMED = re.compile(r"\b(?:the|this) (picture|image|video|clip)\b")
_GROUND = re.compile(r"\bthe background\b(?! of)")
_WHOSE = ("the", "the", "this", "my")
_ANOTHER = 1000
"""Distance of the seeds that are tried until a sample is as wanted."""


def session(split: str, index: int, seed: int = 0) -> Sample:
    """A request about one of two media; always the same one.

    Mostly a clip was made and the user brings a picture, whose edit may then be set in motion.
    """
    rng = scene_rng(split, index, seed, _STREAM)
    kind = rng.random()
    make = _either if kind < 0.3 else _own_clip if kind < 0.5 else _own_picture
    return make(split, index, seed, rng)


def _own_picture(split: str, index: int, seed: int, rng: Rng) -> Sample:
    """A clip that was made, and then a request about a picture that the user brings, or about its edit."""
    made = clip_dialogues.build("video_generate", split, index, seed + 3)
    clip = made.target["clip"]
    earlier = carried_out(made.turns[0], clip_words.GENERATE_REPLIES, rng)
    task = wording.pick(_PICTURE_TASKS, rng)
    if task == "image_to_video" and rng.random() < 0.8:
        sample = edited_motion.build(split, index, seed, rng)
    else:
        sample = _request(task, split, index, seed + 1, rng)
    return joined(TASK, split, index, seed, earlier, dataclasses.replace(_led(sample, "<video>"), clips=(clip,)))


def _own_clip(split: str, index: int, seed: int, rng: Rng) -> Sample:
    """A picture that was drawn, and then a request about a clip that the user brings, without a mark."""
    task = wording.pick(_CLIP_TASKS, rng)
    sample = _request(task, split, index, seed + 1, rng)
    made = dialogues.build("generate", split, index, seed + 3)
    earlier = carried_out(made.turns[0], wording.GENERATE_REPLIES, rng)
    sample = dataclasses.replace(_led(sample, "<image>"), images=(made.target["image"],))
    return joined(TASK, split, index, seed, earlier, sample)


def _either(split: str, index: int, seed: int, rng: Rng) -> Sample:
    """An edit of one of the two that says which, whether made or brought."""
    task = "image_edit" if rng.random() < 0.5 else "video_edit"
    clip_made = bool(rng.random() < 0.7)
    sample = _edit(task, split, index, seed + 1, rng, named=True)
    meant = objects_of(sample)
    if task == "image_edit":
        footage = film(clip_at(split, index, seed + 3))
        sample = dataclasses.replace(sample, clips=(footage.frames,))
        earlier = filmed([], rng) if clip_made else drawn(meant, rng)
    else:
        sample = dataclasses.replace(sample, images=(picture(scene_at(split, index, seed + 3)).image,))
        earlier = filmed(meant, rng) if clip_made else drawn([], rng)
    media = "<video>\n<image>\n" if clip_made else "<image>\n<video>\n"
    words = sample.turns[0].text.rpartition("\n")[2]
    user = dataclasses.replace(sample.turns[0], text=media + words)
    sample = dataclasses.replace(sample, turns=(user, *sample.turns[1:]))
    return joined(TASK, split, index, seed, earlier, sample)


def _request(task: str, split: str, index: int, seed: int, rng: Rng) -> Sample:
    """A request about one medium; on a clip to be edited nothing is drawn."""
    if task in _NAMES:
        return _edit(task, split, index, seed, rng)
    return build_one(task, split, index, seed)


def _edit(task: str, split: str, index: int, seed: int, rng: Rng, *, named: bool = False) -> Sample:
    """An edit, more often one that names no object; `named`: its words say of which medium."""
    kind = wording.pick(_KINDS if named else (*_KINDS, "replace"), rng)
    while True:
        sample = build_one(task, split, index, seed)
        head, _, words = sample.turns[0].text.rpartition("\n")
        said = _naming(words, task, rng) if named else words
        if sample.target["kind"] == kind and said and not (task == "video_edit" and sample.marks):
            user = dataclasses.replace(sample.turns[0], text=f"{head}\n{said}")
            return dataclasses.replace(sample, turns=(user, *sample.turns[1:]))
        seed += _ANOTHER


def _naming(words: str, task: str, rng: Rng) -> str:
    """The request saying which medium's, in several ways; "" if it has no place for that."""
    words = _GROUND.sub(f"the background of the {wording.pick(_NAMES[task], rng)}", words)
    return _NAMED.sub(lambda found: f"{wording.pick(_WHOSE, rng)} {found[1]}", words) if _NAMED.search(words) else ""


def _led(sample: Sample, medium: str) -> Sample:
    """The conversation with another medium in front of its first words."""
    user = dataclasses.replace(sample.turns[0], text=f"{medium}\n{sample.turns[0].text}")
    return dataclasses.replace(sample, turns=(user, *sample.turns[1:]))
