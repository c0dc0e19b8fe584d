"""The real parts. Each loader imports its own part only: a replica then starts sooner and stays smaller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor, nn

from deployments.args import AppArgs
from deployments.parts import served_specialists
from vitron.presets import preset
from vitron.routing import route
from vitron.specialists.base import Option, Specialist, SpecialistRequest
from vitron.specialists.table import load_specialist
from vitron.types import Invocation, Message, MessageMode
from vitron.weights import open_weights

if TYPE_CHECKING:
    from vitron.encoders.image import ImageEncoder
    from vitron.encoders.region import RegionEncoder
    from vitron.encoders.video import VideoEncoder
    from vitron.language import Language


class _Place(TypedDict):
    device: torch.device
    dtype: torch.dtype


def _place(args: AppArgs) -> _Place:
    """Return where a part goes, and in what precision."""
    name = args.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return _Place(device=torch.device(name), dtype=getattr(torch, args.dtype))


class VitronLoaders:
    """Loads from the weights that the arguments name."""

    def revision(self, args: AppArgs) -> str:
        """Return the name of the weights."""
        return f"{args.preset}:{open_weights(args.preset, args.weights).revision}"

    def image_encoder(self, args: AppArgs) -> ImageEncoder:
        """Load the image encoder."""
        from vitron.encoders.image import load_image_encoder

        return load_image_encoder(preset(args.preset), open_weights(args.preset, args.weights)).to(**_place(args))

    def video_encoder(self, args: AppArgs) -> VideoEncoder:
        """Load the video encoder: the image encoder, and how clips are seen."""
        from vitron.encoders.video import VideoEncoder

        return VideoEncoder(self.image_encoder(args), preset(args.preset).video)

    def region_encoder(self, args: AppArgs) -> RegionEncoder:
        """Load the region encoder."""
        from vitron.encoders.region import load_region_encoder

        return load_region_encoder(preset(args.preset), open_weights(args.preset, args.weights)).to(**_place(args))

    def language(self, args: AppArgs) -> Language:
        """Load the LLM."""
        from vitron.language import load_language

        return load_language(preset(args.preset), open_weights(args.preset, args.weights), **_place(args))

    def specialists(self, args: AppArgs) -> tuple[str, ...]:
        """Return those that the arguments name, or all that there are."""
        return served_specialists(args)

    def specialist(self, args: AppArgs, name: str) -> Specialist:
        """Load the specialist `name`."""
        loaded = load_specialist(name, preset(args.preset), open_weights(args.preset, args.weights))
        assert isinstance(loaded, nn.Module)
        moved: Specialist = loaded.to(**_place(args))
        return moved

    def route(
        self,
        invocation: Invocation,
        messages: Sequence[Message],
        signal: Tensor | None,
        mode: MessageMode,
        seed: int,
        options: Mapping[str, Option],
        seen_frames: Sequence[Sequence[int]],
    ) -> tuple[str, SpecialistRequest]:
        """Return who carries an invocation out, and with what."""
        return route(invocation, messages, signal, mode, seed, options, seen_frames)
