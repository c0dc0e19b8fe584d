"""Scores of captions against reference captions: BLEU-4, ROUGE-L and CIDEr-D, as the COCO caption scorers compute them.

All three count n-grams of `caption_tokens`. Quirks of the official scorers (pycocoevalcap) that change numbers are
kept and named where they are, so that results can be compared; METEOR has a file of its own, as it needs Java.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vitron.evaluation.caption_tokens import caption_tokens

MAX_ORDER = 4
ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0
"""Width of CIDEr-D's length penalty, in words (Vedantam et al. 2015, §7)."""
_TINY, _SMALL = 1e-15, 1e-9
"""What the official BLEU adds to counts and to lengths, so that it never divides by zero."""

Ngram = tuple[str, ...]


class Bleu(NamedTuple):
    """Corpus BLEU with n-grams up to one, two, three and four words, each in [0, 1]."""

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float


def ngrams(words: Sequence[str], order: int) -> Counter[Ngram]:
    """Count the runs of `order` words."""
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
    """BLEU of a corpus (Papineni et al. 2002): clipped n-gram precision times a penalty for being short.

    Args:
        candidates: one caption a sample.
        references: one or more captions a sample. The one nearest in length (the shorter of two) sets the penalty.

    Raises:
        ValueError: for no samples, counts that differ, or a sample without references.
    """
    hits, guesses = np.zeros(MAX_ORDER), np.zeros(MAX_ORDER)
    length = reference_length = 0
    for words, others in _tokenised(candidates, references):
        length += len(words)
        reference_length += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
        for order in range(1, MAX_ORDER + 1):
            allowed: Counter[Ngram] = Counter()
            for other in others:
                allowed |= ngrams(other, order)
            found = ngrams(words, order)
            hits[order - 1] += (found & allowed).total()
            guesses[order - 1] += found.total()
    precisions = (hits + _TINY) / (guesses + _SMALL)
    ratio = (length + _TINY) / (reference_length + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return Bleu(*(float(penalty * np.prod(precisions[:n]) ** (1 / n)) for n in range(1, MAX_ORDER + 1)))


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """ROUGE-L of each sample in [0, 1]: F-score (beta 1.2) of the longest common subsequence; 0 for an empty caption.

    As in the official scorer, the best precision and the best recall may come from two references.
    """
    return [_rouge_l(words, others) for words, others in _tokenised(candidates, references)]


def _rouge_l(words: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    common = [_common_subsequence(words, other) for other in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(words)
    recall = max(c / len(other) for c, other in zip(common, references, strict=True) if other)
    weight = ROUGE_BETA**2
    return (1 + weight) * precision * recall / (recall + weight * precision)


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    row = [0] * (len(second) + 1)
    for word in first:
        above_left = 0
        for column, other in enumerate(second, start=1):
            above = row[column]
            row[column] = above_left + 1 if word == other else max(above, row[column - 1])
            above_left = above
    return row[-1]


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each sample, in [0, 10]; the corpus score is their mean.

    N-grams are weighted by how few samples' references hold them, so a score depends on the whole set that is
    scored: compare only on the same split, never on a part of it.

    Raises:
        ValueError: also for a single sample, where every weight, and so every score, would be 0.
    """
    samples = _tokenised(candidates, references)
    if len(samples) < 2:
        raise ValueError("candidates: got 1, expected at least 2: CIDEr weighs words by how few samples name them")
    in_samples: Counter[Ngram] = Counter()
    for _, others in samples:
        in_samples.update({gram for other in others for gram in _all_ngrams(other)})
    log_samples = math.log(len(samples))

    def vector(words: Sequence[str]) -> list[dict[Ngram, float]]:
        return [
            {gram: count * (log_samples - math.log(max(in_samples[gram], 1))) for gram, count in counts.items()}
            for counts in (ngrams(words, order) for order in range(1, MAX_ORDER + 1))
        ]

    scores = []
    for words, others in samples:
        mine = vector(words)
        similar = [_clipped_cosine(mine, vector(other)) * _length_penalty(words, other) for other in others]
        scores.append(10 * sum(similar) / len(similar))
    return scores


def _all_ngrams(words: Sequence[str]) -> set[Ngram]:
    return {gram for order in range(1, MAX_ORDER + 1) for gram in ngrams(words, order)}


def _length_penalty(words: Sequence[str], other: Sequence[str]) -> float:
    return math.exp(-((len(words) - len(other)) ** 2) / (2 * CIDER_SIGMA**2))


def _clipped_cosine(mine: list[dict[Ngram, float]], theirs: list[dict[Ngram, float]]) -> float:
    """Mean over the orders of the cosine, where a candidate gains nothing by repeating a reference's n-gram."""
    total = 0.0
    for candidate, reference in zip(mine, theirs, strict=True):
        shared = sum(min(candidate[gram], reference[gram]) * reference[gram] for gram in candidate.keys() & reference)
        norms = math.hypot(*candidate.values()) * math.hypot(*reference.values())
        total += shared / norms if norms else 0.0
    return total / MAX_ORDER


def _tokenised(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> list[tuple[list[str], list[list[str]]]]:
    check_samples(candidates, references)
    return [
        (caption_tokens(candidate), [caption_tokens(other) for other in others])
        for candidate, others in zip(candidates, references, strict=True)
    ]


def check_samples(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise ValueError unless there are samples, as many of both, each with a reference."""
    if not candidates or len(candidates) != len(references):
        raise ValueError(
            f"candidates: got {len(candidates)} with {len(references)} references, expected as many, not 0"
        )
    for index, others in enumerate(references):
        if isinstance(others, str) or not others:
            raise ValueError(f"references[{index}]: got {others!r}, expected a list of at least one caption")
