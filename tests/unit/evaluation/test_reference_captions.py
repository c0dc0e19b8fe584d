"""BLEU, ROUGE-L, CIDEr-D and METEOR against the official scorers, and their words against the official tokeniser."""

from __future__ import annotations

import importlib
import importlib.util
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitron.evaluation import meteor as meteor_module
from vitron.evaluation.caption_tokens import caption_tokens
from vitron.evaluation.meteor import meteor
from vitron.evaluation.reference_captions import bleu, cider_d, rouge_l

CANDIDATES = [
    "A large red circle at the top left.",
    "The dog's bowl isn't on the table, is it?",
    "a man riding a wave on a surfboard",
    "two cats",
    "a a a a a a a a a a green cross",
    "",
]
REFERENCES = [
    ["A big red circle in the top-left corner.", "This is a large red circle."],
    ["The dog's bowl is not on the table.", "There isn't a bowl on the table!"],
    ["a man riding a wave on a surfboard"],
    ["Two cats are sleeping on a bed.", "two sleeping cats", "a pair of cats (asleep)"],
    ["a green cross on a gray background", "small green cross"],
    ["a blue star"],
]
# Made with pycocoevalcap 1.2: PTBTokenizer, then Bleu(4), Rouge, Cider and Meteor over the samples above.
BLEU = (0.682926829251636, 0.6159576235571305, 0.5418691705044759, 0.46596402461891123)
ROUGE_L = [0.5865384615384615, 0.8146911519198664, 1.0, 0.7721518987341772, 0.39610389610389607, 0.0]
CIDER = [2.703601848801683, 3.7971906994522966, 10.0, 1.4710631458516241, 1.1175542845102318, 0.0]
METEOR = 0.412648130846288
METEOR_SAMPLES = [0.4253447139239162, 0.4977952773272382, 1.0, 0.2442748091603053, 0.28517591762526895, 0.0]

# Made with pycocoevalcap's PTBTokenizer (Stanford CoreNLP 3.4.1) and its list of punctuation.
TOKENS = {
    "A black-and-white photo of a man in a suit.": "a black-and-white photo of a man in a suit",
    "A woman's hand; the dogs' toys.": "a woman 's hand the dogs toys",
    "There isn't anyone. He can't; they've left!": "there is n't anyone he ca n't they 've left",
    "A sign that says \"STOP\" or 'No Parking'.": "a sign that says stop or no parking",
    "Two people, one with an umbrella (side by side).": "two people one with an umbrella -lrb- side by side -rrb-",
    "Mr. Smith and Dr. Brown at 5 p.m. in the U.S. today": "mr. smith and dr. brown at 5 p.m. in the u.s. today",
    "A clock showing 12:30pm, or 10:15.": "a clock showing 12:30 pm or 10:15",
    "It costs $3.50 or 20% off, 1,000 times.": "it costs $ 3.50 or 20 % off 1,000 times",
    "A rock'n'roll band of the '90s and 1990's.": "a rock 'n' roll band of the '90s and 1990 's",
    "An up-close image - very blurry -- of a cat...": "an up-close image very blurry of a cat",
    "The kids cannot swim, they're gonna play.": "the kids can not swim they 're gon na play",
    "AT&T store, cat&dog, a ½ cup of M&M's": "at&t store cat & dog a 1/2 cup of m&m 's",
    "a man's/woman's 1.5-mile road at -5 degrees": "a man 's / woman 's 1.5-mile road at -5 degrees",
    "It's 3rd street; the 2nd one's closed.": "it 's 3rd street the 2nd one 's closed",
    "A tv w/ a remote on a hill/mountain": "a tv w / a remote on a hill/mountain",
    "a man’s hat — “quoted” and ‘single’": "a man 's hat quoted and single",
    "a 🐶 dog, a café and a naïve señor": "a dog a café and a naïve señor",
    "a large red circle at (0.12, 0.30)": "a large red circle at -lrb- 0.12 0.30 -rrb-",
    "at 5PM. The no-parking sign no. 5": "at 5pm the no-parking sign no. 5",
    "What is this?! a [framed] picture": "what is this ?! a -lsb- framed -rsb- picture",
}

