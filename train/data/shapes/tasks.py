"""Every dialogue of the Shapes world by task name, on pictures and on clips, and on media from outside it."""

from __future__ import annotations

from train.data.sample import Sample
from train.data.shapes import clip_dialogues, dialogues, follow_ups, sessions
from train.data.shapes.unfamiliar import TASK as UNFAMILIAR
from train.data.shapes.unfamiliar import unfamiliar

TASKS: tuple[str, ...] = (*dialogues.TASKS, *clip_dialogues.TASKS, *follow_ups.BUILDERS, sessions.TASK, UNFAMILIAR)


def build(task: str, split: str, index: int, seed: int = 0) -> Sample:
    """Return the sample number `index` of a task; always the same one."""
    if task in follow_ups.BUILDERS:
        return follow_ups.BUILDERS[task](split, index, seed)
    if task == sessions.TASK:
        return sessions.session(split, index, seed)
    if task == UNFAMILIAR:
        return unfamiliar(split, index, seed)
    if task in clip_dialogues.TASKS:
        return clip_dialogues.build(task, split, index, seed)
    return dialogues.build(task, split, index, seed)
