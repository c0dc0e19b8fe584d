r"""LLaVA-style JSON: conversations about pictures and videos, the form to bring your own data in.

Expected under `root`:

    <split>.json        a list of records; any name is a split, such as `train` or `llava_v1_5_mix665k`
    the media           at the paths that the records give, relative to `root`

A record is

    {"id": "7",
     "image": "photos/7.jpg",                               or "video"; a list of paths; none for text alone
     "conversations": [{"from": "human", "value": "<image>\nWhat is <region>?"},
                       {"from": "gpt", "value": "A clock."}],
     "bbox": [12, 40, 90, 121]}                             or a list of boxes; optional

Turns alternate; what `gpt` says before the first `human` is skipped, as LLaVA does. There is one `<image>` (`<video>`)
for each picture (video); they are moved to the front of their turn. `bbox`, Vitron's extension, is in pixels of the
first picture, or of the first frame of the first video. With as many `<region>` as boxes the boxes are what the user
drew; without any they are only kept as `target["boxes"]`.

A reply may invoke a specialist, once in a conversation: `<Module>Image Segmentation</Module><Instruction>...
</Instruction>`, or with the tags in lower case and the letters A to G of Vitron's published data. Every other tag or
token in a text is broken up. Feeds whichever step its conversations are for: 1.2 for Vitron's data, 1.1 and 2.3 for
LLaVA's. LLaVA's own data: https://github.com/haotian-liu/LLaVA/blob/main/docs/Data.md, CC BY 4.0 with OpenAI's terms.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, NamedTuple

from train.data.adapters._boxes import corners_box
from train.data.adapters._dataset import DataSet, Opening, Records, Rng
from train.data.adapters._dialogue import harmless, name_of, plain
from train.data.adapters._files import as_list, get, get_numbers, get_text, read_image, read_json, within
from train.data.adapters._video import read_video
from train.data.sample import BoolMask, Sample, Turn
from vitron.invocation import InvocationError, format_reply, parse_reply, strip_verb
from vitron.regions import to_mask
from vitron.types import Box, DrawnRegion, Grounding, Invocation, Module

_MEDIA = re.compile(r"[ \t]*<(?:image|video)>[ \t]*\n?")
_TAG = re.compile(r"<(/?)(module|instruction|region)>", re.IGNORECASE)
_LETTER = re.compile(r"(?<=<Module>)\s*([A-G])\s*(?=</Module>)")
# Letters of https://github.com/SkyworkAI/Vitron; D and G are text to video and image to video.
_LETTERS = {
    "A": Module.IMAGE_GENERATION,
    "B": Module.IMAGE_SEGMENTATION,
    "C": Module.IMAGE_EDITING,
    "D": Module.VIDEO_GENERATION,
    "E": Module.VIDEO_SEGMENTATION,
    "F": Module.VIDEO_EDITING,
    "G": Module.VIDEO_GENERATION,
}


class _Talk(NamedTuple):
    """A checked record. `drawn`: its boxes are marks of the user."""

    number: int
    images: tuple[str, ...]
    videos: tuple[str, ...]
    corners: tuple[tuple[float, ...], ...]
    drawn: bool
    turns: tuple[Turn, ...]
    instruction: str | None
    where: str


def _open(opening: Opening) -> Records[_Talk]:
    path = within(opening.root, f"{opening.split}.json", "split")
    records = as_list(read_json(opening, path, "conversations"), str(path))
    talks = [_talk(record, number, f"{path}: [{number}]") for number, record in enumerate(records)]
    return Records(opening, talks, partial(_sample, opening))


def _talk(record: object, number: int, where: str) -> _Talk:
    said = _said(record, where)
    images, videos = _paths(record, "image", where), _paths(record, "video", where)
    for tag, paths in (("<image>", images), ("<video>", videos)):
        count = sum(text.count(tag) for role, text in said if role == "human")
        if count != len(paths):
            raise ValueError(f"{where}: got {count} {tag} for {len(paths)} files, expected one each")
    corners = _corners(record, where)
    regions = sum(_words(text).count("<region>") for role, text in said if role == "human")
    if regions not in (0, len(corners)) or (corners and not images and not videos):
        raise ValueError(f"{where}: got {regions} <region> for {len(corners)} bbox, expected as many, and media")
    turns, invocations = [], []
    for role, text in said:
        if role == "human":
            turns.append(Turn(role="user", text=_request(text, bool(regions), where)))
            continue
        reply, invocation = _reply(text, where)
        turns.append(Turn(role="assistant", text=reply, invokes=invocation is not None))
        invocations += [invocation] if invocation else []
    if len(invocations) > 1:
        raise ValueError(f"{where}: got {len(invocations)} replies that invoke a specialist, expected at most one")
    instruction = invocations[0].instruction if invocations else None
    return _Talk(number, images, videos, corners, bool(regions), tuple(turns), instruction, where)


def _said(record: object, where: str) -> list[tuple[str, str]]:
    """Return who says what, beginning with the human and ending with the assistant."""
    turns = get(record, "conversations", list, where)
    said = [(get(turn, "from", str, where), get_text(turn, "value", where)) for turn in turns]
    while said and said[0][0] == "gpt":
        said = said[1:]
    roles = [role for role, _ in said]
    if not said or len(said) % 2 or roles != ["human", "gpt"] * (len(said) // 2):
        raise ValueError(f"{where}: got turns from {roles}, expected human and gpt in turn, gpt last")
    return said


def _paths(record: Any, key: str, where: str) -> tuple[str, ...]:
    given = record.get(key)
    paths = tuple(given) if isinstance(given, list) else () if given is None else (given,)
    if not all(isinstance(path, str) and path for path in paths):
        raise ValueError(f"{where}: got {key} = {given!r}, expected a path or a list of paths")
    return paths


def _corners(record: Any, where: str) -> tuple[tuple[float, ...], ...]:
    given = record.get("bbox")
    if given is None:
        return ()
    boxes = given if given and isinstance(given, list) and isinstance(given[0], list) else [given]
    return tuple(tuple(get_numbers({"bbox": box}, "bbox", 4, where)) for box in boxes)


def _request(text: str, regions: bool, where: str) -> str:
    """Return a human's turn with its media in front, and everything that is no placeholder made harmless."""
    media = "".join(f"{tag}\n" for tag in re.findall(r"<image>|<video>", text))
    rest = _words(text)
    pieces = rest.split("<region>") if regions else [rest]
    if not rest:
        raise ValueError(f"{where}: got a turn without words, expected a question or a request")
    return media + "<region>".join(harmless(piece) for piece in pieces)


