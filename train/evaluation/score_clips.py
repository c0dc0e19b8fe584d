"""Scores of clips that were made, as an oracle reads them (`train.data.shapes.clip_match`)."""

from __future__ import annotations

from collections.abc import Sequence

from train.data.shapes.clip_match import AnimatedMatch, GeneratedMatch, match_animated, match_generated
from train.evaluation.cases import Case, Scores, share


def video_generation(found: Sequence[Case]) -> Scores:
    """Return the shares of clips with the objects asked for, their motion, both, events too, and the background."""
    matches = [generated(case) for case in found]
    asked = [bool(case.sample.target["background"]) for case in found]
    result = {name: share([getattr(m, name) for m in matches]) for name in GeneratedMatch._fields[:-1]}
    grounds = [m.background for m, named in zip(matches, asked, strict=True) if named]
    return result | ({"background": share(grounds)} if grounds else {})


def image_to_video(found: Sequence[Case]) -> Scores:
    """Return the shares of clips that keep the picture's objects, that follow the motion asked for, and both."""
    matches = [animated(case) for case in found]
    return {name: share([getattr(match, name) for match in matches]) for name in AnimatedMatch._fields}


def generated(case: Case) -> GeneratedMatch:
    """Compare the first clip made with what was asked for; a missing one is wrong in all."""
    if not case.record.clips:
        return GeneratedMatch(False, False, False, False, False)
    target = case.sample.target
    return match_generated(case.record.decoded_clips()[0], target["required"], target["background"])


def animated(case: Case) -> AnimatedMatch:
    """Compare the first clip made with the picture and the motion asked for; a missing one is wrong in all."""
    if not case.record.clips:
        return AnimatedMatch(False, False, False)
    target = case.sample.target
    return match_animated(case.record.decoded_clips()[0], target["required"], target["index"])
