"""The loss of the LLM's steps: next tokens, what the signal embedding should say, and the adversary of step 3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from train.data.collate import Batch, Calls
from train.recipe import Objective
from train.recipes.parts import LanguageSide
from train.recipes.teachers import PROJECTIONS, SpecialistTeacher, Teacher
from train.recipes.unseen_pairs import UnseenPairs
from vitron.encoders.video import embed_clips
from vitron.llm.core import Learned
from vitron.llm.synergy import TaskDiscriminator, ramp, synergy_loss
from vitron.losses import answer_weights, condition_distance, language_loss
from vitron.prompt import IGNORE

ALIGNMENT = 0.04
"""Weight of a distance: text states are about 11 long, and next-token losses end near 0.1."""
ADVERSARY = 10.0
"""Strength of the reversed gradient in the end: at 1 the task losses hold v^s where it is (docs/decisions.md)."""
_BUSY = ("language_model", "lora")
"""Parts that are in training mode even if frozen: there a stock LLM saves memory by gradient checkpointing."""


class Conversations(Objective):
    """Losses of micro-batches {"chat", "clip": packed conversations on pictures and clips, "request": single ones}.

    Parts of the loss: next tokens by kind of batch; by specialist the distance of its projection
    to the text states ("gligen", "seem"), times `ALIGNMENT`, and its own loss ("denoising", "segmentation"), times
    its teacher's weight; "task", the discriminator's loss (paper Eq. 4).
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        side: LanguageSide,
        teachers: Mapping[str, Teacher],
        discriminator: TaskDiscriminator | None = None,
        *,
        unseen: UnseenPairs | None = None,
        adversarial: bool = True,
        whole: bool = True,
    ) -> None:
        """Join parts.

        Args:
            parts: all of them, by file.
            side: the LLM and what stands in front of it.
            teachers: by the specialist's name; without any the signal embedding learns nothing.
            discriminator: names the task from v^s; None: there is none.
            unseen: says which next tokens do not compete; None: all do.
            adversarial: whether v^s unlearns what it names; False: it only watches.
            whole: whether the reversed gradient goes on into the LLM; False: it ends at the head of v^s.
        """
        super().__init__(parts)
        # In a tuple: their weights are in `parts`, once.
        self._held = (side.model, side.image, side.region, side.video, discriminator)
        self.teachers, self.adversarial, self._whole = dict(teachers), adversarial, whole
        self.unseen = unseen

    def train(self, mode: bool = True) -> Conversations:
        """Set the mode of what learns; what is frozen stays as it is served."""
        super().train(mode)
        for name, part in self.parts.items():
            part.train(mode and (_learns(part) or name in _BUSY))
        return self

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Return the weighted parts of the loss."""
        losses: dict[str, Tensor] = {}
        for kind, batch in batches.items():
            learned = self.learn(batch)
            # Packed conversations mix words with sentences; the fixed wording of single requests is learned soon.
            weights = None if kind == "request" else answer_weights(batch.labels, IGNORE)
            losses[kind] = language_loss(self._competing(learned, batch), learned.targets, weights)
            for name, value in self._signal_losses(learned, batch):
                losses[name] = losses[name] + value if name in losses else value
        return losses

    def _competing(self, learned: Learned, batch: Batch) -> Tensor:
        """Return the logits of what the training data can ask for."""
        if self.unseen is None:
            return learned.logits
        before = batch.ids[:, :-1][batch.labels[:, 1:] != IGNORE]
        logits: Tensor = self.unseen(learned.logits, before, learned.targets)
        return logits

    def learn(self, batch: Batch) -> Learned:
        """Run the LLM on a batch."""
        model, image, region, video, _ = self._held
        features = regions = clips = None
        if batch.pixels is not None:
            with torch.no_grad():  # The tower never learns here (paper §3.1).
                patches = image(batch.pixels)
            if batch.owners is not None and batch.weights is not None and batch.geometry is not None:
                regions = region(patches[batch.owners].float(), batch.weights, batch.geometry)
            frames = sum(batch.lengths)
            if len(patches) > frames:
                features = patches[: len(patches) - frames]
            if frames:
                clips = embed_clips(patches[len(patches) - frames :], batch.lengths, model.projector, video)
        learned: Learned = model(batch.ids, batch.labels, features, regions, clips)
        assert len(learned.rows) == len(batch.modules), "an invocation without signal tokens, or the other way round"
        return learned

    def calls(self, batch: Batch) -> Iterator[tuple[str, Teacher, Calls]]:
        """Yield the invocations of a batch that have a teacher."""
        for name, calls in batch.calls.items():
            if PROJECTIONS[name] in self.teachers:
                yield name, self.teachers[PROJECTIONS[name]], calls

    def distance(self, teacher: Teacher, signal: Tensor, texts: tuple[str, ...]) -> Tensor:
        """Return the distance of projected signals `[R, n, d_v]` to the states of texts."""
        states = teacher.states(texts)
        # Small numbers of large ones: in float32, as the projection is served.
        with torch.autocast(signal.device.type, enabled=False):
            projected = teacher.projection(signal.float())[:, : states.shape[1]]
            return condition_distance(projected, states, torch.ones_like(states[..., 0], dtype=torch.bool))

    def _signal_losses(self, learned: Learned, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        for name, teacher, calls in self.calls(batch):
            signal = learned.signal.joined[calls.rows]
            yield name, ALIGNMENT * self.distance(teacher, signal, calls.texts)
            if calls.taught is not None and isinstance(teacher, SpecialistTeacher):
                rows = len(calls.taught.instructions)
                yield teacher.loss_name, teacher.weight * teacher.loss(signal[:rows].float(), calls.taught)
        discriminator = self._held[-1]
        if discriminator is not None and len(batch.modules):
            strength = ADVERSARY * ramp(batch.progress) if self.adversarial else 0.0
            shared = (learned.signal.shared if self._whole else learned.cut_off).float()
            with torch.autocast(shared.device.type, enabled=False):
                yield "task", synergy_loss(discriminator, shared, batch.modules, strength)


def _learns(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())
