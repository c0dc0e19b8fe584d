"""Mixtures: exact shares, every sample once a pass, and everything from the number alone."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest

from train.data.mixture import Mixture, ShapesTask, shuffled
from train.data.sample import Sample


class Numbered:
    """A small data set that counts."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        assert 0 <= index < self.count
        return Sample(id=f"{self.name}/{index}", task="caption", turns=())


def mixture(seed: int = 0, **counts: int) -> Mixture:
    return Mixture({name: Numbered(name, count) for name, count in counts.items()}, {"a": 3, "b": 1, "c": 2}, seed)


def ids(mixed: Mixture, numbers: range) -> list[str]:
    return [mixed[number].id for number in numbers]


def test_every_round_holds_each_source_as_often_as_its_weight() -> None:
    mixed = mixture(a=50, b=50, c=50)
    for start in range(0, 60, 6):
        counts = Counter(mixed.place(number).source for number in range(start, start + 6))
        assert counts == {"a": 3, "b": 1, "c": 2}


def test_every_sample_of_a_source_comes_once_before_any_comes_again() -> None:
    mixed = mixture(a=7, b=4, c=5)
    drawn = [mixed.place(number) for number in range(6 * 35)]
    for name, count in (("a", 7), ("b", 4), ("c", 5)):
        indices = [place.index for place in drawn if place.source == name]
        passes = [indices[start : start + count] for start in range(0, len(indices) - count + 1, count)]
        assert len(passes) > 3
        assert all(sorted(each) == list(range(count)) for each in passes)
        assert len({tuple(each) for each in passes}) > 1


def test_a_sample_depends_on_its_number_and_the_seed_alone() -> None:
    forward, other = mixture(a=7, b=4, c=5), mixture(seed=1, a=7, b=4, c=5)
    expected = ids(forward, range(90))
    backward = mixture(a=7, b=4, c=5)
    assert [backward[number].id for number in reversed(range(90))] == expected[::-1]
    assert ids(pickle.loads(pickle.dumps(forward)), range(90)) == expected
    assert ids(other, range(90)) != expected


def test_the_order_of_sources_within_a_round_changes() -> None:
    mixed = mixture(a=50, b=50, c=50)
    rounds = {tuple(mixed.place(start + i).source for i in range(6)) for start in range(0, 60, 6)}
    assert len(rounds) > 5


@pytest.mark.parametrize("length", [1, 2, 3, 5, 16, 17, 300])
def test_shuffling_is_a_permutation_that_follows_its_key(length: int) -> None:
    orders = [[shuffled(index, length, [key]) for index in range(length)] for key in range(6)]
    assert all(sorted(order) == list(range(length)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1 or length < 3


def test_shuffling_leaves_nobody_close_to_where_it_was() -> None:
    kept = sum(shuffled(index, 1000, [1]) == index for index in range(1000))
    neighbours = sum(abs(shuffled(i, 1000, [1]) - shuffled(i + 1, 1000, [1])) == 1 for i in range(999))
    assert kept < 10 and neighbours < 15


def test_shapes_mix_with_data_sets() -> None:
    mixed = Mixture({"vqa": ShapesTask("vqa", seed=3), "own": Numbered("own", 2)}, {"vqa": 2, "own": 1})
    found = [mixed[number] for number in range(9)]
    assert Counter(sample.id.split("/")[0] for sample in found) == {"shapes": 6, "own": 3}
    assert len({sample.id for sample in found if sample.id.startswith("shapes")}) == 6
    assert all(sample.id.startswith("shapes/vqa/train/3/") for sample in found if sample.task == "vqa")


def test_weights_that_make_no_sense_are_refused() -> None:
    sources = {"a": Numbered("a", 3)}
    for weights, message in (
        ({"a": 0}, r"weights\.a: got 0"),
        ({"a": 0.5}, "whole number"),
        ({"b": 1}, "expected the same"),
        ({}, "weights"),
    ):
        with pytest.raises(ValueError, match=message):
            Mixture(sources, weights)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"sources\.a: is empty"):
        Mixture({"a": Numbered("a", 0)}, {"a": 1})
    with pytest.raises(ValueError, match="task: got 'dance'"):
        ShapesTask("dance")
