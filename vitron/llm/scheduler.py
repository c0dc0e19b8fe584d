"""The scheduler: continuous batching, so that many replies grow in one forward per step.

Prompts are embeddings (pictures have no token ids), rows stand at their own positions, a long
prompt is computed in chunks between decode steps, and hidden states at chosen tokens are kept: the
library's own batching does none of this. It knows neither tokenizers, prompts nor media.

Layout: the n decoding requests are rows 0 to n-1 of the slot cache, without gaps; one row behind
all slots is the bench on which the request at the head of the queue is prefilled.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from vitron.engine_thread import EngineFullError
from vitron.llm.cache import PrefixCache
from vitron.llm.request import (
    Choices,
    EngineConfig,
    Event,
    FinishReason,
    GenerationRequest,
    GenerationResult,
    TokenEvent,
)
from vitron.llm.runner import ModelRunner
from vitron.llm.sampling import Sampler


@dataclass(slots=True)
class _Row:
    """A request that holds a slot."""

    request: GenerationRequest
    embeds_TD: Tensor  # on the model's device, in its dtype
    sampler: Sampler | None  # None: greedy
    max_tokens: int
    prefilled: int = 0
    cached_tokens: int = 0
    token_ids: list[int] = field(default_factory=list)
    state: str = ""  # of the guide
    hidden: list[Tensor] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    done: bool = False  # finish_reason without done: one more forward, for the last hidden state

    @property
    def length(self) -> int:
        """Positions whose keys and values are in the cache: the newest token's are not yet."""
        return self.prefilled + max(len(self.token_ids) - 1, 0)

    @property
    def wants_last(self) -> bool:
        """Whether the hidden state at the newest token is to be captured."""
        return self.token_ids[-1] in self.request.capture_token_ids


