"""What specialists can teach the signal embedding: their own losses, differentiable through v (paper §B.1, §B.3).

Conditions are made as they are for a request that is served. Which parts learn is the caller's decision
(`requires_grad`); through frozen ones the gradient still reaches v. An objective owns no part and draws nothing at
random but from the generator that it is given.

Each objective returns its parts by name; the part called "loss" is the one to minimise.

Shapes: R messages, n signal tokens, V width of v, T text and Q signal tokens, D condition width, C latent channels,
h and w latent size, S side of a segmenter's picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitron.config import SeemConfig
from vitron.diffusion.losses import denoising_loss
from vitron.regions import to_mask
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.gligen_denoiser import GligenDenoiser
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.seem.losses import Names, Targets, seem_losses
from vitron.specialists.seem.model import to_square
from vitron.specialists.seem.network import LayerOutput, SeemNetwork
from vitron.specialists.seem.prompts import Marks, Prompts, marks_of, to_device
from vitron.specialists.seem.request import check_reference
from vitron.specialists.text_condition import TextCondition
from vitron.types import BoolMask, DrawnRegion, Image


class GenerationObjective:
    """Denoising of the picture that a message asks for: the conditional loss of step 1.3, and L_k of step 3."""

    def __init__(
        self, *, denoiser: GligenDenoiser, text: TextCondition, projection: OutputProjection, scheduler: Any
    ) -> None:
        """Refer to the parts of a generator.

        Args:
            scheduler: A diffusers scheduler made from the generator's configuration.
        """
        self.denoiser, self.text = denoiser, text
        self.projection, self.scheduler = projection, scheduler

    def __call__(
        self,
        signal_RnV: Tensor,
        instructions: Sequence[str],
        latents_RChw: Tensor,
        *,
        grounding: dict[str, Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return "loss" and "mse" of `denoising_loss`, one time step a row.

        The condition is never dropped: a row without it would teach the signal nothing. A UNet in less than float32
        needs autocast, since noise is drawn in float32.

        Args:
            signal_RnV: v with its graph.
            instructions: As specialists get them; "" where the signal has to say all.
            latents_RChw: Clean, scaled latents of what is meant.
            grounding: Boxes, from `GligenDenoiser.pack_grounding`; None: the gated layers are off.
            generator: Of time steps and noise, on the device of the latents; None: torch's own.

        Raises:
            ValueError: the numbers of rows differ, or there are none.
        """
        _check_rows(len(signal_RnV), instructions=len(instructions), latents=len(latents_RChw))
        kept = None
        if self.denoiser.inpaints:
            kept = torch.zeros_like(torch.cat([latents_RChw, latents_RChw[:, :1]], dim=1))  # nothing is kept
        return denoising_loss(
            self.denoiser.unet,
            self.scheduler,
            latents_RChw,
            self.condition(signal_RnV, instructions),
            grounding=grounding,
            extra_channels=kept,
            generator=generator,
        )

    def condition(self, signal_RnV: Tensor, instructions: Sequence[str]) -> Tensor:
        """Return the condition tokens of a hybrid message, [R, T + Q, D]."""
        # Not from the encoder's cache: that may hold tensors of inference mode or of an autocast.
        states_RTD, _ = self.text(self.text.tokenize(instructions).to(self.text.encoder.device))
        signal_RQD = self.projection(signal_RnV.to(self.projection.queries))
        return self.denoiser.join(states_RTD.to(signal_RQD), signal_RQD)


class SegmentationBatch(NamedTuple):
    """What segmentations look at and should give; one row for each message.

    Attributes:
        pixels: Pictures [P, 3, S, S], RGB 0-255; R is a multiple of P, and rows go picture by picture.
        instructions: R texts, "" where there is none.
        targets: What each row should give.
        spatial: Drawings on the pictures, of the rows that have one.
        reference: Other pictures that drawings of `visual` point into.
        visual: Drawings on those.
    """

    pixels: Tensor
    instructions: tuple[str, ...]
    targets: Targets
    spatial: Marks | None = None
    reference: Tensor | None = None
    visual: Marks | None = None


