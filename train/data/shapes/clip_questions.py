"""Questions on clips with exactly one right, short answer.

Frame numbers count from 0. An object is there in a frame in which it is seen (`Footage.seen`), so that answers agree
with tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from train.data.shapes import captions, clip_referring, clip_words, questions, referents
from train.data.shapes.clip_referring import ENTERING, LEAVING, ClipReferring, expression, name_of
from train.data.shapes.motion import Mover, cast
from train.data.shapes.questions import number_word, yes_no
from train.data.shapes.render_clip import Footage
from train.data.shapes.scene import COLORS, position_word
from train.data.shapes.wording import pick

Rng = np.random.Generator
# Two moments must be this many frames apart before one is called earlier.
MIN_LEAD = 2
# A passage is in doubt when a third object is hidden more than this, as share of its area.
MAX_DOUBT = 0.08
_TRIES = 6


class ClipQA(NamedTuple):
    """A question, its only right answer, the kind of question, and the movers that it is about."""

    question: str
    answer: str
    kind: str
    about: tuple[int, ...]


Kind = Callable[[Footage, Rng], ClipQA | None]


def questions_on(film: Footage, rng: Rng, n: int, kinds: Sequence[Kind] | None = None) -> list[ClipQA]:
    """Up to `n` different questions about a clip, of varied kinds (None: `KINDS`)."""
    among = KINDS if kinds is None else kinds
    found: dict[str, ClipQA] = {}
    for _ in range(5 * n):
        if len(found) >= n:
            break
        kind = among[int(rng.integers(len(among)))]
        made = next((qa for qa in (kind(film, rng) for _ in range(_TRIES)) if qa is not None), None)
        if made is not None:
            found.setdefault(made.question, made)
    return list(found.values())


def _ask(kind: str, rng: Rng, *words: str) -> str:
    return pick(clip_words.QUESTIONS[kind], rng).format(*words)


def _about(
    kind: str,
    answer: Callable[[Footage, ClipReferring], str | None],
    without: tuple[str, ...] = (),
) -> Callable[[Footage, Rng], ClipQA | None]:
    """Makes the asker of one thing about one mover; an answer of None means that it can't be asked."""

    def ask(film: Footage, rng: Rng) -> ClipQA | None:
        found = expression(film.clip, rng, without=without)
        said = answer(film, found) if found is not None else None
        if found is None or said is None:
            return None
        return ClipQA(_ask(kind, rng, found.text), said, kind, (found.target,))

    return ask


def _mover(film: Footage, found: ClipReferring) -> Mover:
    return film.clip.movers[found.target]


def _direction(film: Footage, found: ClipReferring) -> str | None:
    mover = _mover(film, found)
    return mover.path.direction if mover.path.moves else None


def _speed(film: Footage, found: ClipReferring) -> str | None:
    path = _mover(film, found).path
    return clip_words.ADVERBS[path.speed] if path.moves else None


def _moves(film: Footage, found: ClipReferring) -> str:
    return yes_no(_mover(film, found).path.moves)


def _appears_when(film: Footage, found: ClipReferring) -> str | None:
    entering = _mover(film, found).path.event in ENTERING
    return str(film.spans[found.target][0][0]) if entering else None


def _last_seen(film: Footage, found: ClipReferring) -> str | None:
    leaving = _mover(film, found).path.event in LEAVING
    return str(film.spans[found.target][-1][1]) if leaving else None


def _appears(film: Footage, found: ClipReferring) -> str | None:
    return yes_no(_mover(film, found).path.event in ENTERING)


def _disappears(film: Footage, found: ClipReferring) -> str | None:
    mover = _mover(film, found)
    # What is hidden for a while may be said to disappear, so it is not asked about.
    return None if mover.behind is not None else yes_no(mover.path.event in LEAVING)


def _behind_what(film: Footage, found: ClipReferring) -> str | None:
    behind = _mover(film, found).behind
    return None if behind is None else name_of(film.clip, behind)


def _what_behind(film: Footage, found: ClipReferring) -> str | None:
    passers = [i for i, mover in enumerate(film.clip.movers) if mover.behind == found.target]
    return name_of(film.clip, passers[0]) if len(passers) == 1 and not _doubtful(film) else None


def _passes_behind(film: Footage, found: ClipReferring) -> str | None:
    return None if _doubtful(film) else yes_no(_mover(film, found).behind is not None)


def _start(film: Footage, found: ClipReferring) -> str | None:
    return _place(film, found.target, 0)


def _end(film: Footage, found: ClipReferring) -> str | None:
    return _place(film, found.target, film.clip.frames - 1)


def _place(film: Footage, i: int, frame: int) -> str | None:
    obj = film.clip.movers[i].at(frame)
    return position_word(obj) if obj is not None and film.seen[i, frame] else None


def _attribute(attribute: str) -> Callable[[Footage, Rng], ClipQA | None]:
    """Makes the asker of colour, shape or size of a mover that is named by its action where it can be."""

    def ask(film: Footage, rng: Rng) -> ClipQA | None:
        i = int(rng.integers(len(film.clip.movers)))
        options = clip_referring.by_action(film.clip, rng, i, (attribute,))
        if not options:
            return None
        found = options[int(rng.integers(len(options)))]
        answer = str(getattr(film.clip.movers[i].looks, attribute))
        return ClipQA(questions.ask_as(attribute, rng, found.text), answer, attribute, (i,))

    return ask


