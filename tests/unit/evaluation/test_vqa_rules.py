"""The soft accuracy of VQA and its normalisation, against values of the official evaluation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitron.evaluation import vqa

# Made by running `processDigitArticle(processPunctuation(text))` of GT-Vision-Lab/VQA, vqaEval.py at c4e6a0e.
OFFICIAL = {
    "A red-ish Ball.": "red ish ball",
    "red - ish": "red ish",
    "left-most, one": "left most 1",
    "1,000": "1000",
    "1,000 left-most": "1000 leftmost",
    "3.5": "3.5",
    "U.S.": "us",
    "10:30": "10:30",
    "$5.00!": "$5.00",
    "dont know": "don't know",
    "don't": "don't",
    "couldntve": "couldntve",
    "couldn'tve": "couldn't've",
    "im": "im",
    "shes here": "shes here",
    "somebody'd": "somebodyd",
    "None": "0",
    "eleven": "eleven",
    "the an a": "",
    "yes/no": "yes no",
    "yes / no": "yes no",
    'a "quoted" word': "quoted word",
}
TEN = ["two", "2", "two", "a 2", "Two dogs", "3", "3", "three", "2.", "2"]


@pytest.mark.parametrize("answer", OFFICIAL)
def test_answers_are_normalised_by_the_official_rules(answer):
    assert vqa.official_form(answer) == OFFICIAL[answer]


@pytest.mark.parametrize(
    ("said", "rules", "score"),
    # Made by running both copies of the evaluation on these answers.
    [
        ("2", "vqa", 1.0),
        ("The two.", "vqa", 1.0),
        ("three", "vqa", 0.9),
        ("two dogs", "vqa", 0.3),
        ("2", "lavis", 0.9),
        ("three", "lavis", 0.6),
        ("two dogs", "lavis", 0.0),
    ],
)
def test_soft_accuracy_is_that_of_the_official_evaluation(said, rules, score):
    assert vqa.soft_accuracy(said, TEN, rules=rules) == pytest.approx(score)


def test_where_annotators_agree_vqa_compares_what_is_written_and_lavis_does_not():
    assert vqa.soft_accuracy("Red.", ["red"] * 10) == 0.0
    assert vqa.soft_accuracy("Red.", ["red"] * 10, rules="lavis") == 1.0
    assert vqa.soft_accuracy(" red\n", ["red"] * 10) == 1.0


@given(st.lists(st.sampled_from(["red", "blue", "a red", "green"]), min_size=2, max_size=10), st.randoms())
def test_soft_accuracy_does_not_depend_on_the_order_of_the_annotators(answers, random):
    shuffled = random.sample(answers, len(answers))
    score = vqa.soft_accuracy("red", answers)
    assert score == pytest.approx(vqa.soft_accuracy("red", shuffled))
    assert 0 <= score <= 1


def test_accuracies_are_means_over_questions():
    assert vqa.mean_soft_accuracy(["red", "2"], [["red", "red", "red", "red"], ["3", "4", "5"]]) == 0.5
    assert vqa.exact_accuracy(["A red circle.", "no"], ["red circle", "yes"]) == 0.5
    with pytest.raises(ValueError, match="answers: got none"):
        vqa.exact_accuracy([], [])
