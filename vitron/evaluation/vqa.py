"""Scores of question answering: exact match by our own lenient rules, and VQA's soft accuracy by the official ones.

Two normalisations, not to be mixed: `normalise` is for answers of one annotator (Shapes, GQA, video questions);
`official_form` repeats the rules of the VQA evaluation, quirks included, for OK-VQA, VizWiz and VQA itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

SoftRules = Literal["vqa", "lavis"]
"""Which copy of the official evaluation: "vqa" is its own repository; "lavis" is the copy in LAVIS and MiniGPT-v2, the
strongest baseline of paper Table 6. They differ in when answers are normalised (see `soft_accuracy`)."""

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = dict(
    zip(
        ("none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        ("0", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"),
        strict=True,
    )
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_POINT = re.compile(r"(?<!\d)\.|\.(?!\d)")
_PUNCTUATION = re.compile(r"[^\w\s.:]|_")

_OFFICIAL_MARKS = ';/[]"{}()=+\\_-><@`,?!'
"""Apostrophe, colon and full stop are not among them."""
_DIGIT_COMMA = re.compile(r"\d,\d")
_OFFICIAL_STOP = re.compile(r"\.(?!\d)")
_MAX_STOPS = 32
"""The official code passes a flag where the number of replacements belongs."""
_CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've "
    "why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're "
    "you've"
)
"""The contractions whose spelling the official code repairs when one apostrophe is missing."""


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


def exact_accuracy(predicted: Sequence[str], answers: Sequence[str]) -> float:
    """Share of predictions that are exactly the answer."""
    _check_some(answers, "answers")
    return sum(exact(said, answer) for said, answer in zip(predicted, answers, strict=True)) / len(answers)


def _repairs() -> dict[str, str]:
    dropped = {
        word[:place] + word[place + 1 :]: word
        for word in _CONTRACTED.split()
        for place, letter in enumerate(word)
        if letter == "'"
    }
    # The one entry of the official table that is written the wrong way round.
    return dropped | {"somebody'd": "somebodyd"}


_REPAIRS = _repairs()


def official_form(answer: str) -> str:
    """Normalise an answer as the VQA evaluation does (GT-Vision-Lab/VQA, `processPunctuation`, `processDigitArticle`).

    A mark of punctuation becomes a space, but vanishes where the answer has it next to a space, or has a comma between
    digits anywhere. Full stops go unless a digit follows; then lower case, digits for number words, no articles, and
    an apostrophe where a contraction lacks one.
    """
    return _plain_words(_plain_marks(answer))


def soft_accuracy(predicted: str, answers: Sequence[str], *, rules: SoftRules = "vqa") -> float:
    """VQA accuracy of one prediction against the answers of several annotators.

    Each annotator is left out in turn; the prediction scores min(1, m / 3) where m of the others gave it, and the mean
    over the left-out annotators is returned. With a single answer there is nobody to leave out: 1 or 0.

    Args:
        predicted: the model's answer.
        answers: the annotators' answers.
        rules: "vqa" brings all answers to `official_form`, but compares them as they are written where the annotators
            agree to the letter. "lavis" always normalises the prediction, and of the answers no more than the
            punctuation, where they differ.
    """
    _check_some(answers, "answers")
    said, given = _trim(predicted), [_trim(answer) for answer in answers] if rules == "vqa" else list(answers)
    differ = len(set(given)) > 1
    if rules == "lavis" or differ:
        said = official_form(said)
    if differ:
        given = [official_form(a) if rules == "vqa" else _plain_marks(a) for a in given]
    same = [answer == said for answer in given]
    if len(same) == 1:
        return float(same[0])
    total = sum(same)
    return sum(min(1.0, (total - left_out) / 3) for left_out in same) / len(same)


def mean_soft_accuracy(
    predicted: Sequence[str], answers: Sequence[Sequence[str]], *, rules: SoftRules = "vqa"
) -> float:
    """Mean of `soft_accuracy` over questions."""
    _check_some(answers, "answers")
    scores = [soft_accuracy(said, given, rules=rules) for said, given in zip(predicted, answers, strict=True)]
    return sum(scores) / len(scores)


def _trim(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def _plain_marks(answer: str) -> str:
    text = answer
    number = _DIGIT_COMMA.search(answer) is not None
    for mark in _OFFICIAL_MARKS:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        text = text.replace(mark, "" if number or beside_space else " ")
    return _OFFICIAL_STOP.sub("", text, count=_MAX_STOPS)


def _plain_words(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_REPAIRS.get(word, word) for word in words if word not in _ARTICLES)


def _check_some(values: Sequence[object], name: str) -> None:
    if not values:
        raise ValueError(f"{name}: got none, expected at least one")