needs_scorers = pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None or shutil.which("java") is None,
    reason="needs pycocoevalcap (pip install -c constraints.txt -e '.[eval]') and Java",
)
words = st.sampled_from(["a", "the", "red", "blue", "dog", "cat", "sits", "on", "it"])
captions = st.lists(words, min_size=1, max_size=9).map(" ".join)


@pytest.mark.parametrize("caption", TOKENS)
def test_captions_are_split_as_the_official_tokeniser_does(caption):
    assert caption_tokens(caption) == TOKENS[caption].split()


def test_scores_equal_those_of_the_official_scorers():
    assert bleu(CANDIDATES, REFERENCES) == pytest.approx(BLEU, abs=1e-12)
    assert rouge_l(CANDIDATES, REFERENCES) == pytest.approx(ROUGE_L, abs=1e-12)
    assert cider_d(CANDIDATES, REFERENCES) == pytest.approx(CIDER, abs=1e-12)


@needs_scorers
def test_the_expected_tokens_are_still_those_of_the_official_tokeniser():
    tokenizer = importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer()
    found = tokenizer.tokenize({text: [{"caption": text}] for text in TOKENS})
    assert {text: words[0] for text, words in found.items()} == TOKENS


@pytest.mark.skipif(importlib.util.find_spec("pycocoevalcap") is None, reason="needs pycocoevalcap")
@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(captions, st.lists(captions, min_size=1, max_size=3)), min_size=2, max_size=6))
def test_scores_of_any_captions_equal_those_of_the_official_scorers(samples):
    candidates, references = [said for said, _ in samples], [others for _, others in samples]
    wanted, said = dict(enumerate(references)), {index: [text] for index, text in enumerate(candidates)}
    official = {name: importlib.import_module(f"pycocoevalcap.{name}.{name}") for name in ("bleu", "rouge", "cider")}
    expected = official["bleu"].Bleu(4).compute_score(wanted, said, verbose=0)[0]
    assert bleu(candidates, references) == pytest.approx(expected, abs=1e-9)
    assert rouge_l(candidates, references) == pytest.approx(official["rouge"].Rouge().compute_score(wanted, said)[1])
    expected = official["cider"].Cider().compute_score(wanted, said)[1]
    assert cider_d(candidates, references) == pytest.approx(expected, abs=1e-9)


@given(st.lists(captions, min_size=2, max_size=5))
def test_a_caption_that_repeats_its_reference_is_perfect(texts):
    texts = [f"{text} number {index} here" for index, text in enumerate(texts)]
    references = [[text] for text in texts]
    assert bleu(texts, references).bleu_4 == pytest.approx(1)
    assert rouge_l(texts, references) == pytest.approx([1] * len(texts))
    assert cider_d(texts, references) == pytest.approx([10] * len(texts))


def test_repeating_a_word_gains_nothing():
    references = [["a red circle on white"], ["two blue stars in a row"]]
    plain = cider_d(["a red circle", "two"], references)[0]
    assert cider_d(["a red red red circle", "two"], references)[0] < plain
    assert bleu(["red red red red"], [["a red circle"]]).bleu_1 == pytest.approx(1 / 4)


def test_samples_that_cannot_be_scored_are_refused():
    with pytest.raises(ValueError, match="got 1 with 2"):
        bleu(["a"], [["a"], ["b"]])
    with pytest.raises(ValueError, match=r"references\[1\]"):
        rouge_l(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="expected a list"):
        rouge_l(["a"], ["a reference that is no list"])
    with pytest.raises(ValueError, match="expected at least 2"):
        cider_d(["a"], [["a"]])


@pytest.mark.slow
@needs_scorers
def test_meteor_is_that_of_the_official_program():
    found = meteor(CANDIDATES, REFERENCES)
    assert found.corpus == pytest.approx(METEOR)
    assert found.samples == pytest.approx(METEOR_SAMPLES)


def test_meteor_says_what_to_install(monkeypatch):
    monkeypatch.setattr(meteor_module.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match=r"Java 8 .*apt-get install"):
        meteor(["a"], [["a"]])

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(meteor_module.shutil, "which", lambda name: "/usr/bin/java")
    monkeypatch.setattr(meteor_module.importlib, "import_module", missing)
    with pytest.raises(RuntimeError, match=r"pip install .*\[eval\]"):
        meteor(["a"], [["a"]])
