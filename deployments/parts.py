"""How a deployment gets the object it serves: from `vitron.model`, or from a stand-in in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from deployments.args import AppArgs
from vitron.presets import preset
from vitron.specialists.base import Option, Specialist, SpecialistRequest
from vitron.specialists.table import loadable
from vitron.types import Invocation, Message, MessageMode
from vitron.weights import open_weights

if TYPE_CHECKING:
    from vitron.encoders.image import ImageEncoder
    from vitron.encoders.region import RegionEncoder
    from vitron.encoders.video import VideoEncoder
    from vitron.language import Language

Handle = Any
"""A Ray Serve `DeploymentHandle` or a `LocalHandle`: the former's methods are attributes made on demand."""


def served_specialists(args: AppArgs) -> tuple[str, ...]:
    """Return the names of the specialists to serve: those of the arguments, or all that the weights hold.

    Raises:
        ValueError: the arguments name one that there is not, or one twice.
    """
    known = loadable(preset(args.preset), open_weights(args.preset, args.weights))
    if args.specialists is None:
        return known
    if not set(args.specialists) <= set(known) or len(set(args.specialists)) < len(args.specialists):
        raise ValueError(f"specialists: got {list(args.specialists)}, expected some of {list(known)}, each once")
    return args.specialists


class Loaders(Protocol):
    """Loads one part each, with the weights of that part alone; crosses to the replicas pickled."""

    def revision(self, args: AppArgs) -> str:
        """Return the name of the weights."""
        ...

    def image_encoder(self, args: AppArgs) -> ImageEncoder:
        """Load the image encoder."""
        ...

    def video_encoder(self, args: AppArgs) -> VideoEncoder:
        """Load the video encoder."""
        ...

    def region_encoder(self, args: AppArgs) -> RegionEncoder:
        """Load the region encoder."""
        ...

    def language(self, args: AppArgs) -> Language:
        """Load the LLM."""
        ...

    def specialists(self, args: AppArgs) -> tuple[str, ...]:
        """Return the names of the specialists to serve."""
        ...

    def specialist(self, args: AppArgs, name: str) -> Specialist:
        """Load the specialist `name`."""
        ...

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
        """Return who carries an invocation out, and with what; ValueError if nobody can."""
        ...
