"""What the signal embedding learns from: each specialist's frozen condition encoder, and the specialist itself.

The output projection has to meet the text states of a full description of what is meant, which the instruction often
leaves out (paper B.1, after NExT-GPT); and what the specialist makes of the message has to be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from train.data.collate import GenerationBatch
from vitron.specialists.gligen import Gligen
from vitron.specialists.gligen_denoiser import GligenCondition
from vitron.specialists.objectives import GenerationObjective, SegmentationBatch, SegmentationObjective
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.seem.losses import Targets
from vitron.specialists.seem.model import Seem
from vitron.specialists.seem.network import upsample
from vitron.specialists.text_condition import TextCondition
from vitron.types import Grounding

PROJECTIONS: dict[str, str] = {
    "gligen": "gligen",
    "gligen_edit": "gligen",
    "stablevideo": "gligen",
    "seem": "seem",
    "seem_video": "seem",
    "zeroscope": "zeroscope",
    "i2vgen": "i2vgen",
}
"""Specialist -> whose output projection it uses: editors paint with the image generator, and the segmenter of videos is
that of pictures with a memory."""


class Teacher(Protocol):
    """One condition space as the LLM's training sees it.

    Attributes:
        projection: the output projection into it.
    """

    projection: OutputProjection

    def states(self, texts: Sequence[str]) -> Tensor:
        """Return the condition encoder's states of full descriptions, `[B, Q, D]`, without a gradient."""
        ...


@runtime_checkable
class SpecialistTeacher(Teacher, Protocol):
    """A specialist that teaches by what it makes of a message as well.

    Attributes:
        loss_name: what its own loss is called in the log.
        weight: of that loss beside the others.
    """

    loss_name: str
    weight: float

    def loss(self, signal: Tensor, taught: Any) -> Tensor:
        """Return the specialist's own loss for hybrid messages with signal embeddings `[R, n, d_v]`."""
        ...


class GenerationTeacher:
    """The image generator: denoising under the condition that the message makes."""

    loss_name = "denoising"
    weight = 1.0

    def __init__(self, gligen: Gligen) -> None:
        self.gligen, self.projection = gligen, gligen.projection
        self._objective = GenerationObjective(
            denoiser=gligen.denoiser,
            text=gligen.text,
            projection=gligen.projection,
            scheduler=DPMSolverMultistepScheduler(**gligen.config.scheduler),
        )

    def states(self, texts: Sequence[str]) -> Tensor:
        """Return the states of all positions: padding conditions the denoiser too."""
        text = self.gligen.text
        found: Tensor = text(text.tokenize(texts).to(text.encoder.device))[0]
        return found

    def loss(self, signal: Tensor, taught: GenerationBatch) -> Tensor:
        """Denoise the wanted pictures; rows with a layout and rows without see different layers, so they go apart."""
        with torch.no_grad():
            latents = self.gligen.codec.encode(taught.pixels.to(self.gligen.codec.scaling_factor)).float()
        planned = [bool(layout) for layout in taught.layouts]
        losses = []
        for kind in sorted(set(planned)):
            rows = [row for row, has in enumerate(planned) if has == kind]
            grounding = self._grounding([taught.layouts[row] for row in rows]) if kind else None
            instructions = [taught.instructions[row] for row in rows]
            lost = self._objective(signal[rows], instructions, latents[rows], grounding=grounding)["loss"]
            losses.append(lost * len(rows) / len(planned))
        return torch.stack(losses).sum()

    def _grounding(self, layouts: Sequence[Sequence[Grounding]]) -> dict[str, Tensor]:
        """Return boxes and the features of their labels, as the generator packs them when it serves."""
        text = self.gligen.text
        conditions = []
        for layout in layouts:
            # Not from the encoder's cache: that may hold tensors of inference mode or of an autocast.
            _, phrases = text(text.tokenize([region.label for region in layout]).to(text.encoder.device))
            boxes = tuple(region.box for region in layout)
            conditions.append(GligenCondition(tokens=phrases, boxes=boxes, phrases=phrases, grounded=True))
        return self.gligen.denoiser.pack_grounding(conditions)


class ConditionTeacher:
    """A specialist's condition encoder alone: distances to its states."""

    def __init__(self, text: TextCondition, projection: OutputProjection) -> None:
        self.text, self.projection = text, projection

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> Tensor:
        """Return the states of all positions: padding conditions a denoiser too."""
        device = next(self.projection.parameters()).device
        found: Tensor = self.text(self.text.tokenize(texts).to(device))[0]
        return found


class SegmentationTeacher:
    """The segmenter: its losses on the mask that is meant."""

    loss_name = "segmentation"
    weight = 0.05
    """Its losses are about 5 where denoising ends at 0.1."""

    def __init__(self, seem: Seem) -> None:
        self.seem, self.projection = seem, seem.projection
        self._objective = SegmentationObjective(network=seem.network, projection=seem.projection)

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> Tensor:
        """Return the states of as many positions as the signal segment has."""
        return self.seem.network.signal_targets(texts)

    def loss(self, signal: Tensor, taught: SegmentationBatch) -> Tensor:
        """Segment the wanted objects."""
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernel's backward is slow in bf16 on CPUs
            return self._objective(signal, taught)["loss"]

    @torch.no_grad()
    def ious(self, signal: Tensor, taught: SegmentationBatch) -> Tensor:
        """Return the IoU of each best match with the mask that is meant, `[R]`."""
        output = self._objective.outputs(signal, taught)[-1]
        best = output.match.argmax(dim=1)
        targets = Targets(*(tensor.to(best.device) for tensor in taught.targets))
        logits = output.masks[torch.arange(len(best), device=best.device), best].float()
        found, wanted = upsample(logits, targets.masks.shape[-2:]) > 0, targets.masks[:, 0] > 0.5
        shared, joined = (found & wanted).sum((1, 2)), (found | wanted).sum((1, 2))
        return shared / joined.clamp(min=1)
