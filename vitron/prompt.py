"""Conversation -> token ids and labels. The only writer of prompts: training and serving share it.

Vicuna v1.1's template: `SYSTEM USER: ... ASSISTANT: ...</s>USER: ...`. A `<image>` becomes as many placeholder
positions as the picture has visual tokens, a `<region>` becomes two; features are written over them later. A `<video>`
becomes those of its temporal mean and then those of its frames. A region on a clip is followed by ` (frame k)`, where k
counts the frames that the LLM sees. What the assistant made stands in front of the user's next words
(`carry_produced`), never in the assistant's own turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from vitron.config import VideoConfig
from vitron.frames import sample_numbers
from vitron.tokens import IMAGE, PLACEHOLDERS, REGION, REGION_TOKENS, VIDEO, signal_ids, token_id
from vitron.types import Clip, DrawnRegion, Image, Message, Reply, SpecialistOutput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions."
)
IGNORE = -100
_PLACEHOLDER = re.compile(f"({'|'.join(re.escape(token) for token in PLACEHOLDERS)})")
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
        video: how clips are seen.
    """

    tokenizer: PreTrainedTokenizerBase
    num_image_tokens: int
    num_signal_tokens: int
    system: str = SYSTEM
    video: VideoConfig = field(default_factory=VideoConfig)

    def write(self, messages: Sequence[Message], *, answer: bool) -> Prompt:
        """Encode a conversation.

        Args:
            messages: alternating turns, the user first; a leading system message is added to the system sentence.
            answer: True ends the prompt where the assistant answers next; False (training) expects the last turn
                to be the assistant's.

        Raises:
            ValueError: roles out of order, placeholders that do not match a turn's pictures, clips and regions, or
                a region on a frame that is not there.
        """
        system, turns = _split_system(messages, self.system)
        _check_turns(turns, answer)
        ids, labels = self._start(system)
        seen = seen_frames(turns, self.video.max_frames)
        clips = iter(seen)
        for message in turns:
            new = self._user(message, clips, seen) if message.role == "user" else self._assistant(message)
            ids += new.input_ids
            labels += new.labels
        return Prompt(ids, labels)

    def _start(self, system: str) -> Prompt:
        ids = [self._bos(), *self._encode(escape(system) + " ")]
        return Prompt(ids, [IGNORE] * len(ids))

    def _user(self, message: Message, clips: Iterator[tuple[int, ...]], seen: Sequence[tuple[int, ...]]) -> Prompt:
        check_placeholders(message)
        ids: list[int] = []
        regions = iter(message.regions)
        for piece in _PLACEHOLDER.split(f"USER: {message.text} ASSISTANT:"):
            if piece == IMAGE:
                ids += [token_id(self.tokenizer, IMAGE)] * self.num_image_tokens
            elif piece == VIDEO:
                count = self.num_image_tokens + len(next(clips)) * self.video.tokens_per_frame
                ids += [token_id(self.tokenizer, VIDEO)] * count
            elif piece == REGION:
                ids += [token_id(self.tokenizer, REGION)] * REGION_TOKENS
                ids += self._frame(next(regions), seen)
            elif piece:
                ids += self._encode(escape(piece))
        return Prompt(ids, [IGNORE] * len(ids))

    def _frame(self, region: DrawnRegion, seen: Sequence[tuple[int, ...]]) -> list[int]:
        """Say in which frame a region on a clip is drawn: its two embeddings tell what and where only."""
        if region.clip is None:
            return []
        return self._encode(f" (frame {seen[region.clip].index(region.frame)})")

    def _assistant(self, message: Message) -> Prompt:
        if message.images or message.clips:
            raise ValueError("messages: an assistant's turn holds pictures or clips, expected `carry_produced` before")
        ids = self._encode(" " + escape(message.text))
        if "<Module>" in message.text:
            ids += signal_ids(self.tokenizer, self.num_signal_tokens)
        ids.append(self._eos())
        return Prompt(ids, list(ids) if message.learned else [IGNORE] * len(ids))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _bos(self) -> int:
        return _known(self.tokenizer.bos_token_id, "bos_token_id")

    def _eos(self) -> int:
        return _known(self.tokenizer.eos_token_id, "eos_token_id")


