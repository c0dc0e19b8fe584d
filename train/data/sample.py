"""What one training or evaluation sample is, whatever dataset it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Clip = npt.NDArray[np.uint8]
BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a conversation.

    A user's text holds one `<image>` or `<video>` per medium, each with a line break after it, and
    one `<region>` per mark, in the order of `Sample.marks`. `invokes` marks an assistant's turn
    that ends in a structured invocation; the prompt writer appends the signal tokens. An assistant's turn that is not
    `learned` is history: it is read, and nothing is learned from it.
    """

    role: Literal["user", "assistant"]
    text: str
    invokes: bool = False
    learned: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A conversation about media, with what is needed to train on it and to score it.

    Attributes:
        id: unique within its dataset and stable between runs.
        task: name of the task, which says which keys `target` holds.
        images: pictures uint8 [H, W, 3], in the order of their placeholders.
        clips: videos uint8 [T, H, W, 3], in the order of their placeholders.
        marks: what users drew, as (index of the picture, or of the clip where there are only clips;
            bool mask [H, W]), in the order of their placeholders.
        turns: the conversation, user first.
        condition_text: what the signal embedding of the invoking turn must convey; None if no turn
            invokes a specialist.
        target: what a scorer or a specialist's loss needs, such as "answer", "box", "mask",
            "image", "required".
    """

    id: str
    task: str
    turns: tuple[Turn, ...]
    images: tuple[Image, ...] = ()
    clips: tuple[Clip, ...] = ()
    marks: tuple[tuple[int, BoolMask], ...] = ()
    condition_text: str | None = None
    target: Mapping[str, Any] = field(default_factory=dict)
