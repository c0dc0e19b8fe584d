"""Maps the parameter names of the published SEEM checkpoints to those of `SeemNetwork`.

The names and shapes were taken from the released code; no published weights have been loaded and compared here. The
wiring of this port is that of the demonstration code, which belongs to the `*_v0.pt` files: those of v1 have the same
names but another attention table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from vitron.specialists.seem.network import SeemNetwork

# Longest first: the language encoder sits inside the published predictor.
PREFIXES: tuple[tuple[str, str], ...] = (
    ("sem_seg_head.predictor.lang_encoder.", "lang_encoder."),
    ("sem_seg_head.predictor.", "predictor."),
    ("sem_seg_head.pixel_decoder.", "pixel_decoder."),
    ("backbone.", "backbone."),
)
WRAPPERS = ("module.", "model.")
# Published parts that have no place here: memory over rounds, boxes, training-time values.
UNUSED = ("predictor.spatial_embed.", "predictor.spatial_featured.", "predictor.bbox_embed.", "criterion.", "pixel_")
# Parts that this project adds; alignment trains them.
OWN = ("predictor.signal_class.", "predictor.visual_class.", "predictor.match_bias")


class LoadReport(NamedTuple):
    """What a published checkpoint filled.

    Attributes:
        loaded: names here that it filled.
        own: names here that it cannot have.
        missing: names here that it should have and has not.
        unused: published names that are left out on purpose.
        unexpected: published names that nothing here knows.
    """

    loaded: tuple[str, ...]
    own: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    unexpected: tuple[str, ...]


def from_published(name: str) -> str:
    """The name here of a published parameter; unknown names come back without their wrapper."""
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    for theirs, ours in PREFIXES:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def to_published(name: str) -> str:
    """The published name of a parameter here."""
    for theirs, ours in PREFIXES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise ValueError(f"name: got {name!r}, expected one that begins with one of {_ours()}")


def load_published(network: SeemNetwork, state: Mapping[str, Tensor]) -> LoadReport:
    """Fill a network from a published state dict.

    Raises:
        ValueError: a parameter is missing or unknown; nothing is loaded then.
    """
    renamed = {from_published(name): value for name, value in state.items()}
    report = compare(network.state_dict(), renamed)
    if report.missing or report.unexpected:
        raise ValueError(
            f"state: {len(report.missing)} parameters missing ({_some(report.missing)}), "
            f"{len(report.unexpected)} unknown ({_some(report.unexpected)})"
        )
    network.load_state_dict({name: renamed[name] for name in report.loaded}, strict=False)
    return report


def compare(ours: Iterable[str], theirs: Iterable[str]) -> LoadReport:
    """Sort the names of two state dicts, both in this project's spelling."""
    here, there = set(ours), set(theirs)
    lacking, extra = sorted(here - there), sorted(there - here)
    return LoadReport(
        loaded=tuple(sorted(here & there)),
        own=tuple(name for name in lacking if name.startswith(OWN)),
        missing=tuple(name for name in lacking if not name.startswith(OWN)),
        unused=tuple(name for name in extra if name.startswith(UNUSED)),
        unexpected=tuple(name for name in extra if not name.startswith(UNUSED)),
    )


def _ours() -> list[str]:
    return [ours for _, ours in PREFIXES]


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
