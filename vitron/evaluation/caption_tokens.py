"""Words of a caption, as the COCO caption scorers count them: Penn Treebank tokens in lower case, no punctuation.

The official scorers call Stanford's PTBTokenizer (Java). This is the same tokenisation for captions, written as one
regular expression: contractions are split ("do n't", "man 's"), hyphenated words, decimals, times and abbreviations
stay whole, brackets become "-lrb-" and are kept, as the official list of punctuation misses them in lower case.
It differs on what captions hardly ever hold: long file paths, telephone numbers, rare abbreviations that end in a dot.
"""

from __future__ import annotations

import re

PUNCTUATION = frozenset(
    {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
)
"""What the official scorers drop. The brackets are there in capitals only, so that lower-cased ones are kept."""

_ABBREVIATIONS = (
    "mr|mrs|ms|dr|prof|st|jr|sr|rev|gov|sen|rep|gen|col|lt|capt|sgt|mt|ave|blvd|rd|vs|etc|inc|ltd|co|corp|bros|"
    "jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|dept|est|al"
)
_SPLIT_WORDS = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "gimme": "gim me",
    "lemme": "lem me",
    "y'all": "y' all",
    "'tis": "'t is",
    "'twas": "'t was",
}
_SYMBOLS = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "£": "#",
    "€": "$",
    "¢": "cents",
    '"': "''",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "–": "--",
    "—": "--",
    "…": "...",
}
_CHARACTERS = str.maketrans({"½": "1/2", "¼": "1/4", "¾": "3/4", "\u00a0": " ", "\u00ad": None})
_UNKNOWN = re.compile("[\ufe0f\U00010000-\U0010ffff]")
"""Pictograms: the official tokeniser knows none beyond the first plane and leaves them out."""

_LETTER = r"[^\W\d_]"
_CLITIC = r"['’](?:s|m|d|re|ve|ll)(?!\w)"
# What may stand between two parts of one word: a hyphen, a slash, the dot of "file.txt", the sign of "AT&T", and an
# apostrophe ("o'clock") that is not the one of "rock'n'roll".
_INNER = rf"[-/]|\.(?!\d)|(?-i:(?<=[A-Z])&(?=[A-Z]))|(?<={_LETTER})['’](?!n['’])(?={_LETTER})"
_TOKEN = re.compile(
    rf"""
    https?://\S*[^\s.,;:!?] | [\w.+-]+@[\w-]+(?:\.[\w-]+)+     # addresses
  | </?{_LETTER}[^<>]*>                                      # markup
  | (?:{_LETTER}\.){{2,}}(?:{_LETTER}\b(?!\.))?(?:-\w+)*      # u.s., a.m., u.s.-based
  | \bph\.d\.
  | \b(?:{_ABBREVIATIONS})\.(?!\w)                 # mr.
  | \bno\.(?=\s*\d)
  | (?<![\w.]){_LETTER}\.(?!\w)                              # an initial
  | (?<!\w)['’](?:\d\ds?|n['’]|em|til|tis|twas|cause)(?!\w)  # '80s, 'n'
  | (?<=\w)['’]n['’](?=\w)                                   # rock'n'roll
  | \d+(?::\d+)+(?={_LETTER})                                # the time of 12:30pm
  | \d*(?:[.,:]\d+)+(?:[-/]\w+)*                             # 1,000  .5  1.5-mile
  | (?<![\w.])[+-]\d+(?!\w)                                  # -5 degrees
  | [#@]{_LETTER}\w*
  | \w+(?:(?:{_INNER})\w+)*                                  # a word, with its inner marks
  | {_CLITIC}                                                # of 1990's
  | \.{{3,}} | [!?]+ | -{{2,}} | ''|`` | \S
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NEGATION = re.compile(r"(?<=\w)n['’]t(?!\w)", re.IGNORECASE)
_ENDING = re.compile(rf"({_CLITIC})(/?)", re.IGNORECASE)


def caption_tokens(caption: str) -> list[str]:
    """Return the words of `caption`, lower case, without punctuation."""
    tokens: list[str] = []
    for found in _TOKEN.findall(_UNKNOWN.sub(" ", caption.translate(_CHARACTERS))):
        tokens += _parts(found)
    return [token for token in tokens if token not in PUNCTUATION]


def _parts(token: str) -> list[str]:
    if token in _SYMBOLS:
        return [_SYMBOLS[token]]
    if len(token) > 2 and not token.strip(".-"):
        return ["..."]
    word = token.lower().replace("’", "'")
    if word in _SPLIT_WORDS:
        return _SPLIT_WORDS[word].split()
    return _ENDING.sub(r" \1 \2 ", _NEGATION.sub(r" \g<0>", word)).split()