def escape(text: str) -> str:
    """Break up special tokens that a user typed, so that text can never act as a token."""
    return _SPECIAL.sub("< ", text)


def seen_frames(messages: Sequence[Message], max_frames: int) -> list[tuple[int, ...]]:
    """Return, for each clip of a conversation in reading order, the numbers of the frames that the LLM sees.

    They are spread evenly over the clip's frames, except that those drawn on are always among them. Answers count
    them from 0.

    Raises:
        ValueError: a region is on a clip or a frame that is not there, or more frames are drawn on than are seen.
    """
    clips = [clip for message in messages for clip in message.clips]
    drawn: list[set[int]] = [set() for _ in clips]
    for region in (region for message in messages for region in message.regions):
        if region.clip is None:
            continue
        if not 0 <= region.clip < len(clips):
            raise ValueError(f"region.clip: got {region.clip}, expected the index of one of {len(clips)} clips")
        if region.frame not in clips[region.clip].numbers:
            numbers = clips[region.clip].numbers
            known = f"0 to {numbers[-1]}" if len(numbers) == numbers[-1] + 1 else f"one of {list(numbers)}"
            raise ValueError(f"region.frame: got {region.frame}, expected {known}")
        drawn[region.clip].add(region.frame)
    return [sample_numbers(clip.numbers, max_frames, keep) for clip, keep in zip(clips, drawn, strict=True)]


def user_message(parts: Sequence[str | Image | Clip | DrawnRegion]) -> Message:
    """Compose a user's turn from texts, pictures, clips and drawn regions.

    Pictures come first and clips after them, whatever their place among the parts: that is how the assistant is
    trained, and most clients put the question before the picture. Texts and regions keep their order; a region becomes
    ` <region>` where it stands.
    """
    images = tuple(part for part in parts if not isinstance(part, str | Clip | DrawnRegion))
    clips = tuple(part for part in parts if isinstance(part, Clip))
    regions = tuple(part for part in parts if isinstance(part, DrawnRegion))
    text = ""
    for run in _runs([part for part in parts if isinstance(part, str | DrawnRegion)]):
        # Escaped as a whole, so that no placeholder can form across two parts.
        text = _joined(text, REGION if run is None else escape(run))
    media = f"{IMAGE}\n" * len(images) + f"{VIDEO}\n" * len(clips)
    return Message(role="user", text=media + text, images=images, regions=regions, clips=clips)


def carry_produced(messages: Sequence[Message]) -> list[Message]:
    """Move the pictures and clips of assistant turns into the user turns that follow, in front of all else there.

    So training shows them, as something that the user has before the eyes and speaks of. The reading order of media
    stays, and with it the indices that regions use. Applied twice it changes nothing more.

    Raises:
        ValueError: no user's turn follows what was made.
    """
    carried: list[Message] = []
    images: tuple[Image, ...] = ()
    clips: tuple[Clip, ...] = ()
    for message in messages:
        if message.role == "assistant":
            images, clips = images + message.images, clips + message.clips
            carried.append(replace(message, images=(), clips=()))
        elif message.role == "user":
            carried.append(_led_by(images, clips, message))
            images, clips = (), ()
        else:
            carried.append(message)
    if images or clips:
        raise ValueError("messages: the last turn holds what the assistant made, expected a user's turn after it")
    return carried


def assistant_message(reply: Reply) -> Message:
    """Return a reply as a turn of the conversation that goes on, with the pictures and clips that were made."""
    output = reply.output or SpecialistOutput()
    return Message(role="assistant", text=reply.text, images=output.images, clips=output.clips)


def _led_by(images: tuple[Image, ...], clips: tuple[Clip, ...], message: Message) -> Message:
    """Put media in front of a user's own, which stay next to the words about them."""
    text = f"{IMAGE}\n" * len(images) + f"{VIDEO}\n" * len(clips) + message.text
    return replace(message, text=text, images=images + message.images, clips=clips + message.clips)


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
    """Raise ValueError unless the text has one placeholder per picture, clip and region."""
    for name, token in (("images", IMAGE), ("clips", VIDEO), ("regions", REGION)):
        count, items = message.text.count(token), getattr(message, name)
        if count != len(items):
            raise ValueError(f"text: holds {count} {token} for {len(items)} {name}, expected as many")


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
