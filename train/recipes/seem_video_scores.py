"""Scores of the video segmenter on held-out Shapes clips, without a language model, and a sheet to look at.

The instruction names the object as the language model would, and the signal is simulated by token states of its full
description.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from train.data.layout import messages
from train.data.sample import Sample
from train.data.shapes import tasks
from train.recipes.seem_scores import outlined
from train.recipes.specialists import save_grid
from vitron.evaluation.vos import ObjectScore, official, score_sequence
from vitron.invocation import parse_reply, strip_verb
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.seem.video import SeemVideo
from vitron.types import BoolMask

KINDS = ("track_text", "track_mark")
SIGNAL_NOISE = 0.3
NUM_DRAWN = 4
COLUMNS = 8


class Result(NamedTuple):
    """A held-out sample and the masks that were found."""

    sample: Sample
    kind: str
    masks: np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]

    @property
    def score(self) -> ObjectScore:
        """J and F over all frames."""
        target = np.asarray(self.sample.target["masks"], dtype=np.bool_)
        return score_sequence(self.sample.id, {0: self.masks}, {0: target}, frames="all")[0]


class _Simulated(torch.nn.Module):
    """Stands in for the output projection: gives token states of a description, shaken."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, signals: Tensor) -> Tensor:
        return self.tokens


def results(seem: SeemVideo, split: str, count: int) -> Iterator[Result]:
    """Segment the first `count` samples of each kind."""
    projection = seem.projection
    try:
        for index in range(count):
            for kind in KINDS:
                sample = tasks.build(kind, split, index)
                seem.projection = _Simulated(_signal(seem, sample, index))  # type: ignore[assignment]
                tracks = seem.run(_request(seem, sample)).tracks
                yield Result(sample, kind, np.any([track.masks for track in tracks], axis=0))
    finally:
        seem.projection = projection


def score(seem: SeemVideo, split: str, count: int) -> dict[str, float]:
    """Return J&F in percent: of both kinds together, of each, and of each where the object is hidden for a while."""
    found = list(results(seem, split, count))
    scores = {"j_and_f": _mean(found)}
    for kind in KINDS:
        of_kind = [result for result in found if result.kind == kind]
        hidden = [result for result in of_kind if result.sample.target["occluded"]]
        scores[kind] = _mean(of_kind)
        if hidden:
            scores[f"{kind}/occluded"] = _mean(hidden)
    return scores


def contact_sheet(seem: SeemVideo, path: Path) -> None:
    """Draw samples as rows: frames with the target's edge, and below with that of the result."""
    rows = []
    for result in results(seem, "val", NUM_DRAWN):
        frames = result.sample.clips[0]
        chosen = np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int)
        target: BoolMask = np.asarray(result.sample.target["masks"])
        rows += [[outlined(frames[t], masks[t]) for t in chosen] for masks in (target, result.masks)]
    save_grid(path, rows)


def _request(seem: SeemVideo, sample: Sample) -> SpecialistRequest:
    invocation = parse_reply(sample.turns[-1].text).invocation
    assert invocation is not None
    asked = messages(sample)[0]
    return SpecialistRequest(
        instruction=strip_verb(invocation.instruction),
        regions=invocation.regions,
        signal=torch.zeros(seem.signal.num_tokens, seem.signal.width),
        clip=asked.clips[0],
        drawn=asked.regions,
    )


@torch.no_grad()
def _signal(seem: SeemVideo, sample: Sample, index: int) -> Tensor:
    tokens = seem.network.signal_targets([sample.condition_text or ""])
    noise = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(index)).to(tokens)
    return tokens + SIGNAL_NOISE * tokens.std() * noise


def _mean(found: list[Result]) -> float:
    return round(100 * official([result.score for result in found]).j_and_f, 2)
