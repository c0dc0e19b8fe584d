"""What goes into the denoise engine and what comes out of it: plain values, no model and no state."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from torch import Tensor

from vitron.engine_thread import EngineFullError as EngineFullError
from vitron.engine_thread import EngineStoppedError as EngineStoppedError

ConditionT = TypeVar("ConditionT")
ConditionT_contra = TypeVar("ConditionT_contra", contravariant=True)


class Denoiser(Protocol[ConditionT_contra]):
    """A network that removes noise from rows which know nothing of each other.

    The engine never looks inside a condition: a picture's and a video's differ in their denoiser only.
    """

    def phase(self, condition: ConditionT_contra, step: int, num_steps: int) -> Hashable:
        """Return what a request's rows must share with others to be computed in one forward.

        Args:
            condition: The conditional one of the request; its unconditional row goes along.
            step: The coming step, from 0.
            num_steps: Of the request.
        """
        ...

    def denoise(
        self,
        samples_B: Tensor,
        timesteps_B: Tensor,
        conditions: Sequence[ConditionT_contra],
        phase: Hashable,
    ) -> Tensor:
        """Return the prediction for each row, shaped like `samples_B`; mutates nothing."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What must stay of a source: known latents, and where they are known.

    Attributes:
        latents: Clean latents of the source, shaped like the request's.
        mask: 1 where the source is kept, 0 where it is painted anew; broadcasts over channels.
    """

    latents: Tensor
    mask: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where denoising begins in place of pure noise (SDEdit, Meng et al. 2022).

    Attributes:
        latents: Clean latents, shaped like the request's.
        strength: Part of the steps that are taken, in (0, 1]: 1 begins at the first noise level.
    """

    latents: Tensor
    strength: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0.0 < self.strength <= 1.0:
            raise ValueError(f"strength: got {self.strength}, expected a number above 0 and at most 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class DenoiseRequest(Generic[ConditionT]):
    """One latent to make.

    Attributes:
        request_id: Unique among the engine's live requests.
        shape: Of the latent, without a batch dimension.
        condition: What the denoiser takes for a row.
        unconditional: The same for the guiding row; None, or a `guidance_scale` of at most 1, runs without.
        num_steps: Steps of the scheduler.
        guidance_scale: Weight of the conditional prediction over the unconditional one.
        seed: Of the request's own generator: of the start noise and of every later draw.
        kept: For inpainting: what is put back before every step, noised to its level.
        start: What to begin with; None: noise.
        shared_noise: Part of the noise that a clip's frames have in common (`vitron.diffusion.noise`).
    """

    request_id: str
    shape: tuple[int, ...]
    condition: ConditionT
    unconditional: ConditionT | None = None
    num_steps: int = 12
    guidance_scale: float = 4.0
    seed: int = 0
    kept: Kept | None = None
    start: Start | None = None
    shared_noise: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.num_steps < 1:
            raise ValueError(f"num_steps: got {self.num_steps}, expected 1 or more")
        if not 0.0 <= self.guidance_scale <= 100.0:
            raise ValueError(f"guidance_scale: got {self.guidance_scale}, expected 0 to 100")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: got {self.seed}, expected 0 to 2**63 - 1")
        if not 0.0 <= self.shared_noise <= 1.0:
            raise ValueError(f"shared_noise: got {self.shared_noise}, expected 0 to 1")

    @property
    def guided(self) -> bool:
        """Whether it takes two rows of a forward."""
        return self.unconditional is not None and self.guidance_scale > 1.0

    @property
    def steps_taken(self) -> int:
        """Steps of the `num_steps` that are taken: those above the start's strength are left out."""
        return self.num_steps if self.start is None else max(round(self.start.strength * self.num_steps), 1)

    @property
    def num_rows(self) -> int:
        """Rows of a forward that it takes."""
        return 2 if self.guided else 1


class StepEvent(NamedTuple):
    """A request has taken a step."""

    step: int
    num_steps: int


class DenoiseResult(NamedTuple):
    """A request is over.

    Attributes:
        latents: The clean latent; None if it was cancelled.
    """

    latents: Tensor | None


Event = tuple[str, StepEvent | DenoiseResult]
