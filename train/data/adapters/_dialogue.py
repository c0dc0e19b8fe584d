"""From the facts of a record about pictures to a sample: how it is asked, what is answered, what is scored.

Everything that a data set says goes through `plain`, so that no text of it can act as a token or a tag. Which wording
is drawn depends on the generator alone. Clips are in `_clips.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from train.data.adapters import _wording as words
from train.data.adapters._dataset import Rng
from train.data.sample import BoolMask, Image, Sample, Turn
from train.data.shapes.wording import command, pick, polish
from vitron.invocation import format_boxes, format_reply
from vitron.prompt import escape
from vitron.regions import box_of
from vitron.types import Box, Grounding, Invocation, Module

_TAG = re.compile(r"<(?=/?(?:Module|Instruction|Region)>)")


def harmless(text: str) -> str:
    """Return foreign text with special tokens and tags broken up; its line breaks stay."""
    return _TAG.sub("< ", escape(text))


def plain(text: str) -> str:
    """Return foreign text on one line, with special tokens and tags broken up."""
    return harmless(" ".join(text.split()))


def as_question(text: str) -> str:
    """Return a foreign question with a sign at its end, so that a request can go on behind it."""
    text = plain(text)
    return text if text.endswith(("?", ".", "!", ":")) else f"{text}?"


def name_of(text: str) -> str:
    """Return a text that can stand before a box: without the signs that end it."""
    return " ".join(re.sub(r"[();:]", " ", plain(text)).split()) or "object"


def mention(text: str) -> str:
    """Return a foreign text as it stands inside a request: without the full stop of a sentence."""
    return plain(text).rstrip(" .") or plain(text)


def exchange(media: str, user: str, answer: str, invocation: Invocation | None = None) -> tuple[Turn, Turn]:
    """Return a request with its placeholders in front, and the reply with its invocation behind."""
    return (
        Turn(role="user", text=media + user),
        Turn(role="assistant", text=format_reply(answer, invocation), invokes=invocation is not None),
    )


def caption(id: str, rng: Rng, image: Image, captions: Sequence[str]) -> Sample:
    """Describe a picture; one of its captions is the answer, all are references."""
    references = tuple(plain(text) for text in captions)
    answer = pick(references, rng)
    return Sample(
        id=id,
        task="caption",
        images=(image,),
        turns=exchange("<image>\n", command(words.CAPTION, rng), answer),
        target={"answer": answer, "references": references},
    )


def generate(id: str, rng: Rng, image: Image, captions: Sequence[str]) -> Sample:
    """Draw a picture from one of its captions."""
    text = plain(pick(tuple(captions), rng))
    invocation = Invocation(module=Module.IMAGE_GENERATION, instruction=f"generation: {text}")
    return Sample(
        id=id,
        task="generate",
        turns=exchange(
            "", command(words.GENERATE, rng, what=mention(text)), pick(words.GENERATE_REPLIES, rng), invocation
        ),
        condition_text=text,
        target={"image": image, "caption": text},
    )


def region_caption(id: str, rng: Rng, image: Image, region: BoolMask, captions: Sequence[str]) -> Sample:
    """Describe a marked part of a picture; one of its descriptions is the answer, all are references."""
    references = tuple(plain(text) for text in captions)
    answer = pick(references, rng)
    user = command(words.REGION_CAPTION, rng, what=pick(words.REGION, rng))
    return Sample(
        id=id,
        task="region_caption",
        images=(image,),
        marks=((0, region),),
        turns=exchange("<image>\n", user, answer),
        target={"answer": answer, "references": references, "box": box_of(region)},
    )


def rec(id: str, rng: Rng, image: Image, expression: str, boxes: Sequence[Box]) -> Sample:
    """Give the boxes of what an expression means: usually one; none is said in words."""
    answer = format_boxes([Grounding(box=box) for box in boxes]) or pick(words.ABSENT_REPLIES, rng)
    return Sample(
        id=id,
        task="rec",
        images=(image,),
        turns=exchange("<image>\n", command(words.REC, rng, what=mention(expression)), answer),
        target={"answer": answer, "box": boxes[0] if boxes else None, "boxes": tuple(boxes)},
    )


def detect(id: str, rng: Rng, image: Image, name: str, boxes: Sequence[Box]) -> Sample:
    """Give the boxes of all objects of one name."""
    answer = format_boxes([Grounding(box=box) for box in boxes])
    return Sample(
        id=id,
        task="detect",
        images=(image,),
        turns=exchange("<image>\n", command(words.DETECT, rng, what=mention(name)), answer),
        target={"answer": answer, "boxes": tuple(boxes)},
    )


def grounded_caption(id: str, rng: Rng, image: Image, text: str, groundings: Sequence[Grounding]) -> Sample:
    """A sentence, then name and box of what it mentions (paper B.2, the form of the Shapes world)."""
    sentence = plain(text).rstrip(" .")
    answer = f"{sentence}. {format_boxes(groundings)}" if groundings else f"{sentence}."
    return Sample(
        id=id,
        task="grounded_caption",
        images=(image,),
        turns=exchange("<image>\n", command(words.GROUNDED_CAPTION, rng), answer),
        target={
            "answer": answer,
            "boxes": tuple(grounding.box for grounding in groundings),
            "labels": tuple(grounding.label for grounding in groundings),
        },
    )


def segment_text(id: str, rng: Rng, image: Image, expression: str, noun: str, masks: Sequence[BoolMask]) -> Sample:
    """Segment all that an expression means. If that is nothing, the reply says so and invokes nothing.

    The instruction names the kind only; which one is meant is for the signal embedding (docs/paper.md).
    """
    text = plain(expression)
    user = command(words.SEGMENT, rng, what=mention(text))
    joined = np.logical_or.reduce(masks) if masks else np.zeros(image.shape[:2], dtype=np.bool_)
    invocation = None
    if masks:
        invocation = Invocation(module=Module.IMAGE_SEGMENTATION, instruction=f"segmentation: {plain(noun)}")
    replies = words.SEGMENT_REPLIES if masks else words.ABSENT_REPLIES
    return Sample(
        id=id,
        task="segment_text",
        images=(image,),
        turns=exchange("<image>\n", user, pick(replies, rng), invocation),
        condition_text=text if masks else None,
        target={
            "mask": joined,
            "masks": tuple(masks),
            "box": box_of(joined) if masks else None,
            "image_index": 0,
        },
    )


def edit(id: str, rng: Rng, image: Image, instruction: str, edited: Image, editable: BoolMask) -> Sample:
    """Change a picture as told; `editable` is where the annotators allowed the change."""
    text = plain(instruction)
    invocation = Invocation(module=Module.IMAGE_EDITING, instruction=f"edit: {text}")
    user = polish(pick(words.EDIT, rng).format(text), rng)
    return Sample(
        id=id,
        task="edit",
        images=(image,),
        turns=exchange("<image>\n", user, pick(words.EDIT_REPLIES, rng), invocation),
        condition_text=text,
        target={"image": edited, "editable": editable, "instruction": text},
    )


def vqa(id: str, rng: Rng, image: Image, question: str, answer: str, answers: Sequence[str] = ()) -> Sample:
    """Answer a question about a picture; `answers` are those of all annotators."""
    answer = plain(answer)
    return Sample(
        id=id,
        task="vqa",
        images=(image,),
        turns=exchange("<image>\n", pick(words.QUESTION, rng).format(as_question(question)), answer),
        target={"answer": answer, "answers": tuple(plain(text) for text in answers) or (answer,)},
    )


def grounded_vqa(
    id: str, rng: Rng, image: Image, question: str, answer: str, groundings: Sequence[Grounding]
) -> Sample:
    """Locate what a question is about, then answer it (paper B.2, grounding-aware QA)."""
    short = plain(answer)
    reply = f"{format_boxes(groundings)}, so the answer is {short}."
    return Sample(
        id=id,
        task="grounded_vqa",
        images=(image,),
        turns=exchange("<image>\n", pick(words.GROUNDED_QUESTION, rng).format(as_question(question)), reply),
        target={
            "answer": short,
            "boxes": tuple(grounding.box for grounding in groundings),
            "labels": tuple(grounding.label for grounding in groundings),
        },
    )
