"""Scores of edits, as an oracle reads them and by pixels: of pictures and of clips.

Pixels are compared with the exact result of the edit, and outside of what the edit may change with the source. A
missing result counts as a wrong one for the oracle, and not at all for pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.data.shapes import clip_oracle, oracle
from train.evaluation.cases import Case, Score, Scores, share
from vitron.evaluation import pixels

Frame = npt.NDArray[np.uint8]
LOOKS = ("shape", "color", "size")


class EditMatch(NamedTuple):
    """What of an edit is there: all objects as they should be afterwards, and the background."""

    objects: bool
    background: bool


def image_editing(found: Sequence[Case]) -> Scores:
    """Return the share of edits that are there with all else unchanged, and the distances by pixels."""
    made = [(case, case.record.decoded_images()[0]) for case in found if case.record.images]
    outside = [
        pixels.l1(image, case.sample.images[0], ~case.sample.target["changed"])
        for case, image in made
        if not case.sample.target["changed"].all()
    ]
    return {
        **_matches([edited_image(case) for case in found]),
        "l1": _mean([pixels.l1(image, case.sample.target["image"]) for case, image in made]),
        "l1_outside": _mean(outside),
    }


def video_editing(found: Sequence[Case]) -> Scores:
    """Return the share of edits that are there in all frames, the distances by pixels, and flicker.

    "in_all_frames" asks for objects and background in every single frame as they should be there, wherever something
    new is; "edit_done" for the clip as a whole: its objects, how they move, and the background.
    """
    made = [(case, case.record.decoded_clips()[0]) for case in found if case.record.clips]
    fitting = [(case, clip) for case, clip in made if clip.shape == case.sample.target["clip"].shape]
    untouched = [
        (clip, case.sample.clips[0], ~case.sample.target["changed"])
        for case, clip in fitting
        if not case.sample.target["changed"].all()
    ]
    return {
        **_matches([edited_clip(case) for case in found]),
        "in_all_frames": share([in_all_frames(case) for case in found]),
        "l1": _mean([pixels.l1(clip, case.sample.target["clip"]) for case, clip in fitting]),
        "l1_outside": _mean([pixels.l1(*each) for each in untouched]),
        "flicker": _mean([pixels.flicker_against(clip, case.sample.target["clip"]) for case, clip in fitting]),
    }


def edited_image(case: Case) -> EditMatch:
    """Compare the first picture made with what the edit should give; a missing one is wrong in all."""
    if not case.record.images:
        return EditMatch(False, False)
    reading, target = oracle.read(case.record.decoded_images()[0]), case.sample.target
    return EditMatch(oracle.matches(reading, target["required"]), reading.background == target["background"])


def edited_clip(case: Case) -> EditMatch:
    """Compare the first clip made with what the edit should give; a missing one is wrong in all."""
    if not case.record.clips:
        return EditMatch(False, False)
    reading, target = clip_oracle.read_clip(case.record.decoded_clips()[0]), case.sample.target
    return EditMatch(clip_oracle.matches(reading, target["required"]), reading.background == target["background"])


def in_all_frames(case: Case) -> bool:
    """Tell whether every frame shows what the oracle sees in the same frame of the exact result.

    Where something is added is free, and so is what it hides: there it is what is seen in the source, and the new.
    """
    if not case.record.clips:
        return False
    target = case.sample.target
    made, exact = case.record.decoded_clips()[0], np.asarray(target["clip"])
    if made.shape != exact.shape:
        return False
    if target["kind"] != "add":
        return all(map(_alike, made, exact))
    new = {name: target["required"][target["result"]][name] for name in LOOKS}
    return all(_alike(frame, source, new) for frame, source in zip(made, case.sample.clips[0], strict=True))


def _alike(frame: Frame, exact: Frame, *new: dict[str, str]) -> bool:
    found, wanted = oracle.read(frame), oracle.read(exact)
    shown = [{name: getattr(each, name) for name in LOOKS} for each in wanted.objects]
    return found.background == wanted.background and oracle.matches(found, [*shown, *new])


def _matches(matches: Sequence[EditMatch]) -> Scores:
    return {
        "edit_done": share([all(match) for match in matches]),
        **{name: share([getattr(match, name) for match in matches]) for name in EditMatch._fields},
    }


def _mean(values: Sequence[float]) -> Score:
    return Score(sum(values) / len(values), len(values)) if values else Score(0.0, 0)
