"""Fitted clips by what they were fitted to: a second edit of one object of one clip needs no second fit."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from vitron.specialists.stablevideo.layers import Layers


def key_of(frames: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_]) -> str:
    """Return a name of a clip [T, H, W, 3] and its foreground [T, H, W]: the SHA-256 of both."""
    digest = hashlib.sha256(repr((frames.shape, masks.shape)).encode())
    digest.update(np.ascontiguousarray(frames).tobytes())
    digest.update(np.packbits(masks).tobytes())
    return digest.hexdigest()


class LayersCache:
    """The last fits, least recently used out first; safe to use from several threads. A copy starts empty."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Layers] = OrderedDict()

    def __reduce__(self) -> tuple[type[LayersCache], tuple[int]]:
        return type(self), (self._size,)

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def find(self, key: str) -> Layers | None:
        """Return the fit of this name, if it is kept."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def store(self, key: str, layers: Layers) -> None:
        """Keep a fit as the latest."""
        with self._lock:
            self._entries[key] = layers
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
