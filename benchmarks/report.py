"""What every benchmark says of where it ran, and how its result is shown and kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def load() -> float:
    """Return how many processes wanted to run on average in the last minute."""
    return os.getloadavg()[0]


def report(result: Mapping[str, Any], out: Path | None, *, load_before: float) -> None:
    """Print a result with the machine it is of, and write it to a file."""
    where = {
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_before": load_before,
        "load_at_the_end": load(),
    }
    text = json.dumps({**result, **where}, indent=1)
    print(text)
    if out:
        out.write_text(text + "\n")
