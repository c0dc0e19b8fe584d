"""Texts about clips, checked against what the masks show."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from tests.unit.shapes.clip_facts import direction, footage
from train.data.shapes import clip_captions, clip_questions, clip_referring, clip_requests, clip_words
from train.data.shapes.motion import clip_at
from train.data.shapes.render_clip import Footage

COUNT = 80
SENTENCE = re.compile(r"an? (small|large) (\w+) (\w+)")


def rng(i: int) -> np.random.Generator:
    return np.random.default_rng([7, i])


def test_a_caption_says_of_each_object_what_it_does() -> None:
    for i in range(COUNT):
        film = footage("train", i)
        text = clip_captions.plain_caption(film)
        assert text.endswith(f" on a {film.clip.background.color} background")
        body = text.removesuffix(f" on a {film.clip.background.color} background")
        named = Counter(SENTENCE.findall(body))
        assert named == Counter((m.looks.size, m.looks.color, m.looks.shape) for m in film.clip.movers)
        said = re.split(r", (?=an? (?:small|large))| and (?=an? (?:small|large))", body)
        expected = [sentence(film, k) for k in range(len(film.clip.movers)) if not is_front(film, k)]
        assert sorted(said) == sorted(expected)


def is_front(film: Footage, k: int) -> bool:
    """Tell whether an object hides another wholly at some time."""
    return any(
        hidden_share(film, j) > 0.8
        and (film.amodal[j] & film.masks[k]).sum() > 0.8 * film.amodal[j].sum(axis=(1, 2)).max()
        for j in range(len(film.masks))
        if j != k
    )


def sentence(film: Footage, k: int) -> str:
    """Say it again, from masks and frames seen."""
    looks, seen = film.clip.movers[k].looks, film.seen[k]
    name = f"a {looks.size} {looks.color} {looks.shape}"
    area = film.amodal[k].sum(axis=(1, 2))
    slides, toward = area[area > 0].min() < 0.6 * area.max(), direction(film.amodal[k])  # cut off by the edge
    there = clip_words.TOWARD.get(toward)
    if slides:
        return (
            f"{name} comes in {clip_words.FROM[toward]}" if not seen[0] else f"{name} leaves {clip_words.OUT[toward]}"
        )
    if toward == "still":
        return f"{name} " + ("stays still" if seen[0] and seen[-1] else "disappears" if seen[0] else "appears")
    if not seen[0]:
        return f"{name} appears and moves {there}"
    if not seen[-1]:
        return f"{name} moves {there} and disappears"
    fronts = [j for j in range(len(film.masks)) if j != k and is_front(film, j)]
    if film.clip.movers[k].behind is not None:
        front = film.clip.movers[fronts[0]].looks
        return f"{name} moves {there} behind a {front.size} {front.color} {front.shape}"
    return f"{name} moves {there}"


def test_a_detailed_caption_adds_places_and_speeds() -> None:
    for i in range(COUNT):
        film = footage("train", i)
        text = clip_captions.detailed_caption(film)
        moving = [m for m in film.clip.movers if m.path.moves]
        assert len(re.findall(r"slowly|fast", text)) == len(moving)
        assert text.count("slowly") == sum(m.path.speed == "slow" for m in moving)
        assert len(text) > len(clip_captions.plain_caption(film)) or not moving


def test_every_spoken_direction_means_one_direction() -> None:
    meanings = Counter(word for words in clip_words.TOWARD_SPOKEN.values() for word in set(words))
    assert max(meanings.values()) == 1
    assert set(clip_words.TOWARD) == set(clip_words.TOWARD_SPOKEN)


@pytest.fixture(scope="module")
def asked() -> list[tuple[Footage, clip_questions.ClipQA]]:
    films = [footage("train", i) for i in range(COUNT)]
    return [(film, qa) for i, film in enumerate(films) for qa in clip_questions.questions_on(film, rng(i), 8)]


def test_questions_of_every_kind_are_asked_and_differ(asked: list[tuple[Footage, clip_questions.ClipQA]]) -> None:
    kinds = Counter(qa.kind for _, qa in asked)
    wanted = set(clip_words.QUESTIONS) | {"color", "shape", "size", "background", "exists"}
    assert set(kinds) == wanted
    assert len({qa.question for _, qa in asked}) > 0.6 * len(asked)


def test_answers_agree_with_the_masks(asked: list[tuple[Footage, clip_questions.ClipQA]]) -> None:
    checked: Counter[str] = Counter()
    for film, qa in asked:
        expected = answer(film, qa)
        if expected is not None:
            checked[qa.kind] += 1
            assert qa.answer == expected, qa
    assert len(checked) >= 15 and min(checked.values()) >= 1


def answer(film: Footage, qa: clip_questions.ClipQA) -> str | None:
    """Answer again from masks; None for kinds that are checked elsewhere."""
    k = qa.about[0] if qa.about else 0
    seen, looks = film.seen[k], film.clip.movers[k].looks
    moves = [direction(whole) != "still" for whole in film.amodal]
    numbers = ("zero", "one", "two", "three")
    simple = {
        "direction": lambda: direction(film.amodal[k]),
        "moves": lambda: "yes" if moves[k] else "no",
        "appears_when": lambda: str(int(np.argmax(seen))),
        "last_seen": lambda: str(int(len(seen) - 1 - np.argmax(seen[::-1]))),
        "appears": lambda: "no" if seen[0] else "yes",
        "disappears": lambda: "no" if seen[-1] else "yes",
        "which_moves": lambda: f"{looks.color} {looks.shape}",
        "which_stays": lambda: f"{looks.color} {looks.shape}" if moves[k] is False else "",
        "color": lambda: looks.color,
        "shape": lambda: looks.shape,
        "size": lambda: looks.size,
        "count": lambda: numbers[len(qa.about)],
        "count_moving": lambda: numbers[sum(moves[i] for i in qa.about)],
        "background": lambda: film.clip.background.color,
        "passes_behind": lambda: "yes" if hidden_share(film, k) > 0.8 else "no",
        "start": lambda: cell(film, k, 0),
        "end": lambda: cell(film, k, -1),
    }  # fmt: skip
    return simple[qa.kind]() if qa.kind in simple else None


def hidden_share(film: Footage, k: int) -> float:
    """How much of an object is hidden when most of it is."""
    whole, shown = film.amodal[k].sum(axis=(1, 2)), film.masks[k].sum(axis=(1, 2))
    return float((1 - shown[whole > 0] / whole[whole > 0]).max())


def cell(film: Footage, k: int, t: int) -> str:
    """The cell of a 3x3 grid that the object's centre is in."""
    obj = film.clip.movers[k].at(t % film.clip.frames)
    assert obj is not None
    column = ("left", "", "right")[min(max(int(obj.x * 3 / 64), 0), 2)]
    row = ("top", "", "bottom")[min(max(int(obj.y * 3 / 64), 0), 2)]
    return f"{row} {column}".strip() or "center"


