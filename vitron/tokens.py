"""The tokens VITRON adds to a language model's vocabulary, and how they get there.

Placeholders (`<image>`, `<region>`) stand in the prompt where features are spliced in; signal tokens end an
invocation, and the hidden states at them are the signal embedding (paper §4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import AddedToken

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IMAGE = "<image>"
VIDEO = "<video>"
REGION = "<region>"
PLACEHOLDERS = (IMAGE, VIDEO, REGION)
REGION_TOKENS = 2
"""Embeddings per region: pooled features and mask geometry (Osprey's `<mask><pos>`)."""


def signal_token(index: int) -> str:
    """Return the spelling of signal token `index`."""
    return f"<signal_{index}>"


def signal_tokens(count: int) -> list[str]:
    """Return the spellings of all signal tokens, in the order in which they are produced."""
    return [signal_token(index) for index in range(count)]


def add_tokens(tokenizer: PreTrainedTokenizerBase, num_signal: int) -> int:
    """Add placeholders and signal tokens to `tokenizer` in place; return how many were new."""
    wanted = [*PLACEHOLDERS, *signal_tokens(num_signal)]
    return int(tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in wanted]))


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Return the id of an added token, or raise ValueError if the tokenizer lacks it."""
    found = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(found, int) or found == tokenizer.unk_token_id:
        raise ValueError(f"tokenizer: lacks the token {token!r}; call vitron.tokens.add_tokens on it first")
    return found


def signal_ids(tokenizer: PreTrainedTokenizerBase, num_signal: int) -> list[int]:
    """Return the ids of the signal tokens in order."""
    return [token_id(tokenizer, token) for token in signal_tokens(num_signal)]
