"""Specialists by name. Importing this imports all of them; a replica that serves one imports that one."""

from __future__ import annotations

from collections.abc import Callable

from vitron.config import VitronConfig
from vitron.specialists.base import Specialist
from vitron.specialists.gligen import load_gligen
from vitron.specialists.seem.model import load_seem
from vitron.weights import Weights

LOADERS: dict[str, Callable[[VitronConfig, Weights], Specialist]] = {"gligen": load_gligen, "seem": load_seem}
