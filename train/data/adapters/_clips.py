"""From the facts of a record about a video to a sample. What `_dialogue.py` is for pictures.

Frame numbers in texts count the frames of the clip, which is all that the assistant sees; `target["frame_numbers"]`
says which frames of the video they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from train.data.adapters import _wording as words
from train.data.adapters._dataset import Rng
from train.data.adapters._dialogue import as_question, exchange, mention, name_of, plain
from train.data.adapters._frames import Frames
from train.data.sample import BoolMask, Sample
from train.data.shapes.wording import command, pick
from vitron.invocation import format_boxes
from vitron.types import Box, Grounding, Invocation, Module

Track = npt.NDArray[np.float32]
"""Boxes of one object per frame, `[T, 4]` `xyxy` in [0, 1]; zeros where it is not seen."""


def video_caption(id: str, rng: Rng, frames: Frames, captions: Sequence[str]) -> Sample:
    """Describe a clip; one of its captions is the answer, all are references."""
    references = tuple(plain(text) for text in captions)
    answer = pick(references, rng)
    return Sample(
        id=id,
        task="video_caption",
        clips=(frames.clip,),
        turns=exchange("<video>\n", command(words.VIDEO_CAPTION, rng), answer),
        target={"answer": answer, "references": references, "frame_numbers": frames.numbers},
    )


def video_generate(id: str, rng: Rng, frames: Frames, caption: str) -> Sample:
    """Make a clip from a caption."""
    text = plain(caption)
    invocation = Invocation(module=Module.VIDEO_GENERATION, instruction=f"generation: {text}")
    user = command(words.VIDEO_GENERATE, rng, what=mention(text))
    return Sample(
        id=id,
        task="video_generate",
        turns=exchange("", user, pick(words.VIDEO_GENERATE_REPLIES, rng), invocation),
        condition_text=text,
        target={"clip": frames.clip, "caption": text, "frame_numbers": frames.numbers},
    )


def video_qa(id: str, rng: Rng, frames: Frames, question: str, answer: str, kind: str) -> Sample:
    """Answer a question about a clip; `kind` is the data set's name for this sort of question."""
    answer = plain(answer)
    return Sample(
        id=id,
        task="video_qa",
        clips=(frames.clip,),
        turns=exchange("<video>\n", pick(words.VIDEO_QUESTION, rng).format(as_question(question)), answer),
        target={"answer": answer, "kind": kind, "frame_numbers": frames.numbers},
    )


def video_grounding(
    id: str, rng: Rng, frames: Frames, what: str, track: Track, mark: tuple[int, BoolMask] | None = None
) -> Sample:
    """Say where an object is, and from which frame to which.

    The task is `video_grounding`, or `video_grounding_mark` with a mark. The answer holds one `(x1, y1, x2, y2 | start,
    end)` for each run of frames in which the object is seen; the box is that of the run's first frame, as in the Shapes
    world.

    Args:
        id: of the sample.
        rng: draws the wording.
        frames: the clip.
        what: names the object, or holds `<region>` if there is a mark.
        track: where it is.
        mark: frame number in the clip, and what is drawn on that frame.
    """
    found = groundings(track, id)
    answer = format_boxes(found)
    target = {"answer": answer, **_where(found, track, frames)}
    return Sample(
        id=id,
        task="video_grounding" if mark is None else "video_grounding_mark",
        clips=(frames.clip,),
        marks=() if mark is None else ((0, mark[1]),),
        turns=exchange("<video>\n", command(words.TRACK, rng, what=what), answer),
        target=target if mark is None else {**target, "mark_frame": mark[0]},
    )


def video_grounded_caption(id: str, rng: Rng, frames: Frames, text: str, label: str, track: Track) -> Sample:
    """A sentence, then the name of its object with a box for each run of frames (paper B.2, grounded captioning)."""
    found = [Grounding(box=box, label=name_of(label), span=span) for box, span in _boxes_and_spans(track, id)]
    sentence = plain(text).rstrip(" .")
    answer = f"{sentence}. {format_boxes(found)}"
    return Sample(
        id=id,
        task="video_grounded_caption",
        clips=(frames.clip,),
        turns=exchange("<video>\n", command(words.VIDEO_GROUNDED_CAPTION, rng), answer),
        target={
            "answer": answer,
            "labels": (found[0].label,),
            "tracks": (track,),
            "spans": (tuple(grounding.span for grounding in found),),
            "frame_numbers": frames.numbers,
        },
    )


def _where(found: Sequence[Grounding], track: Track, frames: Frames) -> dict[str, Any]:
    return {
        "track": track,
        "boxes": tuple(grounding.box for grounding in found),
        "spans": tuple(grounding.span for grounding in found),
        "frame_numbers": frames.numbers,
    }


def track_masks(id: str, rng: Rng, frames: Frames, masks: BoolMask, track: Track, what: str | None) -> Sample:
    """Segment an object in every frame: the one that `what` names (task `track_text`), or the one marked.

    Without `what` the task is `track_mark`, and the mark is the object's mask where it is first seen.

    Args:
        id: of the sample.
        rng: draws the wording.
        frames: the clip.
        masks: of the object, bool `[T, H, W]`.
        track: boxes of the masks.
        what: the expression; None: the object is marked by its mask.
    """
    first, found = first_seen(track, id), groundings(track, id)
    text = "object" if what is None else plain(what)
    invocation = Invocation(
        module=Module.VIDEO_SEGMENTATION,
        instruction=f"segmentation: {text}",
        regions=tuple(_two_decimals(grounding) for grounding in found) if what is None else (),
    )
    user = command(words.TRACK_MASKS, rng, what=pick(words.REGION, rng) if what is None else mention(text))
    target = {"masks": masks, **_where(found, track, frames)}
    return Sample(
        id=id,
        task="track_mark" if what is None else "track_text",
        clips=(frames.clip,),
        marks=((0, masks[first]),) if what is None else (),
        turns=exchange("<video>\n", user, pick(words.TRACK_MASKS_REPLIES, rng), invocation),
        condition_text=text,
        target={**target, "mark_frame": first} if what is None else target,
    )


def first_seen(track: Track, where: str) -> int:
    """Return the first frame in which an object is seen; ValueError if there is none."""
    seen = np.flatnonzero(track.any(axis=1))
    if not seen.size:
        raise ValueError(f"{where}: got an object that is not seen in any frame of the clip, expected at least one")
    return int(seen[0])


def groundings(track: Track, where: str) -> list[Grounding]:
    """Return one grounding for each run of frames in which an object is seen, with the box of its first frame."""
    return [Grounding(box=box, span=span) for box, span in _boxes_and_spans(track, where)]


def _boxes_and_spans(track: Track, where: str) -> list[tuple[Box, tuple[int, int]]]:
    first_seen(track, where)
    steps = np.diff(np.concatenate([[0], track.any(axis=1).astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    return [(box_at(track, start), (start, end)) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def box_at(track: Track, frame: int) -> Box:
    """Return the box of one frame."""
    x1, y1, x2, y2 = (float(value) for value in track[frame])
    return (x1, y1, x2, y2)


def _two_decimals(grounding: Grounding) -> Grounding:
    x1, y1, x2, y2 = (round(value, 2) for value in grounding.box)
    return Grounding(box=(x1, y1, x2, y2), span=grounding.span)
