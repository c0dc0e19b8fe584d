"""Look at a data set before a long run reads it.

    python -m train.data.check list
    python -m train.data.check refcoco --root data/refer/data --split val --task rec --limit 50

Opens the data set, says how many samples it has and what is left out, reads some of them spread evenly over it, checks
that each is consistent, and prints the first as text. The first error is printed with its file; the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from train.data.sample import Sample
from train.data.sources import MODULES, Source, data_set, open_source
from vitron.invocation import parse_reply
from vitron.types import check_box

_WRONG = (ValueError, OSError)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="python -m train.data.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("name", metavar="NAME", help="list, or the name of a data set")
    made.add_argument("--root", type=Path, help="its folder (docs/data.md says what is expected there)")
    made.add_argument("--split", help="which part of it (default: its first)")
    made.add_argument("--task", help="what is asked about its media (default: its first)")
    made.add_argument("--limit", type=int, default=8, metavar="N", help="samples to read, 0 for all (default: 8)")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0 if all is well, 1 for an error in the data, 2 for one in the command."""
    options = parser()
    args = options.parse_args(argv)
    if args.name == "list":
        for name in MODULES:
            offered = data_set(name)
            print(f"{name:<20}{', '.join(offered.splits) or '<file>.json':<28}{', '.join(offered.tasks)}")
        return 0
    if args.root is None or args.limit < 0:
        options.error("--root DIR is needed, and --limit must be 0 or more")
    try:
        _check(args)
    except _WRONG as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _check(args: argparse.Namespace) -> None:
    offered = data_set(args.name)
    split = args.split or next(iter(offered.splits), "train")
    source = open_source(args.name, args.root, split, task=args.task)
    print(f"{args.name}, split {split}, task {args.task or offered.tasks[0]}: {len(source)} samples")
    for what, count in source.left_out.items():
        print(f"left out: {count} {what}")
    chosen = _spread(len(source), args.limit)
    for place, index in enumerate(chosen):
        sample = _read(source, index)
        if place == 0:
            print(describe(sample))
    print(f"read {len(chosen)} samples without an error")


def _spread(count: int, limit: int) -> list[int]:
    """Return `limit` numbers spread evenly over `count`, the first and the last among them; all for 0."""
    if limit == 0 or limit >= count:
        return list(range(count))
    return [round(place) for place in np.linspace(0, count - 1, limit).tolist()]


def _read(source: Source, index: int) -> Sample:
    try:
        sample = source[index]
        check(sample)
    except _WRONG as error:
        raise ValueError(f"sample {index}: {error}") from error
    return sample


def check(sample: Sample) -> None:
    """Check that turns, media and marks of a sample fit together.

    Raises:
        ValueError: roles out of order, placeholders that do not match media and marks, an invocation that cannot be
            parsed or is not announced, a mark that is empty or of another size than its picture, or a box outside.
    """
    roles = [turn.role for turn in sample.turns]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise ValueError(f"{sample.id}: got turns of {roles}, expected user and assistant in turn, user first")
    asked = "".join(turn.text for turn in sample.turns if turn.role == "user")
    parts = {"<image>": sample.images, "<video>": sample.clips, "<region>": sample.marks}
    for tag, given in parts.items():
        if asked.count(tag) != len(given):
            raise ValueError(f"{sample.id}: got {asked.count(tag)} {tag}, expected {len(given)}")
    for turn in sample.turns:
        if turn.role == "assistant" and (parse_reply(turn.text).invocation is not None) != turn.invokes:
            raise ValueError(f"{sample.id}: got invokes = {turn.invokes} for {turn.text!r}")
    if any(turn.invokes for turn in sample.turns) != (sample.condition_text is not None):
        raise ValueError(f"{sample.id}: got condition_text = {sample.condition_text!r}, expected it with an invocation")
    sizes = [image.shape[:2] for image in sample.images] or [clip.shape[1:3] for clip in sample.clips]
    for index, mask in sample.marks:
        if mask.shape != sizes[index] or not mask.any():
            raise ValueError(f"{sample.id}: got a mark of {mask.shape} pixels, expected {sizes[index]}, not empty")
    for box in sample.target.get("boxes", ()):
        check_box(box)


def describe(sample: Sample) -> str:
    """Return a sample as text: its media by size, its turns, and its target in short."""
    lines = [f"id: {sample.id}", f"task: {sample.task}"]
    lines += [f"image {number}: {image.shape[1]} x {image.shape[0]}" for number, image in enumerate(sample.images)]
    for number, clip in enumerate(sample.clips):
        lines.append(f"clip {number}: {len(clip)} frames of {clip.shape[2]} x {clip.shape[1]}")
    for index, mask in sample.marks:
        lines.append(f"mark on {index}: {int(mask.sum())} pixels")
    lines += [f"{turn.role}: {turn.text}" for turn in sample.turns]
    if sample.condition_text is not None:
        lines.append(f"signal conveys: {sample.condition_text}")
    lines += [f"target {key}: {_short(value)}" for key, value in sample.target.items()]
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value.tolist()) if value.ndim == 1 else f"{value.dtype} {list(value.shape)}"
    if isinstance(value, tuple) and any(isinstance(part, np.ndarray) for part in value):
        return ", ".join(_short(part) for part in value)
    return repr(value)


if __name__ == "__main__":
    sys.exit(main())