class Engine:
    """Slot-based continuous batching with chunked prefill and a prefix cache.

    `submit` and `cancel` may be called from any thread; `step` and `generate` from one at a time.
    After an exception out of `step` the live requests are lost: drop the engine.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        config: EngineConfig,
        *,
        eos_token_id: int,
        num_valid_tokens: int | None = None,
    ) -> None:
        """Allocate the cache and put the model into evaluation mode.

        Args:
            model: Used in place, not copied; its weights must not change while requests run.
            config: Sizes.
            eos_token_id: Ends every reply.
            num_valid_tokens: Ids from here on are padding of the vocabulary and never chosen;
                None means that there is no padding.
        """
        self.config = config
        self._runner = ModelRunner(
            model,
            num_rows=config.max_slots + 1,
            max_length=config.max_length,
            num_valid_tokens=num_valid_tokens,
        )
        if not 0 <= eos_token_id < self._runner.num_valid_tokens:
            raise ValueError(f"eos_token_id is {eos_token_id}, allowed: 0 to {self._runner.num_valid_tokens - 1}")
        self._eos_token_id = eos_token_id
        self._prefixes = PrefixCache(config.prefix_cache_entries)
        self._active: list[_Row] = []
        self._bench: _Row | None = None
        self._lock = threading.Lock()  # guards the three below
        self._waiting: deque[GenerationRequest] = deque()
        self._live: set[str] = set()
        self._cancelled: set[str] = set()

    @property
    def has_work(self) -> bool:
        """Whether a further `step` would do anything."""
        return bool(self._live)

    @property
    def num_running(self) -> int:
        """Requests that hold a slot."""
        return len(self._active) + (self._bench is not None)

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting)

    @property
    def num_free_slots(self) -> int:
        """Slots that nobody holds."""
        return self.config.max_slots - self.num_running

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; its reply is cut where its slot is full.

        Raises:
            ValueError: The request cannot run here, now or later.
            EngineFullError: The waiting queue is full.
        """
        self._check(request)
        with self._lock:
            if request.request_id in self._live:
                raise ValueError(f"request_id is {request.request_id!r}, allowed: none of a live request")
            if len(self._waiting) >= self.config.max_waiting:
                raise EngineFullError(
                    f"{len(self._waiting)} requests are waiting, max_waiting is {self.config.max_waiting}"
                )
            self._live.add(request.request_id)
            self._waiting.append(request)

    def cancel(self, request_id: str) -> bool:
        """End a live request at the next step; tell whether there was one of this id."""
        with self._lock:
            if request_id not in self._live:
                return False
            self._cancelled.add(request_id)
            return True

    def clear_prefix_cache(self) -> None:
        """Forget all known prompts: due when the model's weights change; not while stepping."""
        self._prefixes.clear()

    def step(self) -> list[Event]:
        """Run one scheduler step: cancellations, one chunk budget of prefill, one decode."""
        events: list[Event] = []
        self._drop_cancelled(events)
        budget = self.config.prefill_chunk
        while budget > 0 and self._fill_bench():
            budget -= self._prefill(budget, events)
        self._retire(events)
        if self._active:
            self._decode(events)
            self._retire(events)
        return events

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Run requests to completion and return their results in the same order.

        Raises:
            RuntimeError: Other requests are live; their events would get lost.
        """
        if self.has_work:
            raise RuntimeError("generate() needs an idle engine")
        for request in requests:
            self._check(request)
        pending, results = deque(requests), dict[str, GenerationResult]()
        try:
            while pending or self.has_work:
                while pending and self.num_waiting < self.config.max_waiting:
                    self.submit(pending.popleft())
                for request_id, event in self.step():
                    if isinstance(event, GenerationResult):
                        results[request_id] = event
        finally:
            self._forget_all()
        return [results[request.request_id] for request in requests]

    def _check(self, request: GenerationRequest) -> None:
        width, hidden_size = request.inputs_embeds.shape[1], self._runner.hidden_size
        if width != hidden_size:
            raise ValueError(f"inputs_embeds is {width} wide, allowed: {hidden_size}")
        if request.prompt_tokens >= self.config.max_length:
            raise ValueError(
                f"the prompt has {request.prompt_tokens} positions, allowed: fewer than "
                f"max_length = {self.config.max_length}, which holds prompt and reply"
            )

    def _forget_all(self) -> None:
        with self._lock:
            self._waiting.clear()
            self._live.clear()
            self._cancelled.clear()
        self._active.clear()
        self._bench = None

    def _drop_cancelled(self, events: list[Event]) -> None:
        with self._lock:
            cancelled, self._cancelled = self._cancelled, set()
            if not cancelled:
                return
            dropped = [r for r in self._waiting if r.request_id in cancelled]
            self._waiting = deque(r for r in self._waiting if r.request_id not in cancelled)
        for request in dropped:
            self._emit_result(self._row(request), "cancelled", events)
        if self._bench is not None and self._bench.request.request_id in cancelled:
            self._emit_result(self._bench, "cancelled", events)
            self._bench = None
        for row in self._active:
            if row.request.request_id in cancelled:
                row.finish_reason, row.done = "cancelled", True
        self._retire(events)

    def _row(self, request: GenerationRequest) -> _Row:
        params = request.params
        return _Row(
            request=request,
            embeds_TD=request.inputs_embeds.detach().to(self._runner.device, self._runner.dtype),
            sampler=Sampler(params) if params.temperature > 0 else None,
            state=request.guide.begin if request.guide is not None else "",
            max_tokens=min(params.max_tokens, self.config.max_length - request.prompt_tokens),
        )

    def _fill_bench(self) -> bool:
        """Put the next waiting request on the bench if a slot is free; tell if one sits there."""
        if self._bench is not None:
            return True
        if not self.num_free_slots:
            return False
        with self._lock:
            if not self._waiting:
                return False
            request = self._waiting.popleft()
        row = self._row(request)
        if request.prefix_key is not None:
            kv = self._prefixes.find(request.prefix_key, row.embeds_TD)
            if kv is not None:
                row.prefilled = row.cached_tokens = kv.shape[3]
                self._runner.cache.write_row(self.config.max_slots, kv)
        self._bench = row
        return True

    def _prefill(self, budget: int, events: list[Event]) -> int:
        """Compute the bench's next positions, at most `budget`; return how many these were."""
        row, bench = self._bench, self.config.max_slots
        assert row is not None
        start, total = row.prefilled, row.request.prompt_tokens
        row.prefilled = min(start + budget, total)
        hidden_TD = self._runner.prefill(bench, row.embeds_TD[start : row.prefilled], start)
        if row.prefilled == total:
            self._remember(row)
            self._runner.cache.copy_row(bench, len(self._active), total)
            self._active.append(row)
            self._bench = None
            self._advance(row, self._choose([row], hidden_TD[-1:])[0], events)
        return row.prefilled - start

    def _remember(self, row: _Row) -> None:
        key = row.request.prefix_key
        if key is not None and not self._prefixes.covers(key, row.embeds_TD):
            kv = self._runner.cache.read_row(self.config.max_slots, row.prefilled)
            self._prefixes.store(key, row.embeds_TD, kv)

    def _decode(self, events: list[Event]) -> None:
        """Feed every row's newest token, capture what is wanted, choose the next tokens."""
        rows = self._active
        hidden_BD = self._runner.decode([row.token_ids[-1] for row in rows], [row.length for row in rows])
        for row, hidden_D in zip(rows, hidden_BD, strict=True):
            if row.wants_last:
                row.hidden.append(hidden_D.clone())
        for row, token_id in zip(rows, self._choose(rows, hidden_BD), strict=True):
            if row.finish_reason is None:
                self._advance(row, token_id, events)
            else:
                row.done = True

    @torch.inference_mode()
    def _choose(self, rows: Sequence[_Row], hidden_BD: Tensor) -> list[int]:
        """Pick each row's next token; of no meaning for rows that have ended."""
        logits_BV = self._runner.logits(hidden_BD)
        for index, row in enumerate(rows):
            if row.request.guide is not None and row.finish_reason is None:
                _restrict(logits_BV[index], row.request.guide.choices(row.state))
        chosen: list[int] = logits_BV.argmax(dim=-1).tolist()
        for index, row in enumerate(rows):
            if row.sampler is not None and row.finish_reason is None:
                chosen[index] = row.sampler.sample(logits_BV[index])
        return chosen

    def _advance(self, row: _Row, token_id: int, events: list[Event]) -> None:
        """Take a chosen token into the reply and see whether it ends it."""
        row.token_ids.append(token_id)
        if row.request.guide is not None:
            row.state = row.request.guide.after(row.state, token_id)
        events.append((row.request.request_id, TokenEvent(token_id, len(row.token_ids) - 1)))
        if token_id == self._eos_token_id or token_id in row.request.params.stop_token_ids:
            row.finish_reason = "stop"
        elif len(row.token_ids) >= row.max_tokens:
            row.finish_reason = "length"
        row.done = row.finish_reason is not None and not row.wants_last

    def _retire(self, events: list[Event]) -> None:
        """Report the rows that are done and close the gaps they leave in the cache."""
        for index in reversed(range(len(self._active))):
            row = self._active[index]
            if row.done:
                assert row.finish_reason is not None
                self._emit_result(row, row.finish_reason, events)
                last = self._active.pop()
                if last is not row:
                    self._runner.cache.copy_row(len(self._active), index, last.length)
                    self._active[index] = last

    def _emit_result(self, row: _Row, reason: FinishReason, events: list[Event]) -> None:
        request = row.request
        hidden = torch.stack(row.hidden) if row.hidden else row.embeds_TD.new_empty((0, self._runner.hidden_size))
        result = GenerationResult(row.token_ids, reason, hidden, request.prompt_tokens, row.cached_tokens)
        events.append((request.request_id, result))
        with self._lock:
            self._live.discard(request.request_id)
            self._cancelled.discard(request.request_id)


def _restrict(logits_V: Tensor, choices: Choices) -> None:
    """Leave only what may be chosen, in place."""
    if choices.only is not None:
        kept = logits_V[choices.only].clone()
        logits_V.fill_(-torch.inf)
        logits_V[choices.only] = kept
    if choices.never is not None:
        logits_V[choices.never] = -torch.inf