def test_comparisons_answer_with_one_of_the_two(asked: list[tuple[Footage, clip_questions.ClipQA]]) -> None:
    compared = [(film, qa) for film, qa in asked if qa.kind in ("first", "faster")]
    assert compared
    for film, qa in compared:
        first, second = re.search(r"(?:, |faster, )the (.+) or the (.+)\?", qa.question).groups()  # type: ignore[union-attr]
        assert qa.answer in (first, second)
        a, b = qa.about
        if qa.kind == "first":
            wins = film.spans[a][0][0] < film.spans[b][0][0]
        else:
            wins = film.clip.movers[a].path.speed == "fast"
        assert qa.answer == (first if wins else second)


def test_an_expression_means_one_object_only() -> None:
    kinds: Counter[str] = Counter()
    spoken = {word: key for key, words in clip_words.TOWARD_SPOKEN.items() for word in words}
    for i in range(COUNT):
        film = footage("train", i)
        found = clip_referring.expression(film.clip, rng(i))
        if found is None:
            continue
        kinds[found.kind] += 1
        head = found.text.split(" that ")[0].split()
        fitting = {
            k
            for k, m in enumerate(film.clip.movers)
            if all(word in ("the", "object", m.looks.size, m.looks.color, m.looks.shape) for word in head)
        }
        assert found.target in fitting
        if found.kind == "attributes":
            assert fitting == {found.target}
        if found.kind == "direction":
            toward = max((w for w in spoken if found.text.endswith(f" {w}")), key=len)
            going = {k for k in fitting if set(spoken[toward].split()) <= set(direction(film.amodal[k]).split())}
            assert going == {found.target}
    assert {"attributes", "direction", "event", "still"} <= set(kinds)


def test_what_a_question_asks_for_is_not_said_in_it(asked: list[tuple[Footage, clip_questions.ClipQA]]) -> None:
    for _, qa in asked:
        if qa.kind in ("color", "shape"):
            assert qa.answer not in re.findall(r"\w+", qa.question)
        if qa.kind == "direction":
            assert not re.search(r"comes|enters|slides|leaves|exits|goes out", qa.question)


def test_a_request_for_a_video_names_every_object_once_and_nothing_else() -> None:
    for i in range(COUNT):
        clip = clip_at("train", i)
        asked = clip_requests.ask(clip, rng(i), relative=bool(i % 2))
        assert len(asked.target["required"]) == len(clip.movers)
        for wanted in asked.target["required"]:
            assert f"{wanted['color']} {wanted['shape']}" in asked.canonical
            assert f"{wanted['color']} {wanted['shape']}" in asked.text
        named = asked.target["background"]
        assert (f"on a {named} background" in asked.canonical) if named else ("background" not in asked.canonical)
        assert any("size" in wanted for wanted in asked.target["required"]) == bool(
            re.search("small|large", asked.canonical)
        )
