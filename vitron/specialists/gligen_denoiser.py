"""GLIGEN's network behind the denoise engine: a gated UNet, its conditions, and how rows become a batch.

A row's condition is the text states with the signal tokens after them, boxes with phrase features, and for a
UNet with inpainting channels the kept part of a source picture.

Shapes: B rows, T condition tokens, D condition width, N grounding slots, C latent channels, h and w latent size.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from vitron.config import GligenConfig
from vitron.diffusion.positions import PositionedConv2d
from vitron.diffusion.request import Kept
from vitron.types import Box


@dataclass(frozen=True, kw_only=True, eq=False)
class GligenCondition:
    """What one row is conditioned on.

    Attributes:
        tokens: [T, D]; T may differ between rows.
        boxes: One per named object, at most as many as the denoiser has slots.
        phrases: [len(boxes), D], pooled text states of their names.
        grounded: Whether the gated layers take part; an unconditional row shares its request's value and
            leaves `boxes` empty.
        kept: Source latents and mask of an inpainting request; None: everything is painted.
    """

    tokens: Tensor
    boxes: tuple[Box, ...] = ()
    phrases: Tensor | None = None
    grounded: bool = False
    kept: Kept | None = None


class GligenDenoiser(nn.Module):
    """A `Denoiser` of pictures, and the module that generation training trains.

    Attributes:
        unet: The network; with 2C + 1 input channels it takes a source to keep parts of.
        signal_segment: [D], added to signal tokens, so that they can be told from text. Zero for a stock
            checkpoint, which knows of no signal.
    """

    def __init__(self, unet: UNet2DConditionModel, *, max_objects: int, fuser_fraction: float) -> None:
        """Wrap a UNet.

        Args:
            unet: Of attention type "gated".
            max_objects: Grounding slots N; empty ones take part in attention, so N belongs to the weights.
            fuser_fraction: Part of a request's steps, from the first, in which the gated layers are on.
        """
        super().__init__()
        self.unet = unet
        self.max_objects, self.fuser_fraction = max_objects, fuser_fraction
        self.signal_segment = nn.Parameter(torch.zeros(int(unet.config["cross_attention_dim"])))

    @classmethod
    def from_config(cls, config: GligenConfig) -> GligenDenoiser:
        """Build one with random weights."""
        unet = UNet2DConditionModel(**config.unet)
        if config.position_bands:
            unet.conv_in = PositionedConv2d(unet.conv_in, config.position_bands)
        return cls(unet, max_objects=config.max_objects, fuser_fraction=config.fuser_fraction)

    @torch.no_grad()
    def open_gates(self) -> None:
        """Let boxes act from the first step of training: tanh(1) of the gated attention, tanh(0.5) of its feed-forward.

        GLIGEN starts at 0 so as not to disturb a trained generator. One that is trained from scratch has nothing to
        lose, and behind a closed gate the boxes hardly learn.
        """
        for name, value in self.unet.named_parameters():
            if name.endswith("fuser.alpha_attn"):
                value.fill_(1.0)
            elif name.endswith("fuser.alpha_dense"):
                value.fill_(0.5)

    @property
    def latent_channels(self) -> int:
        """C: channels of a latent."""
        return int(self.unet.config["out_channels"])

    @property
    def inpaints(self) -> bool:
        """Whether the UNet sees what is to be kept."""
        return int(self.unet.config["in_channels"]) == 2 * self.latent_channels + 1

    def join(self, text_TD: Tensor, signal_QD: Tensor | None) -> Tensor:
        """Return condition tokens: text states, then signal tokens if there are any."""
        if signal_QD is None:
            return text_TD
        return torch.cat([text_TD, signal_QD + self.signal_segment], dim=-2)

    def phase(self, condition: GligenCondition, step: int, num_steps: int) -> Hashable:
        """Tell whether the gated layers are on: rows with and without them can't share a forward."""
        return condition.grounded and step < int(self.fuser_fraction * num_steps)

    def denoise(
        self,
        samples_B: Tensor,
        timesteps_B: Tensor,
        conditions: Sequence[GligenCondition],
        phase: Hashable,
    ) -> Tensor:
        """Return the prediction for each row."""
        tokens_BTD, mask_BT = pad_tokens([condition.tokens for condition in conditions])
        grounding = self.pack_grounding(conditions) if phase else None
        return self(samples_B, timesteps_B, tokens_BTD, mask_BT, grounding, self._source(samples_B, conditions))

    def forward(
        self,
        samples_BChw: Tensor,
        timesteps_B: Tensor,
        tokens_BTD: Tensor,
        mask_BT: Tensor | None = None,
        grounding: dict[str, Tensor] | None = None,
        source_Bchw: Tensor | None = None,
    ) -> Tensor:
        """Predict from tensors.

        Leaving `grounding` out switches the gated layers off, without touching the network's state as
        the `enable_fuser` of diffusers' pipelines does.
        """
        if source_Bchw is not None:
            samples_BChw = torch.cat([samples_BChw, source_Bchw.to(samples_BChw)], dim=1)
        weights = self.signal_segment
        predicted: Tensor = self.unet(
            samples_BChw.to(weights.dtype),
            timesteps_B,
            tokens_BTD.to(weights.dtype),
            encoder_attention_mask=mask_BT,
            cross_attention_kwargs=None if grounding is None else {"gligen": grounding},
        ).sample
        return predicted

    def pack_grounding(self, conditions: Sequence[GligenCondition]) -> dict[str, Tensor]:
        """Return boxes [B, N, 4], phrase features [B, N, D] and which slots are used [B, N]."""
        weights = self.signal_segment
        shape = (len(conditions), self.max_objects)
        boxes = weights.new_zeros(*shape, 4)
        phrases = weights.new_zeros(*shape, weights.shape[0])
        masks = weights.new_zeros(shape)
        for row, condition in enumerate(conditions):
            if count := len(condition.boxes):
                assert condition.phrases is not None and count <= self.max_objects
                boxes[row, :count] = boxes.new_tensor(condition.boxes)
                phrases[row, :count] = condition.phrases.to(phrases)
                masks[row, :count] = 1.0
        return {"boxes": boxes, "positive_embeddings": phrases, "masks": masks}

    def _source(self, samples_BChw: Tensor, conditions: Sequence[GligenCondition]) -> Tensor | None:
        if not self.inpaints:
            return None
        rows = [source_channels(condition.kept, samples_BChw[0]) for condition in conditions]
        return torch.stack(rows)


def source_channels(kept: Kept | None, latents_Chw: Tensor) -> Tensor:
    """Return what an inpainting UNet sees of a source: [C + 1, h, w], all zero for none.

    GLIGEN's convention: the latents where they are kept, and a mask that is 1 there.
    """
    if kept is None:
        return torch.zeros_like(torch.cat([latents_Chw, latents_Chw[:1]]))
    mask = kept.mask.to(latents_Chw).expand(1, *latents_Chw.shape[1:])
    return torch.cat([kept.latents.to(latents_Chw) * mask, mask])


def pad_tokens(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return rows of tokens as one batch, and where they are tokens (None: everywhere)."""
    lengths = [len(row) for row in rows]
    if len(set(lengths)) == 1:
        return torch.stack(list(rows)), None
    tokens_BTD = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    positions = torch.arange(tokens_BTD.shape[1], device=tokens_BTD.device)
    return tokens_BTD, positions < torch.tensor(lengths, device=positions.device)[:, None]
