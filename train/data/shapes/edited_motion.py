"""A picture is edited, and then the edited picture set in motion (paper Fig. 11)."""

from __future__ import annotations

from train.data.sample import Sample, Turn
from train.data.shapes import clip_invocations, edit_invocations, edits, referring, wording
from train.data.shapes.clip_animate import Animation, Rng, set_in_motion
from train.data.shapes.earlier import carried_out
from train.data.shapes.edits import Edit
from train.data.shapes.exchanges import BoolMask, Exchange, picture
from train.data.shapes.motion import FRAME_COUNTS
from train.data.shapes.referring import Referring
from train.data.shapes.scene import sample_scene

TASK = "image_to_video"
_KINDS = ("add",) * 4 + ("recolor", "replace", "move", "background", "remove")
_IT = ("it", "it", "this", "that one")


def build(split: str, index: int, seed: int, rng: Rng) -> Sample:
    """The four turns; mostly what was added or changed is to move."""
    while True:
        before = picture(sample_scene(rng, split))
        made = edits.edit(before.scene, rng, split, wording.pick(_KINDS, rng))
        asked = edit_invocations.asked(before, rng, made) if made else None
        moved = _motion(made, rng) if made and asked else None
        if asked and moved:
            break
    then = clip_invocations.animation(moved, rng)
    assert then.images is not None
    return Sample(
        id=f"shapes/{TASK}/{split}/{seed}/{index}",
        task=TASK,
        turns=(
            *carried_out(f"<image>\n{asked.user}", wording.EDIT_REPLIES, rng),
            Turn(role="user", text=f"<image>\n{_perhaps_now(then.user, rng)}"),
            Turn(role="assistant", text=then.assistant, invokes=True),
        ),
        images=(before.image, *then.images),
        marks=_marks(asked, then),
        condition_text=then.condition_text,
        target=then.target,
    )


def _motion(made: Edit, rng: Rng) -> Animation | None:
    """A motion of an object of the edited scene; what was changed may be called "it"."""
    what = _object(made, rng)
    moved = set_in_motion(made.scene, what, rng, FRAME_COUNTS[int(rng.integers(len(FRAME_COUNTS)))]) if what else None
    if moved and moved.index == made.result and rng.random() < 0.3:
        return moved._replace(said=wording.pick(_IT, rng))
    return moved


def _object(made: Edit, rng: Rng) -> Referring | None:
    if made.result is not None and rng.random() < 0.75:
        return referring.expression_for(made.scene, rng, made.result)
    found = referring.expressions(made.scene, rng, 1)
    return found[0] if found else None


def _perhaps_now(words: str, rng: Rng) -> str:
    return words if rng.random() < 0.65 or words.lower().startswith("now") else f"now {words}"


def _marks(asked: Exchange, then: Exchange) -> tuple[tuple[int, BoolMask], ...]:
    """What was drawn on the picture before and after the edit."""
    return (*asked.marks, *((index + 1, mask) for index, mask in then.marks))
