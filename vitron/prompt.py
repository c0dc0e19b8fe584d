"""Conversation -> token ids and labels. The only writer of prompts: training and serving share it.

Vicuna v1.1's template: `SYSTEM USER: ... ASSISTANT: ...</s>USER: ...`. A `<image>` becomes as many placeholder
positions as the picture has visual tokens, a `<region>` becomes two; features are written over them later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vitron.tokens import IMAGE, REGION, REGION_TOKENS, VIDEO, signal_ids, token_id
from vitron.types import DrawnRegion, Image, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions."
)
IGNORE = -100
_PLACEHOLDER = re.compile(f"({re.escape(IMAGE)}|{re.escape(REGION)})")
_SPECIAL = re.compile(r"<(?=/?s>|unk>|image>|video>|region>|signal_\d+>)")


class Prompt(NamedTuple):
    """`input_ids` and, for training, `labels` (IGNORE where nothing is learned), of equal length."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, kw_only=True)
class PromptWriter:
    """Writes prompts for one tokenizer.

    Attributes:
        tokenizer: holds the tokens of `vitron.tokens`.
        num_image_tokens: visual tokens of one picture.
        num_signal_tokens: signal tokens after an invocation.
        system: the system sentence.
    """

    tokenizer: PreTrainedTokenizerBase
    num_image_tokens: int
    num_signal_tokens: int
    system: str = SYSTEM

    def write(self, messages: Sequence[Message], *, answer: bool) -> Prompt:
        """Encode a conversation.

        Args:
            messages: alternating turns, the user first; a leading system message is added to the system sentence.
            answer: True ends the prompt where the assistant answers next; False (training) expects the last turn
                to be the assistant's.

        Raises:
            ValueError: roles out of order, or placeholders that do not match a turn's pictures and regions.
        """
        system, turns = _split_system(messages, self.system)
        _check_turns(turns, answer)
        ids, labels = self._start(system)
        for message in turns:
            new = self._user(message) if message.role == "user" else self._assistant(message)
            ids += new.input_ids
            labels += new.labels
        return Prompt(ids, labels)

    def _start(self, system: str) -> Prompt:
        ids = [self._bos(), *self._encode(escape(system) + " ")]
        return Prompt(ids, [IGNORE] * len(ids))

    def _user(self, message: Message) -> Prompt:
        check_placeholders(message)
        ids: list[int] = []
        for piece in _PLACEHOLDER.split(f"USER: {message.text} ASSISTANT:"):
            if piece == IMAGE:
                ids += [token_id(self.tokenizer, IMAGE)] * self.num_image_tokens
            elif piece == REGION:
                ids += [token_id(self.tokenizer, REGION)] * REGION_TOKENS
            elif piece:
                ids += self._encode(escape(piece))
        return Prompt(ids, [IGNORE] * len(ids))

    def _assistant(self, message: Message) -> Prompt:
        ids = self._encode(" " + escape(message.text))
        if "<Module>" in message.text:
            ids += signal_ids(self.tokenizer, self.num_signal_tokens)
        ids.append(self._eos())
        return Prompt(ids, list(ids))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _bos(self) -> int:
        return _known(self.tokenizer.bos_token_id, "bos_token_id")

    def _eos(self) -> int:
        return _known(self.tokenizer.eos_token_id, "eos_token_id")


def escape(text: str) -> str:
    """Break up special tokens that a user typed, so that text can never act as a token."""
    return _SPECIAL.sub("< ", text)


def user_message(parts: Sequence[str | Image | DrawnRegion]) -> Message:
    """Compose a user's turn from texts, pictures and drawn regions.

    Pictures come first, whatever their place among the parts: that is how the assistant is trained, and most clients
    put the question before the picture. Texts and regions keep their order; a region becomes ` <region>` where it
    stands.
    """
    images = tuple(part for part in parts if not isinstance(part, str | DrawnRegion))
    regions = tuple(part for part in parts if isinstance(part, DrawnRegion))
    text = ""
    for run in _runs([part for part in parts if isinstance(part, str | DrawnRegion)]):
        # Escaped as a whole, so that no placeholder can form across two parts.
        text = _joined(text, REGION if run is None else escape(run))
    return Message(role="user", text=f"{IMAGE}\n" * len(images) + text, images=images, regions=regions)


def _runs(parts: Sequence[str | DrawnRegion]) -> list[str | None]:
    """Join neighbouring texts; None stands for a region."""
    runs: list[str | None] = []
    for part in parts:
        if isinstance(part, DrawnRegion):
            runs.append(None)
        elif runs and runs[-1] is not None:
            runs[-1] = _joined(runs[-1], part)
        else:
            runs.append(part)
    return runs


def _joined(left: str, right: str) -> str:
    """Join two texts with a space where words, or a word and a region, would touch."""
    touching = left and right and not left[-1].isspace() and (right[0].isalnum() or right.startswith(REGION))
    if right.startswith(REGION):
        left = left.rstrip()
        touching = bool(left)
    return f"{left} {right}" if touching else f"{left}{right}"


def check_placeholders(message: Message) -> None:
    """Raise ValueError unless the text has one placeholder per picture and per region."""
    for name, token, items in (("images", IMAGE, message.images), ("regions", REGION, message.regions)):
        count = message.text.count(token)
        if count != len(items):
            raise ValueError(f"text: holds {count} {token} for {len(items)} {name}, expected as many")
    if VIDEO in message.text:
        raise ValueError(f"text: holds {VIDEO}, expected only {IMAGE} and {REGION}")


def _split_system(messages: Sequence[Message], default: str) -> tuple[str, list[Message]]:
    turns = list(messages)
    if turns and turns[0].role == "system":
        return f"{default} {turns[0].text}".strip(), turns[1:]
    return default, turns


def _check_turns(turns: Sequence[Message], answer: bool) -> None:
    last = "user" if answer else "assistant"
    if not turns or turns[-1].role != last:
        raise ValueError(f"messages: expected at least one turn, the last by {last}")
    for index, message in enumerate(turns):
        expected = "user" if index % 2 == 0 else "assistant"
        if message.role != expected:
            raise ValueError(f"messages: turn {index} is by {message.role!r}, expected {expected!r}")


def _known(value: int | None, name: str) -> int:
    if value is None:
        raise ValueError(f"tokenizer: {name} is not set")
    return value
