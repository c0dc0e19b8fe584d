"""Every dialogue of the Shapes world by task name, on pictures and on clips, and on media from outside it."""

from __future__ import annotations

from collections.abc import Callable

from train.data.sample import Sample
from train.data.shapes import clip_dialogues, dialogues, follow_ups, sessions
from train.data.shapes.unfamiliar import TASK as UNFAMILIAR
from train.data.shapes.unfamiliar import unfamiliar

BUILDERS: dict[str, Callable[[str, int, int], Sample]] = {
    **follow_ups.BUILDERS,
    sessions.TASK: sessions.session,
    UNFAMILIAR: unfamiliar,
}
"""Of the tasks that have several turns, or show media from outside."""
TASKS: tuple[str, ...] = (*dialogues.TASKS, *clip_dialogues.TASKS, *BUILDERS)


def build(task: str, split: str, index: int, seed: int = 0) -> Sample:
    """Return the sample number `index` of a task; always the same one."""
    if task in BUILDERS:
        return BUILDERS[task](split, index, seed)
    if task in clip_dialogues.TASKS:
        return clip_dialogues.build(task, split, index, seed)
    return dialogues.build(task, split, index, seed)
