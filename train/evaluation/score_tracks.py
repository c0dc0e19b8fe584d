"""Scores of objects that are followed through clips: region J, boundary F and their mean, by the protocol of DAVIS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from train.evaluation.cases import Case, Score, Scores
from vitron.evaluation.vos import JAndF, ObjectScore, official, score_sequence

TRACK_TASKS: tuple[str, ...] = ("track_text", "track_mark")


def tracking(found: Sequence[Case]) -> Scores:
    """Return J, F and J&F over all frames: a drawing does not give its frame away as a first mask would."""
    mean = official([each for case in found for each in _objects(case)])
    return {name: Score(value, len(found)) for name, value in mean._asdict().items()}


def case_tracking(case: Case) -> JAndF:
    """Return J, F and J&F of one case."""
    return official(_objects(case))


def case_masks(case: Case) -> npt.NDArray[np.bool_]:
    """Return all that was segmented, bool `[T, H, W]`; nothing in any frame where there are no tracks."""
    target = np.asarray(case.sample.target["masks"])
    tracks = case.record.decoded_tracks(*target.shape[1:])
    fitting = [track for track in tracks if track.shape == target.shape]
    return np.any(fitting, axis=0) if fitting else np.zeros(target.shape, dtype=np.bool_)


def sight(case: Case) -> str:
    """Name whether the object passes behind another one."""
    return "occluded" if case.sample.target["occluded"] else "in_sight"


def _objects(case: Case) -> list[ObjectScore]:
    target = np.asarray(case.sample.target["masks"], dtype=np.bool_)
    return score_sequence(case.item.key, {0: case_masks(case)}, {0: target}, frames="all")
