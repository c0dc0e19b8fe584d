"""Scores of region captions by what they say: each attribute named, rightly, and nothing else.

The vocabulary is handed in, so that a world with other attributes needs no other code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Vocabulary = Mapping[str, Sequence[str]]
"""Attribute ("color") to the words that name its values ("red", "light blue")."""


def mentioned(text: str, vocabulary: Vocabulary) -> dict[str, frozenset[str]]:
    """Return, for each attribute, which of its values `text` names (whole words or plurals)."""
    lowered = text.lower()
    return {
        attribute: frozenset(value for value in values if _names(lowered, value))
        for attribute, values in vocabulary.items()
    }


def _names(text: str, value: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(value.lower())}(?:s|es)?(?!\w)", text) is not None


def attributes_right(text: str, expected: Mapping[str, str], vocabulary: Vocabulary) -> dict[str, bool]:
    """Tell for every attribute of `expected` whether `text` names that value and no other of it."""
    unknown = sorted(set(expected) - set(vocabulary))
    if unknown:
        raise ValueError(f"expected: got attributes {unknown}, allowed {sorted(vocabulary)}")
    found = mentioned(text, vocabulary)
    return {name: found[name] == {value} for name, value in expected.items()}


def all_attributes(text: str, expected: Mapping[str, str], vocabulary: Vocabulary) -> bool:
    """Tell whether `text` names every attribute of `expected` rightly."""
    return all(attributes_right(text, expected, vocabulary).values())
