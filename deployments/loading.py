"""The real parts. The only module here that imports `vitron.model`, so that a gateway stays small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from deployments.args import AppArgs
from vitron.encoders.image import ImageEncoder
from vitron.encoders.region import RegionEncoder
from vitron.language import Language
from vitron.model import load_image_encoder, load_language, load_region_encoder, load_specialist
from vitron.presets import preset
from vitron.routing import route
from vitron.specialists.base import Option, Specialist, SpecialistRequest
from vitron.types import Invocation, Message, MessageMode
from vitron.weights import open_weights


class VitronLoaders:
    """Loads from the weights that the arguments name."""

    def revision(self, args: AppArgs) -> str:
        """Return the name of the weights."""
        return f"{args.preset}:{open_weights(args.preset, args.weights).revision}"

    def image_encoder(self, args: AppArgs) -> ImageEncoder:
        """Load the image encoder."""
        return load_image_encoder(preset(args.preset), open_weights(args.preset, args.weights))

    def region_encoder(self, args: AppArgs) -> RegionEncoder:
        """Load the region encoder."""
        return load_region_encoder(preset(args.preset), open_weights(args.preset, args.weights))

    def language(self, args: AppArgs) -> Language:
        """Load the LLM."""
        return load_language(preset(args.preset), open_weights(args.preset, args.weights))

    def specialist(self, args: AppArgs, name: str) -> Specialist:
        """Load the specialist `name`."""
        return load_specialist(preset(args.preset), open_weights(args.preset, args.weights), name)

    def route(
        self,
        invocation: Invocation,
        messages: Sequence[Message],
        signal: Tensor | None,
        mode: MessageMode,
        seed: int,
        options: Mapping[str, Option],
    ) -> tuple[str, SpecialistRequest]:
        """Return who carries an invocation out, and with what."""
        return route(invocation, messages, signal, mode, seed, options)
