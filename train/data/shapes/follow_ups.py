"""Requests about media that the assistant made earlier in the conversation ("now make it blue", paper Fig. 11).

What was made stands in front of the user's next words, as when it is served (`vitron.prompt`). The earlier replies are
history: without their invocations, and not learned from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from train.data.sample import Sample, Turn
from train.data.shapes import captions, clip_dialogues, clip_words, dialogues, edited_motion, wording
from train.data.shapes.earlier import carried_out
from train.data.shapes.scene import scene_rng

Rng = np.random.Generator
_STREAM = 150
_PICTURE_TASKS = ("image_edit",) * 4 + ("image_to_video",) * 3 + ("segment_text", "segment_mark", "vqa", "caption")
_CLIP_TASKS = ("video_edit",) * 3 + ("track_text", "track_mark", "video_qa", "video_caption")
_IT = ("it", "it", "this", "that one", "the object")


def follow_up(split: str, index: int, seed: int = 0) -> Sample:
    """A picture that was drawn, and perhaps edited, and then a request about it; always the same one."""
    rng = scene_rng(split, index, seed, _STREAM)
    task = _PICTURE_TASKS[int(rng.integers(len(_PICTURE_TASKS)))]
    after_an_edit = rng.random() < 0.3
    if after_an_edit and task == edited_motion.TASK:
        return joined("follow_up", split, index, seed, [], edited_motion.build(split, index, seed, rng))
    sample = build_one(task, split, index, seed + 1)
    earlier = drawn(objects_of(sample), rng)
    if after_an_edit:
        edited = dialogues.build("image_edit", split, index, seed + 2)
        earlier = carried_out(edited.turns[0], wording.EDIT_REPLIES, rng)
        sample = _after_edit(edited, sample)
    return joined("follow_up", split, index, seed, earlier, spoken(sample, rng))


def video_follow_up(split: str, index: int, seed: int = 0) -> Sample:
    """A clip that was made, and then a request about it; always the same one."""
    rng = scene_rng(split, index, seed, _STREAM + 1)
    task = _CLIP_TASKS[int(rng.integers(len(_CLIP_TASKS)))]
    sample = clip_dialogues.build(task, split, index, seed + 1)
    earlier = filmed(objects_of(sample), rng)
    return joined("video_follow_up", split, index, seed, earlier, spoken(sample, rng))


BUILDERS: dict[str, Callable[[str, int, int], Sample]] = {
    "follow_up": follow_up,
    "video_follow_up": video_follow_up,
}


def build_one(task: str, split: str, index: int, seed: int) -> Sample:
    """A sample of a task on pictures or on clips."""
    module = clip_dialogues if task in clip_dialogues.TASKS else dialogues
    return module.build(task, split, index, seed)


def filmed(objects: Sequence[Mapping[str, str]], rng: Rng) -> list[Turn]:
    """The turns in which a clip of some objects was asked for and made."""
    user = wording.polish(wording.pick(clip_words.GENERATE, rng).format(_listed(objects)), rng)
    return carried_out(user, clip_words.GENERATE_REPLIES, rng)


def drawn(objects: Sequence[Mapping[str, str]], rng: Rng) -> list[Turn]:
    """The turns in which a picture of some objects was asked for and made."""
    return carried_out(wording.command(wording.GENERATE, rng, what=_listed(objects)), wording.GENERATE_REPLIES, rng)


def _after_edit(edited: Sample, sample: Sample) -> Sample:
    """The request put behind an edit: the edited picture comes second, so marks move on by one."""
    marks = (*edited.marks, *((index + 1, mask) for index, mask in sample.marks))
    return dataclasses.replace(sample, images=(*edited.images, *sample.images), marks=marks)


def objects_of(sample: Sample) -> list[Mapping[str, str]]:
    """What the earlier request named: some objects of the target, or none that matters."""
    found: Any = sample.target.get("required") or []
    return [each for each in found if "shape" in each][:2]


def _listed(objects: Sequence[Mapping[str, str]]) -> str:
    named = [captions.article(f"{o.get('size', '')} {o['color']} {o['shape']}".strip()) for o in objects]
    return captions.join(named) if named else "some shapes"


def spoken(sample: Sample, rng: Rng) -> Sample:
    """The request with "now", and with "it" where only one object can be meant."""
    user = sample.turns[-2].text
    wanted = sample.target.get("required", ())
    head, _, words = user.rpartition("\n")
    if sample.task == "image_edit" and sample.target["kind"] in ("recolor", "move") and len(wanted) == 1:
        if not sample.marks and rng.random() < 0.8:
            words = _with_it(sample, rng)
    elif sample.task == "image_to_video" and len(wanted) == 1 and not sample.marks and rng.random() < 0.8:
        toward = wording.pick(clip_words.TOWARD_SPOKEN[sample.target["direction"]], rng)
        it = wording.pick(_IT, rng)
        words = wording.polish(wording.pick(clip_words.ANIMATE, rng).format(what=it, toward=toward), rng)
    if rng.random() < 0.35 and not words.lower().startswith("now"):
        words = f"now {words}"
    turns = (*sample.turns[:-2], dataclasses.replace(sample.turns[-2], text=f"{head}\n{words}"), sample.turns[-1])
    return dataclasses.replace(sample, turns=turns)


def _with_it(sample: Sample, rng: Rng) -> str:
    kind, instruction = sample.target["kind"], sample.turns[-1].text.split("</Instruction>")[0]
    words = {"what": wording.pick(_IT, rng)}
    if kind == "recolor":
        words["color"] = sample.target["required"][0]["color"]
    else:
        words["place"] = instruction.rpartition(" to ")[2]
    return wording.command(wording.IMAGE_EDITS[kind], rng, **words)


def joined(task: str, split: str, index: int, seed: int, earlier: Sequence[Turn], sample: Sample) -> Sample:
    """The sample with earlier turns in front, as one of `task`; its own task stays in the target."""
    turns = (*earlier, *sample.turns)
    target = {**sample.target, "task": sample.task}
    return dataclasses.replace(
        sample, id=f"shapes/{task}/{split}/{seed}/{index}", task=task, turns=turns, target=target
    )
