"""What goes into the engine and what comes out of it: plain values, no model and no state."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from vitron.engine_thread import EngineFullError as EngineFullError
from vitron.engine_thread import EngineStoppedError as EngineStoppedError
from vitron.llm.sampling import SamplingParams

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Sizes of one engine.

    Attributes:
        max_slots: Requests that hold a slot at once, decoding or being prefilled.
        max_length: Positions a slot holds: prompt and reply together.
        prefill_chunk: Prompt positions computed at most between two decode steps.
        prefix_cache_entries: Prompts whose keys and values are kept; 0 turns the cache off.
        max_waiting: Requests that may wait for a slot.
    """

    max_slots: int = 8
    max_length: int = 1024
    prefill_chunk: int = 128
    prefix_cache_entries: int = 32
    max_waiting: int = 256

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("max_slots", "max_length", "prefill_chunk", "max_waiting"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed: 1 or more")
        if self.prefix_cache_entries < 0:
            entries = self.prefix_cache_entries
            raise ValueError(f"prefix_cache_entries is {entries}, allowed: 0 or more")


class Choices(NamedTuple):
    """Token ids that may come next, int64 `[n]` each: `only` these, or `never` those; None: nothing is said."""

    only: Tensor | None = None
    never: Tensor | None = None


class Guide(Protocol):
    """Says at every step which tokens a reply may go on with. Holds nothing of a reply: that is its state."""

    begin: str

    def after(self, state: str, token_id: int) -> str:
        """Return the state after a token."""
        ...

    def choices(self, state: str) -> Choices:
        """Return which tokens may come next."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class GenerationRequest:
    """One prompt to continue.

    Attributes:
        request_id: Unique among the engine's live requests.
        inputs_embeds: The prompt as embeddings, [T, D]; must not be changed while it runs.
        params: How to sample and when to stop.
        capture_token_ids: Generated tokens whose hidden states the result carries.
        prefix_key: One hashable per prompt position that names what stands there (a token id; a
            pair of media hash and index), for the prefix cache; None opts out of it.
        guide: Restricts the tokens that are chosen; None: all may be.
    """

    request_id: str
    inputs_embeds: Tensor
    params: SamplingParams
    capture_token_ids: frozenset[int] = frozenset()
    prefix_key: tuple[Hashable, ...] | None = None
    guide: Guide | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        shape = tuple(self.inputs_embeds.shape)
        if len(shape) != 2 or shape[0] < 1:
            raise ValueError(f"inputs_embeds has shape {shape}, allowed: [T, D] with T of 1 or more")
        if self.prefix_key is not None and len(self.prefix_key) != shape[0]:
            raise ValueError(
                f"prefix_key has {len(self.prefix_key)} items, allowed: one per prompt position ({shape[0]}), or None"
            )

    @property
    def prompt_tokens(self) -> int:
        """Number of prompt positions."""
        return int(self.inputs_embeds.shape[0])


class TokenEvent(NamedTuple):
    """One generated token: `index` counts from 0 within the reply."""

    token_id: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


class GenerationResult(NamedTuple):
    """A finished reply.

    Attributes:
        token_ids: Every generated token, the one that stopped the reply included.
        finish_reason: Why it ended.
        hidden: [k, D], the last hidden state (after the final norm) at each generated token that
            was to be captured, in order. A cancelled reply may lack that of its last token.
        prompt_tokens: Prompt positions.
        cached_tokens: How many of them came from the prefix cache.
    """

    token_ids: list[int]
    finish_reason: FinishReason
    hidden: Tensor
    prompt_tokens: int
    cached_tokens: int


Event = tuple[str, TokenEvent | GenerationResult]
