"""What is asked in an evaluation: held-out samples by task, as conversations of the assistant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from train.data.layout import messages
from train.data.sample import Sample
from train.data.shapes import tasks
from vitron.invocation import parse_reply
from vitron.types import Invocation, Message, MessageMode

KINDS: dict[str, tuple[str, ...]] = {
    "rec": ("rec",),
    "vqa": ("vqa",),
    "region_vqa": ("region_vqa",),
    "region_caption": ("region_caption",),
    "chat": ("chat",),
    "segmentation": ("segment_text", "segment_mark", "segment_reference"),
    "image_generation": ("generate", "generate_like"),
    "video_generation": ("video_generate",),
    "image_to_video": ("image_to_video",),
    "image_editing": ("image_edit",),
    "video_editing": ("video_edit",),
    "caption": ("caption",),
    "video_qa": ("video_qa",),
    "video_grounding": ("video_grounding",),
    "track_text": ("track_text",),
    "track_mark": ("track_mark",),
    "session": ("session",),
    "unfamiliar": ("unfamiliar",),
}
"""Task to the dialogues that make it up, in equal shares."""
UNSCORED = ("chat", "session", "unfamiliar")
"""Tasks that are asked for what is written alone ("module", "invocation"): no invocation of theirs is carried out."""
SAMPLES = {
    **dict.fromkeys(KINDS, 500),
    "image_generation": 240,
    "image_editing": 300,
    "track_text": 300,
    "track_mark": 300,
    "video_generation": 300,
    "image_to_video": 300,
    "video_editing": 300,
    "session": 300,
    "unfamiliar": 300,
}
"""How many samples of a task are asked unless told otherwise: fewer where each takes seconds."""
WRITTEN_TASKS = ("module", "invocation")
"""Scored from the text of all other tasks' predictions; they ask nothing themselves."""
SPECIALIST_TASKS = (
    "segmentation",
    "image_generation",
    "video_generation",
    "image_to_video",
    "image_editing",
    "video_editing",
    "track_text",
    "track_mark",
)
"""Tasks whose result depends on what reaches the specialist; the others run in one mode."""
SPLITS = ("test", "compositional")


@dataclass(frozen=True)
class Item:
    """One sample to be asked; `kind` is the name of its dialogue."""

    task: str
    kind: str
    split: str
    index: int
    seed: int

    @property
    def key(self) -> str:
        """Name of the sample, stable between runs."""
        return f"{self.kind}/{self.split}/{self.seed}/{self.index}"

    def sample(self) -> Sample:
        """Build the sample."""
        return tasks.build(self.kind, self.split, self.index, self.seed)


def items(task: str, split: str, count: int, seed: int = 0) -> Iterator[Item]:
    """Yield the first `count` samples of a task, its kinds in turn."""
    if task not in KINDS:
        raise ValueError(f"task: got {task!r}, expected one of {', '.join(KINDS)}")
    kinds = KINDS[task]
    for number in range(count):
        index, kind = divmod(number, len(kinds))
        yield Item(task, kinds[kind], split, index, seed)


def modes(task: str, wanted: tuple[MessageMode, ...]) -> tuple[MessageMode, ...]:
    """Return the modes in which `task` is to be run: all that differ."""
    return wanted if task in SPECIALIST_TASKS else wanted[:1]


def conversation(sample: Sample) -> list[Message]:
    """Return the turns up to the answer that is asked for, with their media and drawings."""
    return messages(sample)[:-1]


def expected_invocation(sample: Sample) -> Invocation | None:
    """Return what the right answer invokes; None if it is text only."""
    answer = sample.turns[-1]
    return parse_reply(answer.text).invocation if answer.invokes else None
