"""Scores of made media that rest on a network: Fréchet distances, Inception Scores, cosines of CLIP.

The networks are extractors that the command line names (`extractors.py`). Without one of a kind its metrics are left
out, and `left_out` says so. No score here says anything of media that were not made: see the rows' n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from train.evaluation.cases import Case
from vitron.evaluation import clip_scores, frechet
from vitron.evaluation.features import FeatureScore

SPLITS = 10
"""Of an Inception Score."""


class Made(NamedTuple):
    """What was made of the samples of a task, and what should have been.

    Attributes:
        media: the first picture or clip of each sample that has one.
        wanted: the pictures or clips of these samples' targets.
        texts: what is to be seen in each.
        shown, shown_texts: the pictures that were to be edited, and what is to be seen in them; of edits alone.
    """

    media: list[Any]
    wanted: list[Any]
    texts: list[str]
    shown: list[Any]
    shown_texts: list[str]


class Metric(NamedTuple):
    """A score.

    Attributes:
        name: of the metric.
        kind: of the extractor that it needs, a key of `extractors.KINDS`.
        score: from what was made and the extractor.
        fewest: media that it needs.
    """

    name: str
    kind: str
    score: Callable[[Made, Any], FeatureScore]
    fewest: int = 1


def _video_distance(made: Made, extractor: Any) -> FeatureScore:
    """Compare the beginnings of clips, all as long as the shortest one: the distance is one of equal lengths."""
    shortest = min(len(clip) for clip in (*made.media, *made.wanted))
    generated, real = ([clip[:shortest] for clip in clips] for clips in (made.media, made.wanted))
    return frechet.video_frechet_distance(generated, real, extractor)


_CONSISTENCY = Metric("frame_consistency", "image", lambda made, x: clip_scores.frame_consistency(made.media, x))
_CLIPS = (
    Metric("frechet_video_distance", "clip", _video_distance, fewest=2),
    Metric("clip_sim", "joint", lambda made, x: clip_scores.clip_sim(made.media, made.texts, x)),
    _CONSISTENCY,
    Metric("inception_score", "clip-classes", lambda made, x: frechet.video_inception_score(made.media, x), SPLITS),
)
METRICS: Mapping[str, tuple[Metric, ...]] = {
    "image_generation": (
        Metric("frechet_distance", "image", lambda m, x: frechet.image_frechet_distance(m.media, m.wanted, x), 2),
        Metric("clip_score", "joint", lambda made, x: clip_scores.clip_score(made.media, made.texts, x)),
        Metric("inception_score", "image-classes", lambda m, x: frechet.image_inception_score(m.media, x), SPLITS),
    ),
    "video_generation": _CLIPS,
    "image_to_video": _CLIPS,
    "image_editing": (
        # Against the wanted picture, as MagicBrush's CLIP-I.
        Metric("clip_img", "joint", lambda made, x: clip_scores.clip_img(made.media, made.wanted, x)),
        Metric("clip_out", "joint", lambda made, x: clip_scores.clip_out(made.media, made.texts, x)),
        Metric("clip_dir", "joint", lambda m, x: clip_scores.clip_dir(m.shown, m.media, m.shown_texts, m.texts, x)),
    ),
    "video_editing": (_CONSISTENCY,),
}
"""By task."""


def media_scores(task: str, found: Sequence[Case], extractors: Mapping[str, Any]) -> list[FeatureScore]:
    """Return the scores of a task for which there is an extractor and enough was made.

    Args:
        task: of the evaluation; of others than those of `METRICS` there are no such scores.
        found: its samples with their predictions.
        extractors: by kind.
    """
    wanted = [metric for metric in METRICS.get(task, ()) if metric.kind in extractors]
    if not wanted:
        return []
    made = _made(found)
    return [metric.score(made, extractors[metric.kind]) for metric in wanted if len(made.media) >= metric.fewest]


def left_out(tasks: Sequence[str], extractors: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each kind of extractor that tasks could use and that is not there."""
    missing: dict[str, list[str]] = {}
    for task in tasks:
        for metric in METRICS.get(task, ()):
            if metric.kind not in extractors:
                missing.setdefault(metric.kind, []).append(f"{metric.name} of {task}")
    for kind, names in missing.items():
        yield f"left out without --extractor {kind}=...: {', '.join(names)}"


def _made(found: Sequence[Case]) -> Made:
    made = Made([], [], [], [], [])
    for case in found:
        moving = "clip" in case.sample.target
        media = case.record.decoded_clips() if moving else case.record.decoded_images()
        if media and case.sample.condition_text is not None:
            made.media.append(media[0])
            made.wanted.append(np.asarray(case.sample.target["clip" if moving else "image"]))
            made.texts.append(case.sample.condition_text)
            if (before := case.sample.target.get("before")) is not None:
                made.shown.append(case.sample.images[-1])
                made.shown_texts.append(before)
    return made