def _which_moves(film: Footage, rng: Rng) -> ClipQA | None:
    """The only one that goes a way, even in a loose reading."""
    clip = film.clip
    i = int(rng.integers(len(clip.movers)))
    path = clip.movers[i].path
    alike = [mover for mover in clip.movers if clip_referring.goes(mover, path.direction)]
    if not path.moves or len(alike) > 1:
        return None
    toward = pick(clip_words.TOWARD_SPOKEN[path.direction], rng)
    return ClipQA(_ask("which_moves", rng, toward), name_of(clip, i), "which_moves", (i,))


def _which_stays(film: Footage, rng: Rng) -> ClipQA | None:
    still = [i for i, mover in enumerate(film.clip.movers) if not mover.path.moves]
    if len(still) != 1 or len(film.clip.movers) == 1:
        return None
    return ClipQA(_ask("which_stays", rng), name_of(film.clip, still[0]), "which_stays", (still[0],))


def _background(film: Footage, rng: Rng) -> ClipQA:
    return ClipQA(questions.ask_as("background", rng), film.clip.background.color, "background", ())


def _count(film: Footage, rng: Rng) -> ClipQA | None:
    """Counts a class of objects, or those of them that move."""
    scene = cast(film.clip)
    description = questions.random_class(scene, rng)
    if not questions.may_name(scene, description):
        return None
    among = referents.select(scene, description)
    kind = ("count", "count_moving")[int(rng.integers(2))]
    if kind == "count_moving":
        among = [i for i in among if film.clip.movers[i].path.moves]
    question = _ask(kind, rng, description.noun(many=True))
    return ClipQA(question, number_word(len(among)), kind, tuple(among))


def _exists(film: Footage, rng: Rng) -> ClipQA | None:
    """Yes and no equally often; a wrong object shares its shape with a real one as often as not."""
    scene = cast(film.clip)
    wanted = bool(rng.integers(2))
    description = questions.random_class(scene, rng)
    if description.shape and rng.random() < 0.5:
        description = description._replace(color=str(rng.choice(list(COLORS))))
    if not (description.color or description.shape) or not questions.may_name(scene, description):
        return None
    among = referents.select(scene, description)
    if bool(among) != wanted:
        return None
    question = questions.ask_as("exists", rng, captions.article(description.noun()))
    return ClipQA(question, yes_no(wanted), "exists", tuple(among))


def _first(film: Footage, rng: Rng) -> ClipQA | None:
    """Which of two is seen first; one may be there from the start."""
    pair = _pair(film, rng)
    if pair is None:
        return None
    starts = [film.spans[found.target][0][0] for found in pair]
    return _either("first", rng, pair, starts[0] < starts[1]) if abs(starts[0] - starts[1]) >= MIN_LEAD else None


def _faster(film: Footage, rng: Rng) -> ClipQA | None:
    pair = _pair(film, rng)
    speeds = [film.clip.movers[found.target].path.speed for found in pair or ()]
    if pair is None or set(speeds) != {"slow", "fast"}:
        return None
    return _either("faster", rng, pair, speeds[0] == "fast")


def _pair(film: Footage, rng: Rng) -> tuple[ClipReferring, ClipReferring] | None:
    """Two movers, each with an expression by looks."""
    count = len(film.clip.movers)
    if count < 2:
        return None
    found = []
    for i in rng.permutation(count)[:2]:
        options = clip_referring.by_looks(film.clip, int(i))
        if not options:
            return None
        found.append(options[int(rng.integers(len(options)))])
    return found[0], found[1]


def _either(kind: str, rng: Rng, pair: tuple[ClipReferring, ClipReferring], first: bool) -> ClipQA:
    """The answer repeats the words of the question."""
    answer = pair[0 if first else 1].text.removeprefix("the ")
    question = _ask(kind, rng, pair[0].text, pair[1].text)
    return ClipQA(question, answer, kind, (pair[0].target, pair[1].target))


def _doubtful(film: Footage) -> bool:
    """Whether somebody who does not pass behind another is yet partly hidden, so that it may look like it."""
    whole = film.amodal.sum(axis=(2, 3))
    hidden = 1.0 - film.masks.sum(axis=(2, 3)) / np.maximum(whole, 1)
    others = [i for i, mover in enumerate(film.clip.movers) if mover.behind is None]
    return bool((hidden[others] > MAX_DOUBT).any())


ANY_ACTION = ("direction", "speed", "moving", "still", "event", "behind")
# "Comes in from the left" gives the direction away as well.
_MOTION = ("direction", "event")
KINDS: tuple[Kind, ...] = (
    _about("direction", _direction, _MOTION), _about("direction", _direction, _MOTION), _which_moves, _which_moves,
    _about("speed", _speed, ("speed",)), _about("moves", _moves, ANY_ACTION),
    _which_stays, _about("appears_when", _appears_when), _about("appears_when", _appears_when),
    _about("last_seen", _last_seen), _about("appears", _appears, ("event",)),
    _about("disappears", _disappears, ("event",)), _about("behind_what", _behind_what, ("behind",)),
    _about("what_behind", _what_behind, ("behind",)), _about("passes_behind", _passes_behind, ("behind",)),
    _attribute("color"), _attribute("shape"), _attribute("size"), _count, _count, _exists, _background,
    _first, _first, _faster, _faster,
    _about("start", _start), _about("end", _end),
)  # fmt: skip
"""Every kind of question; those named twice are asked twice as often."""
MOTION_KINDS: tuple[Kind, ...] = (
    *(_about("direction", _direction, _MOTION),) * 4, *(_which_moves,) * 2,
    _about("start", _start), _about("end", _end),
)  # fmt: skip
"""Where to, and from and to what place: what several frames have to be compared for."""