def _words(text: str) -> str:
    """Return a human's turn without its media. The space left behind keeps words, and halves of tokens, apart."""
    return _MEDIA.sub(" ", text).strip()


def _reply(text: str, where: str) -> tuple[str, Invocation | None]:
    """Return an assistant's turn as the codec spells it, and its invocation."""
    tagged = _TAG.sub(lambda match: f"<{match[1]}{match[2].capitalize()}>", text)
    if not re.search("<Module>.*</Module>", tagged, re.DOTALL):
        return harmless(text), None
    try:
        parsed = parse_reply(_LETTER.sub(lambda match: _LETTERS[match[1]].value, tagged))
    except InvocationError as error:
        raise ValueError(f"{where}: {error}") from error
    if parsed.invocation is None:
        raise ValueError(f"{where}: got {text!r}, expected an invocation between its tags")
    invocation = Invocation(
        module=parsed.invocation.module,
        instruction=plain(parsed.invocation.instruction),
        regions=tuple(
            Grounding(box=region.box, label=name_of(region.label) if region.label else "", span=region.span)
            for region in parsed.invocation.regions
        ),
    )
    return format_reply(harmless(parsed.text), invocation), invocation


def _sample(opening: Opening, talk: _Talk, rng: Rng) -> Sample:
    images = tuple(read_image(opening, within(opening.root, path, talk.where)) for path in talk.images)
    videos = tuple(read_video(opening, within(opening.root, path, talk.where)) for path in talk.videos)
    target: dict[str, Any] = {"answer": talk.turns[-1].text}
    if videos:
        target["frame_numbers"] = tuple(frames.numbers for frames in videos)
    marks: tuple[tuple[int, BoolMask], ...] = ()
    if talk.corners:
        height, width = images[0].shape[:2] if images else videos[0].clip.shape[1:3]
        boxes: tuple[Box, ...] = tuple(corners_box(box, width, height, talk.where) for box in talk.corners)
        target["boxes"] = boxes
        if talk.drawn:
            marks = tuple((0, to_mask(DrawnRegion(kind="box", box=box), height, width)) for box in boxes)
            target |= {} if images else {"mark_frame": 0}
    return Sample(
        id=opening.id(talk.number),
        task="conversation",
        images=images,
        clips=tuple(frames.clip for frames in videos),
        marks=marks,
        turns=talk.turns,
        condition_text=None if talk.instruction is None else strip_verb(talk.instruction),
        target=target,
    )


DATA_SETS = {
    "llava": DataSet(
        tasks=("conversation",),
        splits=(),
        home="https://github.com/haotian-liu/LLaVA/blob/main/docs/Data.md",
        open=_open,
    )
}
