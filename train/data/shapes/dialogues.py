"""Dialogues of the Shapes world by task name, each reproducible from (task, split, index, seed)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from train.data.sample import Sample, Turn
from train.data.shapes import chat, edit_invocations, exchanges, invocations
from train.data.shapes.exchanges import Exchange, Picture
from train.data.shapes.scene import sample_scene, scene_at, scene_rng

Rng = np.random.Generator
Builder = Callable[[Picture, Rng, str], Exchange | None]


def _small_talk(pic: Picture, rng: Rng, split: str) -> Exchange:
    user, answer = chat.small_talk(rng)
    return Exchange(user=user, assistant=answer, images=(), target={"answer": answer})


def _small_talk_about(pic: Picture, rng: Rng, split: str) -> Exchange:
    """Small talk beside a picture: sending one does not ask for anything to be done with it."""
    user, answer = chat.small_talk(rng)
    return Exchange(user=user, assistant=answer, target={"answer": answer})


# Every task of the world on pictures; builders return None when a scene does not lend itself.
BUILDERS: dict[str, Builder] = {
    "caption": lambda pic, rng, split: exchanges.caption(pic, rng),
    "region_caption": lambda pic, rng, split: exchanges.region_caption(pic, rng),
    "vqa": lambda pic, rng, split: exchanges.vqa(pic, rng),
    "region_vqa": lambda pic, rng, split: exchanges.region_vqa(pic, rng),
    "rec": lambda pic, rng, split: exchanges.rec(pic, rng),
    "grounded_caption": lambda pic, rng, split: exchanges.grounded_caption(pic, rng),
    "generate": lambda pic, rng, split: invocations.generate(pic, rng),
    "generate_like": invocations.generate_like,
    "segment_text": lambda pic, rng, split: invocations.segment_text(pic, rng),
    "segment_mark": lambda pic, rng, split: invocations.segment_mark(pic, rng),
    "segment_reference": invocations.segment_reference,
    "chat": _small_talk,
    "chat_picture": _small_talk_about,
    "grounded_vqa": lambda pic, rng, split: exchanges.grounded_vqa(pic, rng),
    "vqa_compare": lambda pic, rng, split: exchanges.vqa_compare(pic, rng),
    "image_edit": edit_invocations.image_edit,
}
TASKS: tuple[str, ...] = tuple(BUILDERS)
PACKED_TASKS: tuple[str, ...] = (
    "caption",
    "vqa",
    "vqa",
    "vqa",
    "rec",
    "rec",
    "region_caption",
    "region_vqa",
    "grounded_caption",
)
# Streams of random numbers: 0 draws the scene, these draw what is said about it. A task's stream is
# its place in TASKS, so new tasks go to the end.
_MIXED_STREAM = 1
_PACKED_STREAM = 2
_FIRST_TASK_STREAM = 10


def build(task: str, split: str, index: int, seed: int = 0) -> Sample:
    """The sample number `index` of a task; always the same one."""
    if task not in BUILDERS:
        raise ValueError(f"task is {task!r}, must be one of {', '.join(TASKS)}")
    rng = scene_rng(split, index, seed, _FIRST_TASK_STREAM + TASKS.index(task))
    scene = scene_at(split, index, seed)
    while True:
        made = BUILDERS[task](exchanges.picture(scene), rng, split)
        if made is not None:
            break
        scene = sample_scene(rng, split)
    images = (exchanges.picture(scene).image,) if made.images is None else made.images
    turns = (
        Turn(role="user", text="<image>\n" * len(images) + made.user),
        Turn(role="assistant", text=made.assistant, invokes=made.invokes),
    )
    return Sample(
        id=f"shapes/{task}/{split}/{seed}/{index}",
        task=task,
        turns=turns,
        images=images,
        marks=made.marks,
        condition_text=made.condition_text,
        target=made.target,
    )


def mixed(split: str, index: int, weights: Mapping[str, float], seed: int = 0) -> Sample:
    """The sample number `index` of a mixture of tasks with the given relative weights."""
    total = sum(weights.values())
    if total <= 0.0 or min(weights.values()) < 0.0:
        raise ValueError(f"weights are {dict(weights)}, must be at least 0 with a positive sum")
    rng = scene_rng(split, index, seed, _MIXED_STREAM)
    names = list(weights)
    task = names[int(rng.choice(len(names), p=[weights[name] / total for name in names]))]
    return build(task, split, index, seed)


def packed(split: str, index: int, n_turns: int, seed: int = 0, tasks: tuple[str, ...] = PACKED_TASKS) -> Sample:
    """Several exchanges about one picture in one conversation, drawn from `tasks`.

    A forward pass over a picture is then paid once for several answers. `target` holds "answers",
    "tasks" and "targets", one per exchange; there may be fewer than `n_turns` on a poor scene.
    """
    if n_turns < 1:
        raise ValueError(f"n_turns is {n_turns}, must be at least 1")
    rng = scene_rng(split, index, seed, _PACKED_STREAM)
    pic = exchanges.picture(scene_at(split, index, seed))
    made: dict[str, tuple[str, Exchange]] = {}
    for _ in range(4 * n_turns):
        if len(made) >= n_turns:
            break
        task = tasks[int(rng.integers(len(tasks)))]
        exchange = BUILDERS[task](pic, rng, split)
        if exchange is not None and not _repeats(task, exchange, made):
            made[exchange.user] = (task, exchange)
    turns: list[Turn] = []
    for _, exchange in made.values():
        prefix = "" if turns else "<image>\n"
        turns.append(Turn(role="user", text=prefix + exchange.user))
        turns.append(Turn(role="assistant", text=exchange.assistant))
    return Sample(
        id=f"shapes/packed{n_turns}/{split}/{seed}/{index}",
        task="packed",
        turns=tuple(turns),
        images=(pic.image,),
        marks=tuple(mark for _, exchange in made.values() for mark in exchange.marks),
        target={
            "answers": tuple(exchange.assistant for _, exchange in made.values()),
            "tasks": tuple(task for task, _ in made.values()),
            "targets": tuple(exchange.target for _, exchange in made.values()),
        },
    )


def _repeats(task: str, exchange: Exchange, made: Mapping[str, tuple[str, Exchange]]) -> bool:
    """Whether the exchange says again what an earlier one of the same kind said."""
    return exchange.user in made or any(
        task == earlier and task in ("caption", "grounded_caption") for earlier, _ in made.values()
    )
