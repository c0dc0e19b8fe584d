"""METEOR of captions, by the official program.

METEOR matches stems, synonyms and paraphrases by tables that come with its Java program, and its weights were fitted
with them. A version without them is another metric, so this file only calls the program that pycocoevalcap brings.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from vitron.evaluation.caption_tokens import caption_tokens
from vitron.evaluation.reference_captions import check_samples


class Meteor(NamedTuple):
    """METEOR 1.5 for English: `corpus` is aggregated over all samples, so it is not the mean of `samples`."""

    corpus: float
    samples: list[float]


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Meteor:
    """Score captions, each in [0, 1]. Starting the program takes some seconds and up to 2 GB of memory.

    Args:
        candidates: one caption a sample.
        references: one or more captions a sample.

    Raises:
        RuntimeError: where Java or pycocoevalcap is missing; it says what to install.
        ValueError: for no samples, counts that differ, or a sample without references.
    """
    check_samples(candidates, references)
    if shutil.which("java") is None:
        raise RuntimeError("METEOR needs Java 8 or later: got no `java` on the PATH (apt-get install default-jre)")
    try:
        program = importlib.import_module("pycocoevalcap.meteor.meteor").Meteor()
    except ImportError as error:
        raise RuntimeError("METEOR needs pycocoevalcap: pip install -c constraints.txt -e '.[eval]'") from error
    said = {index: [" ".join(caption_tokens(text))] for index, text in enumerate(candidates)}
    wanted = {index: [" ".join(caption_tokens(text)) for text in texts] for index, texts in enumerate(references)}
    corpus, samples = program.compute_score(wanted, said)
    return Meteor(float(corpus), [float(score) for score in samples])
