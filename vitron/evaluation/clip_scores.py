"""Scores of generated and edited media by a pair of encoders such as CLIP: how well picture and words agree.

All are cosines, in [-1, 1] unless said otherwise, and name the encoders they rest on; numbers of ViT-B/32 and ViT-L/14
differ by more than methods do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vitron.evaluation.features import (
    Clip,
    FeatureExtractor,
    Features,
    FeatureScore,
    JointExtractor,
    extract,
    in_batches,
)
from vitron.types import Image


def cosines(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the cosine of each pair of rows `[N, D]`; 0 where a row is zero, which points nowhere."""
    if first.shape != second.shape:
        raise ValueError(f"second: got features of shape {second.shape}, expected {first.shape}")
    found: npt.NDArray[np.float64] = (_unit(first) * _unit(second)).sum(axis=1)
    return found


def directional_cosines(
    source: Features, edited: Features, source_text: Features, target_text: Features
) -> npt.NDArray[np.float64]:
    """Return the cosine of how picture and caption moved, each from unit features; 0 where a picture did not move."""
    moved = _unit(edited) - _unit(source)
    return cosines(moved, _unit(target_text) - _unit(source_text))


def clip_score(images: Sequence[Image], texts: Sequence[str], clip: JointExtractor) -> FeatureScore:
    """CLIPScore: mean of 100 max(cosine, 0), in [0, 100] (torchmetrics' scale; Hessel et al. 2021 have 2.5 for 100)."""
    values = 100 * np.maximum(cosines(_images(clip, images), _texts(clip, texts)), 0)
    return _score("clip_score", values, clip.name)


def clip_sim(clips: Sequence[Clip], texts: Sequence[str], clip: JointExtractor) -> FeatureScore:
    """CLIPSIM (Wu et al. 2021): cosine of each frame with the clip's text, averaged over frames and then over clips."""
    if len(clips) != len(texts):
        raise ValueError(f"texts: got {len(texts)}, expected {len(clips)}, one a clip")
    said = _texts(clip, texts)
    values = [
        cosines(shown := _images(clip, list(frames)), np.broadcast_to(text, shown.shape)).mean()
        for frames, text in zip(clips, said, strict=True)
    ]
    return _score("clip_sim", np.asarray(values), clip.name)


def clip_dir(
    source: Sequence[Image],
    edited: Sequence[Image],
    source_texts: Sequence[str],
    target_texts: Sequence[str],
    clip: JointExtractor,
) -> FeatureScore:
    """CLIP_dir: does the picture change as its caption does (Gal et al. 2022; InstructPix2Pix's evaluation)."""
    values = directional_cosines(
        _images(clip, source), _images(clip, edited), _texts(clip, source_texts), _texts(clip, target_texts)
    )
    return _score("clip_dir", values, clip.name)


def clip_img(edited: Sequence[Image], reference: Sequence[Image], clip: JointExtractor) -> FeatureScore:
    """CLIP_img: cosine of edited picture and reference.

    The reference is the picture before the edit in InstructPix2Pix and Emu Edit, and the wanted one in MagicBrush
    (CLIP-I): say which with the number.
    """
    return _score("clip_img", cosines(_images(clip, edited), _images(clip, reference)), clip.name)


def clip_out(edited: Sequence[Image], target_texts: Sequence[str], clip: JointExtractor) -> FeatureScore:
    """CLIP_out (MagicBrush: CLIP-T): cosine of the edited picture with the caption of what was wanted."""
    return _score("clip_out", cosines(_images(clip, edited), _texts(clip, target_texts)), clip.name)


def frame_consistency(clips: Sequence[Clip], extractor: FeatureExtractor[Image]) -> FeatureScore:
    """Mean cosine of neighbouring frames, averaged over clips (Gen-1, Esser et al. 2023). A still clip scores 1."""
    short = [index for index, frames in enumerate(clips) if len(frames) < 2]
    if short:
        raise ValueError(f"clips: got fewer than 2 frames in clips {short}")
    values = []
    for frames in clips:
        features = extract(extractor, list(frames))
        values.append(cosines(features[:-1], features[1:]).mean())
    return _score("frame_consistency", np.asarray(values), extractor.name)


def _images(clip: JointExtractor, images: Sequence[Image]) -> Features:
    return in_batches(clip.images, images, name=clip.name)


def _texts(clip: JointExtractor, texts: Sequence[str]) -> Features:
    return in_batches(clip.texts, texts, name=clip.name)


def _unit(features: npt.NDArray[np.floating]) -> Features:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Features = features / np.where(lengths > 0, lengths, 1.0)
    return unit


def _score(metric: str, values: npt.NDArray[np.float64], name: str) -> FeatureScore:
    return FeatureScore(metric=metric, value=float(values.mean()), n=len(values), extractor=name)
