"""What every specialist takes, gives and raises.

A specialist is a module that carries out one kind of invocation. It knows nothing of the LLM: it is told what to do
by an instruction, by a signal embedding, by regions, or by any mixture of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from vitron.types import Clip, DrawnRegion, Grounding, Image, Module, SpecialistOutput

Option = float | int | str
OnProgress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""
IsCancelled = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class SpecialistRequest:
    """One job for a specialist.

    Attributes:
        instruction: the text after the verb of the invocation ("red circle" of "segmentation: red circle"); "" in
            message mode "signal".
        regions: the invocation's boxes, and a caller's layout (label and box) for generation.
        signal: signal embedding v, float32 `[n, d_v]`; None in message mode "text".
        image: source picture.
        clip: source clip, with all frames that are to be worked on.
        drawn: what the user drew on `image`, or on frames of `clip`.
        reference: another picture that shows what is meant.
        reference_drawn: where on `reference`.
        seed: of everything random.
        options: settings the specialist knows by name; an unknown one is a ValueError.
    """

    instruction: str
    regions: tuple[Grounding, ...] = ()
    signal: Tensor | None = None
    image: Image | None = None
    clip: Clip | None = None
    drawn: tuple[DrawnRegion, ...] = ()
    reference: Image | None = None
    reference_drawn: DrawnRegion | None = None
    seed: int = 0
    options: Mapping[str, Option] = field(default_factory=dict)


class Specialist(Protocol):
    """One of the modules of paper Table 13; every implementation is an `nn.Module` too."""

    module: Module

    def run(
        self,
        request: SpecialistRequest,
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> SpecialistOutput:
        """Carry out one request; mutates nothing and gives equal output for equal requests.

        Raises:
            ValueError: the request itself is wrong; the message names field, value and what is allowed.
            Cancelled: `cancelled` said so at a step.
            SpecialistError: the run failed for any other reason.
        """
        ...

    def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
        """Carry out several requests together; each result equals that of `run` (to 1e-4)."""
        ...


class SpecialistError(Exception):
    """A specialist's run failed."""

    def __init__(self, specialist: str, reason: str) -> None:
        """Keep which specialist failed and why."""
        super().__init__(f"{specialist}: {reason}")
        self.specialist = specialist
        self.reason = reason

    def __reduce__(self) -> tuple[type[SpecialistError], tuple[str, str]]:
        """Pickle by the two arguments, so that the error survives a process boundary."""
        return type(self), (self.specialist, self.reason)


class Cancelled(Exception):
    """The caller no longer wants the result."""


def check_options(options: Mapping[str, Option], allowed: Mapping[str, tuple[float, float]]) -> None:
    """Raise ValueError for an option that is unknown, not a number, or outside its inclusive range."""
    for name, value in options.items():
        if name not in allowed:
            raise ValueError(f"options: got {name!r}, expected one of {sorted(allowed)}")
        low, high = allowed[name]
        if isinstance(value, str) or not low <= value <= high:
            raise ValueError(f"options.{name}: got {value!r}, expected a number in [{low:g}, {high:g}]")
