"""What carries features and signal embeddings from part to part, and counts itself.

The payload is a NumPy array: Ray hands it over without a copy, while a `torch.Tensor` is pickled.
bfloat16, which NumPy lacks, travels as its 16-bit pattern. The process of the gateway calls
`forbid_here`: an envelope that is ever opened there is a fault of the graph, and raises.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deployments.messages import EdgeRecord

_forbidden: list[str] = []


class EnvelopeError(RuntimeError):
    """An envelope arrived where it does not belong, or holds something else than expected."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """An array on its way.

    Attributes:
        name: what it holds: "image features", "region tokens", "signal".
        source: part that made it.
        revision: weights that made it.
        dtype: of the tensor, in torch's spelling without the prefix.
        shape: of the tensor.
        data: the buffer; read-only once it has crossed a process boundary.
        send_s: time the packing took.
        sent_at: wall clock at the end of the packing.
        edges: crossings that led to this payload.
    """

    name: str
    source: str
    revision: str
    dtype: str
    shape: tuple[int, ...]
    data: npt.NDArray[Any]
    send_s: float
    sent_at: float
    edges: tuple[EdgeRecord, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Size of the payload."""
        return int(self.data.nbytes)

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        """Pickle through `_rebuild`, so that opening one can be refused."""
        return _rebuild, (dict(vars(self)),)


def forbid_here(process: str) -> None:
    """Make this process refuse every envelope that is handed to it from now on."""
    _forbidden[:] = [process]


def allow_here() -> None:
    """Undo `forbid_here`."""
    _forbidden.clear()


def _rebuild(fields: dict[str, Any]) -> Envelope:
    if _forbidden:
        raise EnvelopeError(
            f"{fields['name']} of {fields['source']} reached the {_forbidden[0]}, which must only hold references"
        )
    return Envelope(**fields)


def pack(
    tensor: Tensor,
    *,
    name: str,
    source: str,
    revision: str,
    edges: tuple[EdgeRecord, ...] = (),
) -> Envelope:
    """Lay `tensor` out for sending; the envelope owns its memory unless it was contiguous on the CPU."""
    start = time.perf_counter()
    plain = tensor.detach().cpu().contiguous()
    wire = plain.view(torch.uint16) if plain.dtype == torch.bfloat16 else plain
    data = wire.numpy()
    return Envelope(
        name=name,
        source=source,
        revision=revision,
        dtype=str(plain.dtype).removeprefix("torch."),
        shape=tuple(plain.shape),
        data=data,
        send_s=time.perf_counter() - start,
        sent_at=time.time(),
        edges=edges,
    )


def unpack(envelope: Envelope, *, name: str, target: str) -> tuple[Tensor, EdgeRecord]:
    """Open an envelope at part `target`.

    Returns:
        A tensor of its own memory, and the record of this crossing.

    Raises:
        EnvelopeError: it holds something else than `name`, or its fields contradict each other.
    """
    if envelope.name != name:
        raise EnvelopeError(f"{target} got {envelope.name!r}, expected {name!r}")
    wire = "uint16" if envelope.dtype == "bfloat16" else envelope.dtype
    if str(envelope.data.dtype) != wire or tuple(envelope.data.shape) != envelope.shape:
        raise EnvelopeError(
            f"{name}: buffer is {envelope.data.dtype} {envelope.data.shape}, "
            f"the envelope says {envelope.dtype} {envelope.shape}"
        )
    # Clocks of two machines may disagree: never report a negative time.
    receive_s = max(0.0, time.time() - envelope.sent_at)
    tensor = torch.from_numpy(np.array(envelope.data))
    if envelope.dtype == "bfloat16":
        tensor = tensor.view(torch.bfloat16)
    record = EdgeRecord(envelope.source, target, name, envelope.num_bytes, envelope.send_s, receive_s)
    return tensor, record
