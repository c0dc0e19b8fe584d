"""Scores of visual question answering: exact match, and the soft accuracy of ten annotators."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = dict(
    zip(
        (
            "none",
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
        ),
        ("0", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"),
        strict=True,
    )
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_POINT = re.compile(r"(?<!\d)\.|\.(?!\d)")
_PUNCTUATION = re.compile(r"[^\w\s.:]|_")


def normalise(answer: str) -> str:
    """Bring an answer to the form in which two are compared.

    Lower case, without articles, apostrophes and punctuation (a decimal point and a clock's colon
    stay), number words as digits, single spaces.
    """
    text = _THOUSANDS.sub("", answer.lower().replace("'", "").replace("\u2019", ""))
    text = _POINT.sub(" ", _PUNCTUATION.sub(" ", text))
    words = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(word for word in words if word not in _ARTICLES)


def exact(predicted: str, answer: str) -> bool:
    """Tell whether two answers are the same after `normalise`."""
    return normalise(predicted) == normalise(answer)


def soft_accuracy(predicted: str, answers: Sequence[str]) -> float:
    """VQA accuracy of one prediction against the answers of several annotators.

    Each annotator is left out in turn; the prediction scores min(1, m / 3) where m of the others
    gave it, and the mean over the left-out annotators is returned. With a single answer there is
    nobody to leave out, and the score is the exact match.
    """
    if not answers:
        raise ValueError("answers: got none, expected at least one")
    given = normalise(predicted)
    same = [normalise(answer) == given for answer in answers]
    if len(same) == 1:
        return float(same[0])
    total = sum(same)
    return sum(min(1.0, (total - left_out) / 3) for left_out in same) / len(same)
