"""What a step of the LLM's training sees: packed conversations about one picture, and single requests.

Which samples make up a micro-batch follows from its number and the run's seed alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from train.data.collate import Batch, Collator
from train.data.mixture import Mixture, Samples, ShapesTask
from train.data.sample import Sample
from train.data.shapes import clip_dialogues, dialogues
from train.data.shapes.tasks import TASKS
from train.settings import Settings

_SEEDS = 64
"""Data seeds of one run's seed: more than there are steps, so that no two steps show the same pictures."""
_ENTRY = re.compile(r"(?P<name>[\w+-]+)(?::(?P<task>\w+))?(?:@(?P<root>[^=,]+))?=(?P<weight>\d+)")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The mixture of a step.

    Attributes:
        single: tasks of single requests -> how many of each in a round.
        packed: tasks that packed conversations about a picture draw from -> how often.
        share: part of the samples that are such conversations.
        clips: tasks that packed conversations about a clip draw from -> how often.
        clip_share: part of the samples that are those.
        turns: exchanges of a packed conversation.
        stream: number of the step, so that it shows other pictures than those before it.
    """

    single: Mapping[str, int]
    packed: Mapping[str, int] = field(default_factory=dict)
    share: Fraction = Fraction(0)
    clips: Mapping[str, int] = field(default_factory=dict)
    clip_share: Fraction = Fraction(0)
    turns: int = 8
    stream: int = 0


class Entry(NamedTuple):
    """One source of `Settings.data`."""

    name: str
    task: str | None
    root: str | None
    weight: int


class Batches:
    """Micro-batches by number: packed conversations as "chat" and "clip", single requests as "request"."""

    def __init__(self, plan: Plan, settings: Settings, collate: Collator) -> None:
        """Open the sources.

        Raises:
            ValueError, FileNotFoundError: `settings.data` names what is not there.
        """
        self.plan, self.settings, self.collate = plan, settings, collate
        self.seed = settings.seed * _SEEDS + plan.stream
        self.mixture = open_mixture(settings.data, self.seed) if settings.data else shapes(plan.single, self.seed)
        shares = {} if settings.data else {"chat": plan.share, "clip": plan.clip_share}
        self._pattern = pattern({**shares, "request": 1 - sum(shares.values(), Fraction(0))})
        if settings.strategy != "ddp":
            self._check_kinds()
        self._talk, self._clip_talk = (_repeated(tasks) for tasks in (plan.packed, plan.clips))

    @property
    def only_shapes(self) -> bool:
        """Whether all of it comes from the Shapes world."""
        return all(isinstance(source, ShapesTask) for source in self.mixture.sources.values())

    def __call__(self, number: int) -> dict[str, Batch]:
        """Make one micro-batch."""
        size = self.settings.micro_batch
        progress = number / (self.settings.steps * self.settings.micro_batches)
        drawn: dict[str, list[Sample]] = {}
        for position in range(number * size, (number + 1) * size):
            rounds, place = divmod(position, len(self._pattern))
            kind = self._pattern[place]
            index = rounds * self._pattern.count(kind) + self._pattern[:place].count(kind)
            drawn.setdefault(kind, []).append(self._sample(kind, index))
        return {kind: self.collate(drawn[kind], progress) for kind in sorted(drawn)}

    def _check_kinds(self) -> None:
        """Refuse micro-batches of different kinds: each is a pass through the LLM, which all workers make together.

        Raises:
            ValueError: some hold a kind that others do not.
        """
        size, length = self.settings.micro_batch, len(self._pattern)
        starts = range(0, math.lcm(size, length), size)
        kinds = {frozenset(self._pattern[(start + place) % length] for place in range(size)) for start in starts}
        if len(kinds) > 1:
            raise ValueError(
                f"strategy: got {self.settings.strategy!r} with a micro_batch of {size}, in which not every kind of "
                f"{', '.join(sorted(set(self._pattern)))} occurs each time; expected 'ddp', a micro_batch of {length}, "
                f"or data=..."
            )

    def _sample(self, kind: str, index: int) -> Sample:
        turns, seed = self.plan.turns, self.seed
        if kind == "chat":
            return dialogues.packed("train", index, turns, seed, self._talk)
        if kind == "clip":
            return clip_dialogues.packed("train", index, turns, seed, self._clip_talk)
        return self.mixture[index]


def pattern(shares: Mapping[str, Fraction]) -> list[str]:
    """Return the shortest sequence that holds every kind by its share, spread evenly.

    Raises:
        ValueError: the shares are no parts of a whole.
    """
    if sum(shares.values()) != 1 or min(shares.values()) < 0:
        raise ValueError(f"shares: got {[str(share) for share in shares.values()]}, expected parts of 1")
    made: list[str] = []
    for place in range(1, math.lcm(*(share.denominator for share in shares.values())) + 1):
        # Whoever is furthest behind its share.
        made.append(max(shares, key=lambda kind: shares[kind] * place - made.count(kind)))
    return made


def _repeated(tasks: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(task for task, count in tasks.items() for _ in range(count))


def shapes(weights: Mapping[str, int], seed: int) -> Mixture:
    """Return a mixture of tasks of the Shapes world."""
    return Mixture({task: ShapesTask(task, seed=seed) for task in weights}, weights, seed)


def open_mixture(text: str, seed: int) -> Mixture:
    """Open what `Settings.data` says: `NAME[:TASK]@FOLDER=WEIGHT` for data sets, `TASK=WEIGHT` for Shapes.

    Raises:
        ValueError: the text is malformed, or names what is not there.
        FileNotFoundError: a data set is not in its folder.
    """
    sources: dict[str, Samples] = {}
    weights: dict[str, int] = {}
    for part in text.split(","):
        entry = _entry(part.strip())
        name = part.strip().rpartition("=")[0]
        if name in sources:
            raise ValueError(f"data: got {name!r} twice, expected each source once")
        sources[name], weights[name] = _open(entry, seed), entry.weight
    return Mixture(sources, weights, seed)


def told(mixture: Mixture) -> tuple[str, ...]:
    """Return a line for each data set of a mixture: how many samples it has, and what its reader left out."""
    lines = []
    for name, source in mixture.sources.items():
        if isinstance(source, ShapesTask):
            continue
        left_out = ", ".join(f"{count} {what}" for what, count in getattr(source, "left_out", {}).items() if count)
        lines.append(f"data {name}: {len(source)} samples; left out: {left_out or 'nothing'}")
    return tuple(lines)


def _entry(text: str) -> Entry:
    found = _ENTRY.fullmatch(text)
    if not found:
        raise ValueError(f"data: got {text!r}, expected NAME[:TASK]@FOLDER=WEIGHT, or TASK=WEIGHT for Shapes")
    return Entry(found["name"], found["task"], found["root"], int(found["weight"]))


def _open(entry: Entry, seed: int) -> Samples:
    if entry.root is None:
        if entry.name not in TASKS:
            raise ValueError(f"data: got {entry.name!r} without a folder, expected one of {', '.join(TASKS)}")
        return ShapesTask(entry.name, seed=seed)
    from train.data.sources import open_source  # readers of data sets are needed by those who have data sets

    return open_source(entry.name, entry.root, "train", task=entry.task, seed=seed)
