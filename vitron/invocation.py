"""The codec of structured replies: free text, then `<Module>`, `<Instruction>` and optional `<Region>` (paper §B.1).

    Sure, here is the clock. <Module>Video Segmentation</Module><Instruction>segmentation: clock</Instruction>
    <Region>clock: (0.23, 0.35, 0.46, 0.61 | 2, 7)</Region>

Boxes are `xyxy` in [0, 1] with two decimals; frame spans are inclusive. For values that two decimals can hold,
parsing what was formatted gives it back. This module knows nothing of tokens, prompts or models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from vitron.types import Box, Grounding, Invocation, Module

_NUMBER = r"\s*(\d+(?:\.\d+)?|\.\d+)\s*"
_BOX = re.compile(rf"\({_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}(?:\|\s*(\d+)\s*,\s*(\d+)\s*)?\)")
_FIELD = re.compile(r"<(Module|Instruction|Region)>\s*(.*?)\s*</\1>", re.DOTALL)
_SIGNAL = re.compile(r"<signal_\d+>")
_OPENING = "<Module>"
_HIDDEN = (_OPENING, "<Instruction>", "<Region>", "<signal_")
_FORBIDDEN = re.compile(r"</?(?:Module|Instruction|Region)>|<signal_\d+>")


class InvocationError(ValueError):
    """The LLM's text holds an invocation that cannot be carried out; `text` is what it wrote."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.text = text


class ParsedReply(NamedTuple):
    """Text for the user, and the invocation if there is one."""

    text: str
    invocation: Invocation | None


def format_box(box: Box, span: tuple[int, int] | None = None) -> str:
    """Spell a box, or a track with its frame span, as the LLM writes it."""
    numbers = ", ".join(f"{value:.2f}" for value in box)
    return f"({numbers} | {span[0]}, {span[1]})" if span else f"({numbers})"


def format_grounding(grounding: Grounding) -> str:
    """Spell `label: (box)`, or the box alone when the label is empty."""
    if re.search(r"[();]", grounding.label) or _FORBIDDEN.search(grounding.label):
        raise ValueError(f"label: got {grounding.label!r}, expected text without parentheses, semicolons or tags")
    box = format_box(grounding.box, grounding.span)
    return f"{grounding.label}: {box}" if grounding.label else box


def format_invocation(invocation: Invocation) -> str:
    """Spell an invocation; raises ValueError when a field holds one of the tags."""
    if _FORBIDDEN.search(invocation.instruction) or not invocation.instruction.strip():
        raise ValueError(f"instruction: got {invocation.instruction!r}, expected non-empty text without tags")
    text = f"<Module>{invocation.module.value}</Module><Instruction>{invocation.instruction}</Instruction>"
    if invocation.regions:
        text += f"<Region>{'; '.join(format_grounding(g) for g in invocation.regions)}</Region>"
    return text


def parse_groundings(text: str) -> list[Grounding]:
    """Read every `[label: ](x1, y1, x2, y2[ | start, end])` in `text`.

    Raises:
        ValueError: a box is out of [0, 1] or its corners are in the wrong order. No box is repaired: a wrong one that
            looks right is worse than an error. A span names the same frames from either end.
    """
    found, end = [], 0
    for match in _BOX.finditer(text):
        x1, y1, x2, y2 = (float(value) for value in match.groups()[:4])
        span = None
        if match[5]:
            # The frames between two, whichever is named first.
            first, last = sorted((int(match[5]), int(match[6])))
            span = (first, last)
        label = text[end : match.start()].strip(" ;,\n").removesuffix(":").strip()
        found.append(Grounding(box=(x1, y1, x2, y2), label=label, span=span))
        end = match.end()
    return found


def parse_boxes(text: str) -> list[Box]:
    """Read every valid box in free text, leaving out malformed ones."""
    boxes = []
    for match in _BOX.finditer(text):
        x1, y1, x2, y2 = (float(value) for value in match.groups()[:4])
        if 0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1:
            boxes.append((x1, y1, x2, y2))
    return boxes


