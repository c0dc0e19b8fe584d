"""Question-and-answer exchanges about one clip: captions, questions, tracks.

A track is spelled `(x1, y1, x2, y2 | start, end)`, once for each run of frames in which the object is seen: the box is
that of the first frame of the run, both frame numbers count from 0 and are inclusive. A whole clip needs one run, an
object that is hidden for a while two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from train.data.shapes import captions, clip_captions, clip_questions, clip_requests, clip_words, wording
from train.data.shapes.clip_referring import expression
from train.data.shapes.exchanges import Exchange
from train.data.shapes.motion import cast
from train.data.shapes.render_clip import Footage
from vitron.invocation import format_box, format_boxes
from vitron.types import Grounding

Rng = np.random.Generator


def caption(film: Footage, rng: Rng) -> Exchange:
    """A detailed caption if details are asked for, else a plain one; both in fixed wording."""
    detailed = bool(rng.integers(2))
    user = wording.command(clip_words.CAPTION_LONG if detailed else clip_words.CAPTION_SHORT, rng)
    answer = clip_captions.detailed_caption(film) if detailed else clip_captions.plain_caption(film)
    wanted = [clip_requests.required(mover, speed=detailed) for mover in film.clip.movers]
    return Exchange(user=user, assistant=answer, target={"answer": answer, "required": wanted})


def question(film: Footage, rng: Rng) -> Exchange | None:
    """A question about the clip; "kind" says which sort."""
    return _asked(clip_questions.questions_on(film, rng, 1), rng)


def motion_question(film: Footage, rng: Rng) -> Exchange | None:
    """The same of where something goes, comes from or ends."""
    return _asked(clip_questions.questions_on(film, rng, 1, clip_questions.MOTION_KINDS), rng)


def _asked(found: Sequence[clip_questions.ClipQA], rng: Rng) -> Exchange | None:
    if not found:
        return None
    qa = found[0]
    return Exchange(
        user=wording.polish(qa.question, rng),
        assistant=qa.answer,
        target={"answer": qa.answer, "kind": qa.kind},
    )


def grounding(film: Footage, rng: Rng) -> Exchange | None:
    """The track of what an expression means (paper B.2, referring video tracking)."""
    found = expression(film.clip, rng)
    if found is None:
        return None
    answer = format_boxes(groundings(film, found.target))
    return Exchange(
        user=wording.command(clip_words.TRACK, rng, what=found.text),
        assistant=answer,
        target={"answer": answer, "kind": found.kind, **track_target(film, found.target)},
    )


def place(film: Footage, rng: Rng) -> Exchange | None:
    """The box of an object in one frame, which is named by its number, or as the first or the last one."""
    found = expression(film.clip, rng, without=clip_questions.ANY_ACTION)
    if found is None:
        return None
    frame = int(rng.choice(np.flatnonzero(film.seen[found.target])))
    ends = {0: "the first frame", film.clip.frames - 1: "the last frame"}
    said = ends[frame] if frame in ends and rng.random() < 0.5 else f"frame {frame}"
    box = _two_decimals(film, found.target, frame)
    return Exchange(
        user=wording.polish(wording.pick(clip_words.PLACE, rng).format(found.text, said), rng),
        assistant=format_box(box),
        target={"box": box, "kind": "place", "frame": frame, "answer": format_box(box)},
    )


def grounded_caption(film: Footage, rng: Rng) -> Exchange:
    """A sentence, then the name and track of each object (paper B.2, grounded video captioning)."""
    order = clip_captions.order_of_sight(film)
    labels = [captions.name(film.clip.movers[i].looks) for i in order]
    tracks = [track for i, label in zip(order, labels, strict=True) for track in groundings(film, i, label)]
    answer = f"{clip_captions.plain_caption(film)}. {format_boxes(tracks)}"
    return Exchange(
        user=wording.command(clip_words.GROUNDED, rng),
        assistant=answer,
        target={
            "answer": answer,
            "labels": tuple(labels),
            "tracks": tuple(film.tracks[i] for i in order),
            "spans": tuple(film.spans[i] for i in order),
        },
    )


def grounded_question(film: Footage, rng: Rng) -> Exchange | None:
    """A question that is answered after what it is about has been located (paper B.2, grounding-aware QA)."""
    qa = next((qa for qa in clip_questions.questions_on(film, rng, 4) if qa.about), None)
    if qa is None:
        return None
    scene = cast(film.clip)
    tracks = [track for i in qa.about for track in groundings(film, i, _label(scene.objects[i], qa))]
    asked = qa.question if qa.question.endswith("?") else f"{qa.question}."
    return Exchange(
        user=wording.polish(wording.pick(clip_words.GROUNDED_QUESTION, rng).format(asked), rng),
        assistant=f"{format_boxes(tracks)}, so the answer is {qa.answer}.",
        target={
            "answer": qa.answer,
            "kind": qa.kind,
            "indices": qa.about,
            "tracks": tuple(film.tracks[i] for i in qa.about),
            "spans": tuple(film.spans[i] for i in qa.about),
        },
    )


def _label(obj: Any, qa: clip_questions.ClipQA) -> str:
    """What a located object is called: never the answer before the answer."""
    if qa.kind == "color":
        return str(obj.shape)
    return f"{obj.color} object" if qa.kind == "shape" else captions.name(obj)


def groundings(film: Footage, i: int, label: str = "") -> list[Grounding]:
    """The track of a mover as it is spelled: one grounding for each run of frames in which it is seen."""
    return [Grounding(box=_two_decimals(film, i, span[0]), label=label, span=span) for span in film.spans[i]]


def track_target(film: Footage, i: int) -> dict[str, Any]:
    """What scorers of tracks need: "index", "track" [T, 4], "masks" [T, H, W], "boxes" and "spans" of its runs."""
    runs: Sequence[tuple[int, int]] = film.spans[i]
    return {
        "index": i,
        "track": film.tracks[i],
        "masks": film.masks[i],
        "boxes": tuple(film.box(i, start) for start, _ in runs),
        "spans": tuple(runs),
        "occluded": film.clip.movers[i].behind is not None,
    }


def _two_decimals(film: Footage, i: int, frame: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(value, 2) for value in film.box(i, frame))
    return (x1, y1, x2, y2)
