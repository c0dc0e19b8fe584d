"""How well the LLM's steps did on held-out Shapes: tokens, replies, and what the signal embedding says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from train.data.collate import Batch, Collator
from train.data.layout import messages
from train.data.sample import Sample
from train.data.shapes.tasks import build
from train.recipes.language_objective import Conversations
from train.recipes.parts import LanguageSide
from train.recipes.reply_pictures import Answered
from train.recipes.reply_scores import right
from train.recipes.specialists import save_grid
from train.recipes.teachers import SegmentationTeacher, SpecialistTeacher
from vitron.config import VitronConfig
from vitron.invocation import parse_reply
from vitron.language import make_language
from vitron.llm.engine import SamplingParams
from vitron.llm.synergy import probe_accuracy
from vitron.losses import language_loss
from vitron.model import Vitron
from vitron.routing import route
from vitron.specialists.gligen import Gligen
from vitron.specialists.objectives import SegmentationBatch
from vitron.types import Image, MessageMode

CHUNK = 24
"""Held-out samples of one forward pass."""
LONGEST_REPLY = 192
DRAWN = 8
"""Held-out pictures that are drawn."""


class HeldOut:
    """The held-out samples of some tasks, made once."""

    def __init__(self, tasks: Sequence[str], count: int, collate: Collator, device: torch.device) -> None:
        self.tasks, self.collate, self.device = tuple(tasks), collate, device
        self.count = count
        self._samples: dict[str, list[Sample]] = {}

    def samples(self, task: str) -> list[Sample]:
        """Return the samples of a task."""
        if task not in self._samples:
            self._samples[task] = [build(task, "val", index) for index in range(self.count)]
        return self._samples[task]

    def batches(self, task: str) -> Iterator[Batch]:
        """Yield a task's samples as batches on the device."""
        samples = self.samples(task)
        for first in range(0, len(samples), CHUNK):
            yield self.collate(samples[first : first + CHUNK]).to(self.device)


def token_scores(objective: Conversations, held: HeldOut) -> dict[str, float]:
    """Return the next-token loss and the share of tokens that are most likely, given those before, by task."""
    found: dict[str, float] = {}
    for task in held.tasks:
        loss = hits = tokens = 0.0
        for batch in held.batches(task):
            learned = objective.learn(batch)
            loss += float(language_loss(learned.logits, learned.targets)) * len(learned.targets)
            hits += float((learned.logits.argmax(-1) == learned.targets).sum())
            tokens += len(learned.targets)
        found |= {f"{task}_loss": loss / tokens, f"{task}_tokens": hits / tokens}
    return found


def answer(config: VitronConfig, side: LanguageSide, held: HeldOut, tasks: Sequence[str]) -> dict[str, list[Answered]]:
    """Return replies by task, written freely by the engine that serves, and judged."""
    assistant = Vitron(
        config=config,
        image_encoder=side.image,
        region_encoder=side.region,
        language=make_language(config, side.tokenizer, side.model, video=side.video),
    )
    params, found = SamplingParams(max_tokens=LONGEST_REPLY), {}
    for task in tasks:
        samples = held.samples(task)
        replies = assistant.reply_batch([messages(sample)[:-1] for sample in samples], params=params)
        pairs = zip(samples, replies, strict=True)
        found[task] = [Answered(sample, reply, right(sample, reply)) for sample, reply in pairs]
    return found


def reply_scores(answered: Mapping[str, Sequence[Answered]]) -> dict[str, float]:
    """Return the share of right replies by task."""
    return {f"{task}_right": sum(each.right for each in found) / len(found) for task, found in answered.items()}


def signal_scores(objective: Conversations, held: HeldOut, tasks: Sequence[str]) -> dict[str, float]:
    """Return distances, the specialists' own losses, and the IoU of masks from given hybrid messages."""
    sums: dict[str, list[float]] = {}
    with torch.random.fork_rng(devices=[held.device] if held.device.type == "cuda" else []):
        torch.manual_seed(0)  # the same noise in every validation
        for task in tasks:
            for batch in held.batches(task):
                learned = objective.learn(batch)
                for name, teacher, calls in objective.calls(batch):
                    signal = learned.signal.joined[calls.rows].float()
                    distance = objective.distance(teacher, signal, calls.texts)
                    sums.setdefault(f"{name}_distance", []).append(float(distance))
                    if calls.taught is None or not isinstance(teacher, SpecialistTeacher):
                        continue
                    signal = signal[: len(calls.taught.instructions)]
                    sums.setdefault(teacher.loss_name, []).append(float(teacher.loss(signal, calls.taught)))
                    if isinstance(teacher, SegmentationTeacher):
                        assert isinstance(calls.taught, SegmentationBatch)
                        sums.setdefault("mask_iou", []).append(float(teacher.ious(signal, calls.taught).mean()))
    return {name: sum(values) / len(values) for name, values in sums.items()}


def probe_scores(objective: Conversations, held: HeldOut, tasks: Sequence[str], seed: int) -> dict[str, float]:
    """Return how well a fresh network reads the module from v^s and from v^p, and what guessing would reach."""
    shared, specific, modules = [], [], []
    for task in tasks:
        for batch in held.batches(task):
            signal = objective.learn(batch).signal
            shared.append(signal.shared.float())
            specific.append(signal.specific.float())
            modules.append(batch.modules)
    of_shared = probe_accuracy(torch.cat(shared), torch.cat(modules), seed=seed)
    of_specific = probe_accuracy(torch.cat(specific), torch.cat(modules), seed=seed)
    return {
        "probe_shared": of_shared.accuracy,
        "probe_specific": of_specific.accuracy,
        "probe_majority": of_shared.majority,
    }


def draw_pictures(objective: Conversations, gligen: Gligen, held: HeldOut, task: str, path: Path) -> None:
    """Draw what held-out messages ask for: the wanted pictures, then from hybrid messages, then from signals alone."""
    samples = held.samples(task)[:DRAWN]
    learned = objective.learn(held.collate(samples).to(held.device))
    signals = learned.signal.joined.float()
    wanted = [sample.target["image"] for sample in samples]
    modes: tuple[MessageMode, ...] = ("hybrid", "signal")
    save_grid(path, [wanted, *(_drawn(gligen, samples, signals, mode) for mode in modes)])
    said = [f"{sample.turns[0].text} -> {sample.turns[-1].text}" for sample in samples]
    path.with_suffix(".txt").write_text("\n".join(line.replace("\n", " ") for line in said) + "\n")


def _drawn(gligen: Gligen, samples: Sequence[Sample], signals: Tensor, mode: MessageMode) -> list[Image]:
    requests = []
    for index, (sample, signal) in enumerate(zip(samples, signals, strict=True)):
        invocation = parse_reply(sample.turns[-1].text).invocation
        assert invocation is not None
        requests.append(route(invocation, messages(sample)[:-1], signal, mode, seed=index)[1])
    outputs = gligen.run_batch(requests)
    gligen.close()
    return [output.images[0] for output in outputs]


def score_of(metrics: Mapping[str, float], names: Sequence[str], sign: float = 1.0) -> float:
    """Return the mean of some metrics, or minus it where less is better."""
    return sign * sum(metrics[name] for name in names) / len(names)