def parse_reply(text: str) -> ParsedReply:
    """Split a whole reply into what the user reads and the invocation.

    Raises:
        InvocationError: a tag is there but the module is unknown, a field is missing or unclosed, or a region is
            malformed. The error carries the text; nothing falls back to "text only" silently.
    """
    text = _SIGNAL.sub("", text)
    fields = _FIELD.findall(text)
    visible = _FIELD.sub("", text)
    if not fields and not _FORBIDDEN.search(visible):
        # A reply cut short may end inside a tag's name.
        cut = _undecided(visible)
        kept = visible if len(visible) - cut < 2 else visible[:cut]
        return ParsedReply(kept.strip(), None)
    if _FORBIDDEN.search(visible):
        raise InvocationError("the invocation has an unclosed or stray tag", text)
    values = dict(fields)
    if len(values) != len(fields):
        raise InvocationError("the invocation repeats a field", text)
    return ParsedReply(visible.strip(), _invocation(values, text))


def _invocation(values: dict[str, str], text: str) -> Invocation:
    missing = {"Module", "Instruction"} - set(values)
    if missing:
        raise InvocationError(f"the invocation lacks {sorted(missing)}", text)
    names = [module.value for module in Module]
    if values["Module"] not in names:
        raise InvocationError(f"unknown module {values['Module']!r}, expected one of {names}", text)
    if not values["Instruction"]:
        raise InvocationError("the instruction is empty", text)
    return Invocation(
        module=Module(values["Module"]),
        instruction=values["Instruction"],
        regions=_regions(values.get("Region"), text),
    )


def _regions(value: str | None, text: str) -> tuple[Grounding, ...]:
    if value is None:
        return ()
    try:
        regions = tuple(parse_groundings(value))
    except ValueError as error:
        raise InvocationError(f"malformed region: {error}", text) from error
    if not regions or len(regions) != value.count("("):
        raise InvocationError(f"malformed region: {value!r}", text)
    return regions


def visible_text(text: str) -> str:
    """Return what stands before the first tag: the text for the user, whatever is wrong with the tags."""
    return text[: _first_tag(text)].strip()


def _first_tag(text: str) -> int:
    return min([text.find(tag) for tag in _HIDDEN if tag in text], default=len(text))


class ReplyParser:
    """Reads a reply as it is produced and lets through only what the user should see.

    `feed` returns the new visible text. Text that may still turn out to be the start of a tag is held back until
    it is decided; `finish` returns what was held back and parses the whole.
    """

    def __init__(self) -> None:
        self._raw = ""
        self._shown = 0

    @property
    def raw(self) -> str:
        """Everything fed so far."""
        return self._raw

    def feed(self, delta: str) -> str:
        """Take the next piece of text and return what may be shown now."""
        self._raw += delta
        return self._show(self._visible_end())

    def finish(self) -> str:
        """Return the rest that may be shown: a held-back `<` that began no tag."""
        end = _first_tag(self._raw)
        cut = _undecided(self._raw[:end])
        if end == len(self._raw) and end - cut >= 2:
            end = cut
        return self._show(len(self._raw[:end].rstrip()))

    def parse(self) -> ParsedReply:
        """Parse everything fed; see `parse_reply`."""
        return parse_reply(self._raw)

    def _visible_end(self) -> int:
        end = _first_tag(self._raw)
        if end < len(self._raw):
            return len(self._raw[:end].rstrip())
        # A suffix that a tag could complete, and the white space before it, waits.
        cut = _undecided(self._raw)
        return len(self._raw[:cut].rstrip())

    def _show(self, end: int) -> str:
        if end <= self._shown:
            return ""
        shown = self._raw[self._shown : end]
        first = self._shown == 0
        self._shown = end
        return shown.lstrip() if first else shown


def _undecided(text: str) -> int:
    start = text.rfind("<")
    if start < 0:
        return len(text)
    return start if any(tag.startswith(text[start:]) for tag in _HIDDEN) else len(text)


def strip_verb(instruction: str) -> str:
    """Return what follows the verb of `segmentation: red circle`; the whole text if there is no verb.

    Only the first colon counts, so that `replace: sign saying: hello` keeps its text.
    """
    return instruction.split(":", 1)[1].strip() if ":" in instruction else instruction.strip()


def verb_of(instruction: str) -> str:
    """Return the verb of `segmentation: red circle`; "" if there is none."""
    return instruction.split(":", 1)[0].strip().lower() if ":" in instruction else ""


def format_reply(text: str, invocation: Invocation | None) -> str:
    """Spell a whole reply as the LLM is trained to write it (without signal tokens)."""
    if invocation is None:
        return text
    return f"{text} {format_invocation(invocation)}" if text else format_invocation(invocation)


def format_boxes(groundings: Sequence[Grounding]) -> str:
    """Spell groundings separated by commas, the paper's form for grounded captions."""
    return ", ".join(format_grounding(grounding) for grounding in groundings)
