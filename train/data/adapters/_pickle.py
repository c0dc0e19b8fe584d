"""Loading pickles of data sets without running what they may hold.

A pickle can call any function. Here it can build containers, numbers and texts, and nothing else.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

_CONTAINERS = {"dict": dict, "frozenset": frozenset, "list": list, "set": set, "tuple": tuple}
_SCALAR_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_CODE = re.compile(r"[iuf][1248]|b1")


class _DType:
    """Stands for `numpy.dtype` while a pickle is read: remembers which number type is meant."""

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise pickle.UnpicklingError(f"numpy type {code!r} is not a number")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the byte order, the second item of a numpy type's state."""
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"numpy byte order {state[1]!r} is unknown")
        self.order = state[1]


def _scalar(dtype: object, data: object) -> Any:
    """Return what a pickled numpy scalar is worth; Python 2 wrote its bytes as text."""
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes):
        raise pickle.UnpicklingError("a numpy scalar is not made of a number type and bytes")
    return np.frombuffer(raw, dtype=np.dtype(dtype.order + dtype.code), count=1)[0].item()


def _latin1(text: object, encoding: object) -> bytes:
    """Return bytes, as old pickle protocols write them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not latin1")
    return text.encode("latin1")


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few names that data may use."""
        if module in ("builtins", "__builtin__") and name in _CONTAINERS:
            return _CONTAINERS[name]
        if module in _SCALAR_MODULES and name == "scalar":
            return _scalar
        if (module, name) == ("numpy", "dtype"):
            return _DType
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise pickle.UnpicklingError(f"it names {module}.{name}, which plain data does not need")


def load(path: Path) -> Any:
    """Return what a pickle of plain data holds, written by Python 2 or 3.

    Raises:
        ValueError: it is broken, or holds anything but containers, numbers and texts.
    """
    with path.open("rb") as file:
        try:
            return _Restricted(file, encoding="latin1").load()
        # What the unpickler raises on broken streams, beside its own error.
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"{path}: not a pickle of plain data ({error})") from error
