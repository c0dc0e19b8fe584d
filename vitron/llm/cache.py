"""Key/value memory of the engine: a slot per running request, and the prefix cache.

`SlotCache` is what the transformers model writes to and attends over; before each forward the
engine opens a window on it (one row for a prefill chunk, the first n rows for a decode step).
`PrefixCache` keeps the keys and values of recent prompts. Neither knows what a request is.

Shapes: L layers, R rows, H key/value heads, T positions, K head width, D model width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import LlamaConfig
from transformers.cache_utils import Cache, CacheLayerMixin

MIN_REUSED_POSITIONS = 16
"""Shorter common prefixes are cheaper to compute again than to look after."""


class _Window:
    """Which part of the cache the current forward writes and reads; shared by all layers."""

    def __init__(self) -> None:
        self.rows = slice(0, 0)
        self.start = 0  # first position written, for a prefill chunk
        self.row_ids: Tensor | None = None  # [n], set for a decode step only
        self.positions: Tensor | None = None  # [n], where each row writes its one token
        self.kv_length = 0  # positions attended over


class _SlotLayer(CacheLayerMixin):
    """One layer's keys and values, [R, H, T, K] each: views of the engine's single allocation."""

    def __init__(self, keys_RHTK: Tensor, values_RHTK: Tensor, window: _Window) -> None:
        super().__init__()
        self.keys = keys_RHTK
        self.values = values_RHTK
        self.is_initialized = True
        self._window = window

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new states into the window and return all states the window attends over."""
        window, keys, values = self._window, self.keys, self.values
        assert keys is not None and values is not None
        if window.row_ids is None:
            written = slice(window.start, window.start + key_states.shape[2])
            keys[window.rows, :, written] = key_states
            values[window.rows, :, written] = value_states
        else:
            keys[window.row_ids, :, window.positions] = key_states[:, :, 0]
            values[window.row_ids, :, window.positions] = value_states[:, :, 0]
        return (
            keys[window.rows, :, : window.kv_length],
            values[window.rows, :, : window.kv_length],
        )

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: the memory is allocated with the engine."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the attended length and its offset."""
        return self._window.kv_length, 0

    def get_seq_length(self) -> int:
        """Return the attended length; rows have lengths of their own, which the engine keeps."""
        return self._window.kv_length

    def get_max_length(self) -> int:
        """Return the number of positions a row holds."""
        assert self.keys is not None
        return int(self.keys.shape[2])


class SlotCache:
    """Keys and values of all slots in one allocation [L, 2, R, H, T, K], made once.

    Rows 0 to n-1 hold the n decoding requests without gaps; the engine keeps it so with `copy_row`.

    Attributes:
        model_cache: What a forward gets as `past_key_values`.
    """

    def __init__(
        self,
        config: LlamaConfig,
        *,
        num_rows: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Allocate all memory: `num_rows` rows of `max_length` positions."""
        num_heads = config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // num_heads
        kv_heads = config.num_key_value_heads or num_heads
        # Zeros, not empty: a masked position still enters the product, and 0 * NaN is NaN.
        self._storage = torch.zeros(
            (config.num_hidden_layers, 2, num_rows, kv_heads, max_length, head_dim),
            dtype=dtype,
            device=device,
        )
        self._window = _Window()
        layers = [_SlotLayer(keys, values, self._window) for keys, values in self._storage]
        self.model_cache = Cache(layers=list(layers))

    def open_prefill(self, row: int, start: int, length: int) -> None:
        """Let the next forward write `length` positions of one row, from `start` on."""
        window = self._window
        window.rows, window.start = slice(row, row + 1), start
        window.row_ids = window.positions = None
        window.kv_length = start + length

    def open_decode(self, positions_B: Tensor, kv_length: int) -> None:
        """Let the next forward write one position in each of the first B rows.

        Args:
            positions_B: Where each row writes; all below `kv_length`.
            kv_length: Positions attended over; the caller masks each row's surplus.
        """
        window, num_rows = self._window, positions_B.shape[0]
        window.rows = slice(0, num_rows)
        window.row_ids = torch.arange(num_rows, device=positions_B.device)
        window.positions = positions_B
        window.kv_length = kv_length

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of row `source` over row `target`."""
        if source != target:
            self._storage[:, :, target, :, :length] = self._storage[:, :, source, :, :length]

    def read_row(self, row: int, length: int) -> Tensor:
        """Return a copy of the first `length` positions of a row: [L, 2, H, length, K]."""
        return self._storage[:, :, row, :, :length].clone()

    def write_row(self, row: int, kv: Tensor) -> None:
        """Fill the first positions of a row with what `read_row` gave (or a part of it)."""
        self._storage[:, :, row, :, : kv.shape[3]] = kv


class _Entry(NamedTuple):
    embeds_TD: Tensor
    kv: Tensor  # [L, 2, H, T, K]


class PrefixCache:
    """Keys and values of the last prompts, least recently used out first.

    A prompt is known by one hashable per position. The key proposes a prefix; the stored input
    embeddings confirm it position by position, so a careless key costs a miss, never a wrong reply.
    """

    def __init__(self, num_entries: int) -> None:
        """Keep up to `num_entries` prompts; 0 keeps none."""
        self._num_entries = num_entries
        self._entries: OrderedDict[tuple[Hashable, ...], _Entry] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of prompts kept."""
        return len(self._entries)

    def find(self, key: tuple[Hashable, ...], embeds_TD: Tensor) -> Tensor | None:
        """Return the keys and values of the longest usable known prefix, or None.

        The last position is never part of it: its hidden state has to be computed.
        """
        best, length = self._longest(key, embeds_TD)
        length = min(length, len(key) - 1)
        if best is None or length < MIN_REUSED_POSITIONS:
            return None
        self._entries.move_to_end(best)
        return self._entries[best].kv[:, :, :, :length]

    def covers(self, key: tuple[Hashable, ...], embeds_TD: Tensor) -> bool:
        """Tell whether storing this prompt would add nothing."""
        too_short = len(key) < MIN_REUSED_POSITIONS
        return too_short or not self._num_entries or self._longest(key, embeds_TD)[1] == len(key)

    def store(self, key: tuple[Hashable, ...], embeds_TD: Tensor, kv: Tensor) -> None:
        """Keep a prompt; `kv` is kept as it is, so pass a copy of the row."""
        for known in [known for known in self._entries if known == key[: len(known)]]:
            del self._entries[known]  # the new, longer prompt serves whatever this one did
        self._entries[key] = _Entry(embeds_TD.clone(), kv)
        while len(self._entries) > self._num_entries:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: due whenever the model's weights change."""
        self._entries.clear()

    def _longest(self, key: tuple[Hashable, ...], embeds_TD: Tensor) -> tuple[tuple[Hashable, ...] | None, int]:
        """Return the stored key that shares most positions with `key`, and their number."""
        if not self._entries:
            return None, 0
        best = max(self._entries, key=lambda known: _common_length(known, key))
        length = _common_length(best, key)
        same_T = (self._entries[best].embeds_TD[:length] == embeds_TD[:length]).all(dim=1)
        return best, int(same_T.long().cumprod(0).sum())


def _common_length(a: tuple[Hashable, ...], b: tuple[Hashable, ...]) -> int:
    """Return the length of the common prefix, by bisection over slice comparisons (in C)."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
