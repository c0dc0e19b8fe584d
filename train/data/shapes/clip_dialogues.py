"""Dialogues about clips by task name, each reproducible from (task, split, index, seed).

`Sample.target` holds what a scorer needs. Marks on a clip carry their frame in `target["mark_frame"]`; frame numbers
count from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from train.data.sample import Sample, Turn
from train.data.shapes import clip_exchanges, clip_invocations
from train.data.shapes.exchanges import Exchange
from train.data.shapes.motion import clip_at, sample_clip
from train.data.shapes.render_clip import Footage, film
from train.data.shapes.scene import scene_rng

Rng = np.random.Generator
Builder = Callable[[Footage, Rng, str], Exchange | None]

# A long description makes a weak condition, and the tiny text encoder reads 48 tokens.
MAX_GENERATED = 2


def _generate(clip_film: Footage, rng: Rng, split: str) -> Exchange | None:
    return clip_invocations.generate(clip_film, rng) if len(clip_film.clip.movers) <= MAX_GENERATED else None


# Every task of the world on clips; builders return None when a clip does not lend itself.
BUILDERS: dict[str, Builder] = {
    "video_caption": lambda clip_film, rng, split: clip_exchanges.caption(clip_film, rng),
    "video_qa": lambda clip_film, rng, split: clip_exchanges.question(clip_film, rng),
    "video_grounding": lambda clip_film, rng, split: clip_exchanges.grounding(clip_film, rng),
    "grounded_video_qa": lambda clip_film, rng, split: clip_exchanges.grounded_question(clip_film, rng),
    "track_text": lambda clip_film, rng, split: clip_invocations.track_text(clip_film, rng),
    "track_mark": lambda clip_film, rng, split: clip_invocations.track_mark(clip_film, rng),
    "video_generate": _generate,
    "image_to_video": lambda clip_film, rng, split: clip_invocations.image_to_video(rng, split, clip_film.clip.frames),
    "video_edit": clip_invocations.edit,
    "video_grounded_caption": lambda clip_film, rng, split: clip_exchanges.grounded_caption(clip_film, rng),
    "video_motion": lambda clip_film, rng, split: clip_exchanges.motion_question(clip_film, rng),
    "video_place": lambda clip_film, rng, split: clip_exchanges.place(clip_film, rng),
}
TASKS: tuple[str, ...] = tuple(BUILDERS)
PACKED_TASKS: tuple[str, ...] = (
    "video_caption",
    *("video_qa",) * 4,
    *("video_grounding",) * 2,
    "video_grounded_caption",
    "grounded_video_qa",
)
"""What packed conversations are made of by default: tasks without marks and invocations."""
_PACKABLE = (*PACKED_TASKS, "video_motion", "video_place")
# Streams of random numbers: clips are drawn from `motion.CLIP_STREAM`, what is said about them from these. A task's
# stream is its place in TASKS, so new tasks go to the end.
_MIXED_STREAM = 101
_PACKED_STREAM = 102
_FIRST_TASK_STREAM = 110


def build(task: str, split: str, index: int, seed: int = 0, *, frames: int | None = None) -> Sample:
    """The sample number `index` of a task; always the same one.

    Args:
        task: one of TASKS.
        split: as for pictures.
        index: number of the sample.
        seed: of the whole set.
        frames: length of the clip, at least 8; None: 8, 12 or 16.
    """
    if task not in BUILDERS:
        raise ValueError(f"task is {task!r}, must be one of {', '.join(TASKS)}")
    rng = scene_rng(split, index, seed, _FIRST_TASK_STREAM + TASKS.index(task))
    clip_film = film(clip_at(split, index, seed, frames))
    while True:
        made = BUILDERS[task](clip_film, rng, split)
        if made is not None:
            return _sample(f"shapes/{task}/{split}/{seed}/{index}", task, clip_film, made)
        clip_film = film(sample_clip(rng, split, frames))


def mixed(split: str, index: int, weights: Mapping[str, float], seed: int = 0) -> Sample:
    """The sample number `index` of a mixture of tasks with the given relative weights."""
    total = sum(weights.values())
    if total <= 0.0 or min(weights.values()) < 0.0:
        raise ValueError(f"weights are {dict(weights)}, must be at least 0 with a positive sum")
    rng = scene_rng(split, index, seed, _MIXED_STREAM)
    names = list(weights)
    task = names[int(rng.choice(len(names), p=[weights[name] / total for name in names]))]
    return build(task, split, index, seed)


def packed(
    split: str,
    index: int,
    n_turns: int,
    seed: int = 0,
    tasks: tuple[str, ...] = PACKED_TASKS,
    *,
    frames: int | None = None,
) -> Sample:
    """Several exchanges about one clip in one conversation, drawn from `tasks`.

    A forward pass over a clip is then paid once for several answers. `target` holds "answers", "tasks" and "targets",
    one per exchange; there may be fewer than `n_turns` on a poor clip.
    """
    if n_turns < 1:
        raise ValueError(f"n_turns is {n_turns}, must be at least 1")
    unfit = sorted(set(tasks) - set(_PACKABLE))
    if unfit or not tasks:
        raise ValueError(f"tasks are {unfit or 'none'}, must be some of {', '.join(dict.fromkeys(_PACKABLE))}")
    rng = scene_rng(split, index, seed, _PACKED_STREAM)
    clip_film = film(clip_at(split, index, seed, frames))
    made: dict[str, tuple[str, Exchange]] = {}
    while not made:
        for _ in range(4 * n_turns):
            if len(made) >= n_turns:
                break
            task = tasks[int(rng.integers(len(tasks)))]
            exchange = BUILDERS[task](clip_film, rng, split)
            if exchange is not None and not _repeats(task, exchange, made):
                made[exchange.user] = (task, exchange)
        clip_film = clip_film if made else film(sample_clip(rng, split, frames))
    turns: list[Turn] = []
    for _, exchange in made.values():
        prefix = "" if turns else "<video>\n"
        turns.append(Turn(role="user", text=prefix + exchange.user))
        turns.append(Turn(role="assistant", text=exchange.assistant))
    return Sample(
        id=f"shapes/video_packed{n_turns}/{split}/{seed}/{index}",
        task="video_packed",
        turns=tuple(turns),
        clips=(clip_film.frames,),
        target={
            "answers": tuple(exchange.assistant for _, exchange in made.values()),
            "tasks": tuple(task for task, _ in made.values()),
            "targets": tuple(exchange.target for _, exchange in made.values()),
        },
    )


def _sample(id: str, task: str, clip_film: Footage, made: Exchange) -> Sample:
    """Joins an exchange with its media: the clip, unless the exchange brings pictures of its own, or none."""
    images = made.images or ()
    clips = (clip_film.frames,) if made.images is None else ()
    placeholders = "<image>\n" * len(images) + "<video>\n" * len(clips)
    return Sample(
        id=id,
        task=task,
        turns=(
            Turn(role="user", text=placeholders + made.user),
            Turn(role="assistant", text=made.assistant, invokes=made.invokes),
        ),
        images=images,
        clips=clips,
        marks=made.marks,
        condition_text=made.condition_text,
        target=made.target,
    )


def _repeats(task: str, exchange: Exchange, made: Mapping[str, tuple[str, Exchange]]) -> bool:
    """Whether the exchange says again what an earlier one of the same kind said."""
    once = ("video_caption", "video_grounded_caption")
    if exchange.user in made or any(task == earlier and task in once for earlier, _ in made.values()):
        return True
    # Asked again in other words, where something goes would be read off the first answer.
    known = [said.target for earlier, said in made.values() if earlier == task == "video_motion"]
    return any(all(exchange.target[key] == target[key] for key in ("kind", "answer")) for target in known)
