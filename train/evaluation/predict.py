"""Predictions: the assistant's answers, one JSON object a line; an interrupted run goes on."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from train.evaluation.items import Item, conversation
from vitron.media import decode_image, encode_png
from vitron.regions import Rle, mask_to_rle, rle_to_mask
from vitron.types import BoolMask, Box, Image, Message, MessageMode, Reply, Track

Frames = npt.NDArray[np.uint8]
Option = float | int | str


class Assistant(Protocol):
    """What is evaluated; `vitron.model.Vitron` is one."""

    def reply_batch(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int] | None = None,
        message: MessageMode = "hybrid",
        options: Mapping[str, Option] | None = None,
        carry_out: bool = True,
    ) -> list[Reply]:
        """Answer several conversations."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One answer, with all that scoring needs.

    Attributes:
        key, kind, index: the sample (see `Item`).
        text, raw_text: the reply as shown and as written.
        module, instruction, regions: what it invokes; `module` is None for text alone.
        error: why the invocation or its specialist failed.
        masks, images: what the specialist made, as COCO run lengths and base64 PNG.
        clips: each a base64 PNG of its frames one below the other.
        tracks: each with the run lengths of its mask in every frame, None where it is not seen.
        frames: of each clip that was made.
    """

    key: str
    kind: str
    index: int
    text: str
    raw_text: str
    module: str | None
    instruction: str
    regions: tuple[Box, ...]
    error: str | None
    masks: tuple[Rle, ...]
    images: tuple[str, ...]
    clips: tuple[str, ...] = ()
    tracks: tuple[tuple[Rle | None, ...], ...] = ()
    frames: tuple[int, ...] = ()

    def decoded_masks(self) -> list[BoolMask]:
        """Return the masks as arrays."""
        return [rle_to_mask(rle) for rle in self.masks]

    def decoded_images(self) -> list[Image]:
        """Return the pictures as arrays."""
        return [decode_image(base64.b64decode(text)) for text in self.images]

    def decoded_clips(self) -> list[Frames]:
        """Return the clips as arrays, `uint8 [T, H, W, 3]` each."""
        stacked = [decode_image(base64.b64decode(text)) for text in self.clips]
        return [np.stack(np.split(each, count)) for each, count in zip(stacked, self.frames, strict=True)]

    def decoded_tracks(self, height: int, width: int) -> list[BoolMask]:
        """Return the masks of each track, bool `[T, height, width]`."""
        unseen = np.zeros((height, width), dtype=np.bool_)
        return [np.stack([rle_to_mask(rle) if rle else unseen for rle in track]) for track in self.tracks]


def record(item: Item, reply: Reply) -> Record:
    """Write down a reply."""
    invocation, output = reply.invocation, reply.output
    return Record(
        key=item.key,
        kind=item.kind,
        index=item.index,
        text=reply.text,
        raw_text=reply.raw_text,
        module=invocation.module.value if invocation else None,
        instruction=invocation.instruction if invocation else "",
        regions=tuple(g.box for g in invocation.regions) if invocation else (),
        error=reply.error,
        masks=tuple(mask_to_rle(d.mask) for d in output.detections) if output else (),
        images=tuple(_png(image) for image in output.images) if output else (),
        clips=tuple(_png(np.concatenate(clip.frames)) for clip in output.clips) if output else (),
        tracks=tuple(_run_lengths(track) for track in output.tracks) if output else (),
        frames=tuple(len(clip.frames) for clip in output.clips) if output else (),
    )


def _png(image: Image) -> str:
    return base64.b64encode(encode_png(image)).decode()


def _run_lengths(track: Track) -> tuple[Rle | None, ...]:
    return tuple(mask_to_rle(mask) if mask.any() else None for mask in track.masks)


def read_records(path: Path) -> dict[str, Record]:
    """Read the records of `path` by key; a last line cut short by an interruption is dropped."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")
    # Complete lines end in a line break, so what follows the last one is a line cut short.
    found = [_from_json(line) for line in lines[:-1]]
    return {entry.key: entry for entry in found}


def _from_json(line: str) -> Record:
    values = json.loads(line)
    values["regions"] = tuple(tuple(box) for box in values["regions"])
    for name in ("masks", "images", "clips", "frames"):
        values[name] = tuple(values.get(name, ()))
    values["tracks"] = tuple(tuple(track) for track in values.get("tracks", ()))
    return Record(**values)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write `records` to `path`, replacing it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(asdict(r))}\n" for r in records), encoding="utf-8")


def predict(
    assistant: Assistant,
    wanted: Sequence[Item],
    path: Path,
    *,
    message: MessageMode = "hybrid",
    batch: int = 16,
    options: Mapping[str, Option] | None = None,
    carry_out: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Record]:
    """Answer those of `wanted` that `path` does not hold yet, appending to it batch by batch.

    Args:
        assistant: answers.
        wanted: samples to answer.
        path: the predictions; answers in it are kept.
        message: what reaches the specialists.
        batch: conversations answered together.
        options: of the specialists.
        carry_out: whether specialists do what the answers invoke.
        report: takes a progress line after each batch.

    Returns:
        Every record of `path`, old and new, by key.
    """
    done = read_records(path)
    write_records(path, done.values())
    missing = [item for item in wanted if item.key not in done]
    start = time.monotonic()
    with path.open("a", encoding="utf-8") as file:
        for first in range(0, len(missing), batch):
            group = missing[first : first + batch]
            for entry in _answer(assistant, group, message, options, carry_out):
                done[entry.key] = entry
                file.write(f"{json.dumps(asdict(entry))}\n")
            file.flush()
            report(_progress(path.stem, first + len(group), len(missing), start))
    return done


def _answer(
    assistant: Assistant,
    group: Sequence[Item],
    message: MessageMode,
    options: Mapping[str, Option] | None,
    carry_out: bool,
) -> list[Record]:
    replies = assistant.reply_batch(
        [conversation(item.sample()) for item in group],
        seeds=[item.index for item in group],
        message=message,
        options=options,
        carry_out=carry_out,
    )
    return [record(item, reply) for item, reply in zip(group, replies, strict=True)]


def _progress(name: str, done: int, total: int, start: float) -> str:
    seconds = time.monotonic() - start
    left = seconds / done * (total - done)
    return f"{name} | {done}/{total} ({done / total:.0%}) | {done / seconds:.1f}/s | {seconds:.0f}s | eta {left:.0f}s"
