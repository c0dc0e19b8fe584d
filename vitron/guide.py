"""Guided decoding: an invocation that was begun is finished by its grammar (`vitron.invocation`).

A small language model, or a large one in front of something it has never seen, loses its way in tags: it opens one and
goes on with words, or counts its signal tokens wrongly. Of the tokens that could come next, only those that can still
become an invocation are left to choose from; which of them is chosen is the model's. Where a right reply was coming
anyway, nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import torch
from transformers import PreTrainedTokenizerBase

from vitron.llm.request import Choices
from vitron.types import Message, Module

OPENING = "<Module>"
_INSTRUCTED, _REGION, _LOCATED = "</Instruction>", "<Region>", "</Region>"
_SOME, _SIGNAL, _NEXT = "~", "#", ";"
"""What stands in a state for the words within a field, for each signal token, and between regions."""
_LONG_REGION = f" {_NEXT} small yellow triangle: (0.00, 0.00, 0.00, 0.00 | 10, 15)"
"""As long as regions are."""
_EDITS = (Module.IMAGE_EDITING, Module.VIDEO_EDITING)
"""What always says where: an editor told neither by the user nor by the reply can only refuse."""
_WORD, MOST_WORDS = ".", 32
"""What stands for each token of free text where an invocation is required, and how many of them there may be."""


class InvocationGuide:
    """Says which tokens may come next, as the engine asks it (`vitron.llm.request.Guide`).

    A state is what was written since the invocation began, with the words of its fields left out, so that there are
    few: "" in free text, `<Module>Image Editing</Module><Instruction>~</Instruction>##` after two signal tokens. Where
    an invocation is required, free text does not end the reply, and its length is part of the state.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        signal_ids: Sequence[int],
        *,
        strict: bool,
        modules: Sequence[Module] = tuple(Module),
        required: bool = False,
        max_tokens: int = 256,
    ) -> None:
        """Read the vocabulary.

        Args:
            tokenizer: of the language model.
            signal_ids: what stands behind every invocation, in order.
            strict: whether "<" begins nothing but an invocation, and every edit says where, as for a model that knows
                nothing else; else free text may hold any tags of its own.
            modules: those that may be invoked.
            required: whether one of them is invoked in any case, after `MOST_WORDS` tokens of free text at most,
                which then holds no other tags.
            max_tokens: of a reply. There are no more regions than it has room for: one that is cut off is none.
        """
        self._heads = tuple(f"{OPENING}{module.value}</Module><Instruction>" for module in modules)
        self._located = tuple(f"{OPENING}{module.value}<" for module in _EDITS) if strict else ()
        self._signal, self._strict = list(signal_ids), strict or required
        self._required = required
        region = len(tokenizer(_LONG_REGION, add_special_tokens=False)["input_ids"])
        self._most_regions = max((max_tokens - MOST_WORDS - 2 * region - len(signal_ids)) // region, 1)
        assert isinstance(tokenizer.eos_token_id, int)
        self._eos = tokenizer.eos_token_id
        self._texts = list(_texts(tokenizer))
        self._texts[self._eos] = ""
        self._known: dict[str, Choices] = {}

    begin = ""

    def after(self, state: str, token_id: int) -> str:
        """Return the state after a token; one that no choice allowed leaves it as it is."""
        if token_id in self._signal:
            return state + _SIGNAL
        words = not state.strip(_WORD)
        reduced = self._reduced(("" if words else state) + self._texts[token_id])
        if reduced is None:
            return state
        return reduced or (state[:MOST_WORDS] + _WORD if words and self._required else "")

    def choices(self, state: str) -> Choices:
        """Return which tokens may come next."""
        if state not in self._known:
            self._known[state] = self._choices(state)
        return self._known[state]

    def _choices(self, state: str) -> Choices:
        if signals := state.count(_SIGNAL):
            return Choices(only=_ids([self._signal[signals] if signals < len(self._signal) else self._eos]))
        words = not state.strip(_WORD)
        if words and len(state) >= MOST_WORDS:
            return Choices(only=_ids([i for i in self._tagged if self._reduced(self._texts[i])]))
        if state.rstrip(_NEXT).endswith((_SOME, _REGION, *self._heads)) or words:
            rest = [] if words and not self._required else [self._eos]
            return Choices(never=_ids([*self._unfitting("" if words else state), *self._signal, *rest]))
        if not self._strict and not state.startswith(OPENING):
            return Choices(never=_ids(self._signal))  # perhaps a tag of another kind
        fitting = [i for i in self._candidates(state) if self._reduced(state + self._texts[i]) is not None]
        if state.endswith(_LOCATED) or (state.endswith(_INSTRUCTED) and not state.startswith(self._located)):
            fitting.append(self._signal[0])
        return Choices(only=_ids(fitting))

    def _unfitting(self, state: str) -> list[int]:
        return [i for i in self._tagged if self._reduced(state + self._texts[i]) is None]

    @cached_property
    def _tagged(self) -> list[int]:
        """Tokens that may open or close a tag, or part regions: in free text all others are."""
        return [i for i, text in enumerate(self._texts) if "<" in text or _NEXT in text]

    @cached_property
    def _by_first(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for i, text in enumerate(self._texts):
            if text:
                found.setdefault(text[0], []).append(i)
        return found

    def _candidates(self, state: str) -> list[int]:
        """Return the tokens whose first character may come next: few of a large vocabulary."""
        return [i for first, ids in self._by_first.items() if self._reduced(state + first) is not None for i in ids]

    def _reduced(self, text: str) -> str | None:
        """Return the state that a text is; None if no invocation can begin with it."""
        if self._strict:
            at = text.find("<")
        elif (at := text.find(OPENING)) < 0:
            at = text.rfind("<")
            if at >= 0 and not OPENING.startswith(text[at:]):
                return ""
        if at < 0:
            return ""
        text = text[at:]
        for head in self._heads:
            if head.startswith(text):
                return text
            if text.startswith(head):
                return _instruction(head, text.removeprefix(head), self._most_regions)
        return None


def possible_modules(messages: Sequence[Message]) -> tuple[Module, ...]:
    """Return the modules that can be meant: about pictures alone nothing is done to clips, and the other way round.

    Without either all can be, so that a request without its picture is answered by saying so.
    """
    pictures = any(message.images for message in messages)
    if pictures == any(message.clips for message in messages):
        return tuple(Module)
    about = (
        {Module.VIDEO_SEGMENTATION, Module.VIDEO_EDITING}
        if pictures
        else {Module.IMAGE_SEGMENTATION, Module.IMAGE_EDITING}
    )
    return tuple(module for module in Module if module not in about)


def _instruction(head: str, text: str, most_regions: int) -> str | None:
    field = _field(head, text, _INSTRUCTED)
    if field is None or field[1] is None:
        return field and field[0]
    done, rest = field[0], field[1]
    if _REGION.startswith(rest):
        return done + rest
    if not rest.startswith(_REGION):
        return None
    regions = rest.removeprefix(_REGION)
    if regions.count(_NEXT) >= most_regions:
        return None
    located = _field(done + _REGION, regions, _LOCATED)
    return None if located is None or located[1] else located[0]


def _field(before: str, text: str, close: str) -> tuple[str, str | None] | None:
    """Read a field's words and its closing tag.

    Returns:
        The state, and what stands behind the tag (None: it is not closed yet); None if neither can be.
    """
    words, tag, rest = text.partition("<")
    some = _SOME + _NEXT * words.count(_NEXT) if words.strip() else ""
    if not tag:
        return before + some, None
    tag += rest
    if not some or not (close.startswith(tag) or tag.startswith(close)):
        return None
    if len(tag) < len(close):
        return before + some + tag, None
    return before + some + close, tag.removeprefix(close)


def _ids(ids: Sequence[int]) -> torch.Tensor:
    return torch.tensor(ids, dtype=torch.long)


@lru_cache(maxsize=4)
def _texts(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return what each token adds to a text; decoded alone it could lose a space in front."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]

    def written(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=False, spaces_between_special_tokens=False))

    start = len(written(anchor))
    return tuple(written([*anchor, i])[start:] for i in range(len(tokenizer)))