class SegmentationObjective:
    """SEEM's losses on what a message means: L_k of step 3 for segmentation."""

    def __init__(self, *, network: SeemNetwork, projection: OutputProjection) -> None:
        self.network, self.projection = network, projection

    def __call__(
        self, signal_RnV: Tensor, batch: SegmentationBatch, *, names: Sequence[Names] = ()
    ) -> dict[str, Tensor]:
        """Return "loss" and its parts "bce", "dice", "match" and "name" (see `seem_losses`).

        Nothing here is random.

        Args:
            signal_RnV: v with its graph, in the batch's order.
            batch: On the network's device, or wherever: it is moved.
            names: Adds the classification of every object by text, in the rows that teach all objects.

        Raises:
            ValueError: the numbers of rows differ, there are none, or there are names and no row teaches all objects.
        """
        if names and not bool(batch.targets.every_object.any()):
            raise ValueError("names: expected none, as no row's targets say every_object")
        targets = Targets(*(tensor.to(signal_RnV.device) for tensor in batch.targets))
        losses = seem_losses(self.outputs(signal_RnV, batch), targets, names)
        return {"loss": losses.total, **{name: part for name, part in losses._asdict().items() if name != "total"}}

    def outputs(self, signal_RnV: Tensor, batch: SegmentationBatch) -> list[LayerOutput]:
        """Return what each decoder layer predicts for the hybrid messages; the last is the result."""
        _check_rows(len(signal_RnV), instructions=len(batch.instructions), targets=len(batch.targets.masks))
        if len(batch.pixels) == 0 or len(signal_RnV) % len(batch.pixels):
            raise ValueError(f"pixels: got {len(batch.pixels)} pictures, expected a divisor of {len(signal_RnV)} rows")
        device = self.network.predictor.class_embed.device
        features = self.network.features(batch.pixels.to(device))
        reference = None if batch.reference is None else self.network.features(batch.reference.to(device))
        return self.network(features, self._prompts(signal_RnV, batch, device), reference)

    def _prompts(self, signal_RnV: Tensor, batch: SegmentationBatch, device: torch.device) -> Prompts:
        text = None
        written = torch.tensor([bool(instruction.strip()) for instruction in batch.instructions], device=device)
        if written.any():
            text = self.network.lang_encoder(batch.instructions)
            text = text._replace(valid=text.valid & written[:, None])
        return Prompts(
            rows=len(signal_RnV),
            text=text,
            signal=self.projection(signal_RnV.to(self.projection.queries)),
            signal_given=torch.ones_like(written),
            spatial=to_device(batch.spatial, device),
            visual=to_device(batch.visual, device),
        )


def segmentation_batch(
    requests: Sequence[SpecialistRequest], masks: Sequence[BoolMask], config: SeemConfig
) -> SegmentationBatch:
    """Lay requests out as training rows, on the CPU; a row is what `Seem.run` makes of its request.

    Args:
        requests: With at most one region drawn each: a message has one signal. Their own signals are not read.
        masks: bool [H, W] of the object that each means, in its picture; any size, never empty.
        config: Of the segmenter.

    Raises:
        ValueError: a request has no picture, several drawings or half a reference, or the numbers differ.
    """
    _check_rows(len(requests), masks=len(masks))
    side = config.image_size
    pictures = [_picture(request) for request in requests]
    drawn = [(row, row, region) for row, request in enumerate(requests) if (region := _region(request))]
    shown: list[Image] = []
    pointed: list[tuple[int, int, DrawnRegion]] = []
    for row, request in enumerate(requests):
        if request.reference is not None and request.reference_drawn is not None:
            pointed.append((row, len(shown), request.reference_drawn))
            shown.append(request.reference)
    wanted = [torch.from_numpy(to_mask(DrawnRegion(kind="mask", mask=mask), side, side)) for mask in masks]
    one = torch.ones(len(requests), 1, dtype=torch.bool)
    return SegmentationBatch(
        pixels=torch.cat([to_square(picture, side) for picture in pictures]),
        instructions=tuple(request.instruction for request in requests),
        targets=Targets(torch.stack(wanted)[:, None].float(), one, one, ~one[:, 0]),
        spatial=_marks(drawn, config),
        reference=torch.cat([to_square(picture, side) for picture in shown]) if shown else None,
        visual=_marks(pointed, config),
    )


def _picture(request: SpecialistRequest) -> Image:
    """Return the picture of a request that can be a training row."""
    if request.image is None:
        raise ValueError("image: got None, expected a picture to segment")
    check_reference(request)
    for name, regions in (("drawn", request.drawn), ("regions", () if request.drawn else request.regions)):
        if len(regions) > 1:
            raise ValueError(f"{name}: got {len(regions)}, expected at most one: a message has one signal")
    return request.image


def _region(request: SpecialistRequest) -> DrawnRegion | None:
    """What is drawn on the picture; the LLM's box stands in where nobody drew anything, as in `Seem.run`."""
    if request.drawn:
        return request.drawn[0]
    if request.regions and request.reference is None:
        return DrawnRegion(kind="box", box=request.regions[0].box)
    return None


def _marks(drawn: Sequence[tuple[int, int, DrawnRegion]], config: SeemConfig) -> Marks | None:
    """Return the marks of (row, picture, region)."""
    if not drawn:
        return None
    rows, pictures, regions = zip(*drawn, strict=True)
    maps = [to_mask(region, config.image_size, config.image_size) for region in regions]
    return marks_of(maps, rows, pictures, config.max_spatial)


def _check_rows(rows: int, **counts: int) -> None:
    for name, count in counts.items():
        if count != rows or not rows:
            raise ValueError(f"{name}: got {count} for {rows} signal embeddings, expected as many and at least one")
