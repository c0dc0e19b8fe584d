"""The command line of the evaluation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from train.evaluation.extractors import KINDS as EXTRACTORS
from train.evaluation.items import KINDS, SPLITS, WRITTEN_TASKS
from vitron.types import MessageMode

TASKS = (*KINDS, *WRITTEN_TASKS)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run; see the command line's help."""

    samples: int | None
    messages: tuple[MessageMode, ...]
    tasks: tuple[str, ...]
    splits: tuple[str, ...]
    seed: int
    batch: int
    limit: int | None
    resume: bool
    weights: Path | None
    predictions: Path
    results: Path
    extractors: tuple[str, ...] = ()


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m train.evaluate", description="Evaluate the assistant.")
    names = ",".join(TASKS)
    add = made.add_argument
    add("--samples", type=int, help="samples of each task and split (default: 240 to 500, by what they take)")
    add("--message", default="hybrid", help="what reaches specialists: hybrid,text,signal")
    add("--tasks", default=names, help=f"some of {names}")
    add("--splits", default=",".join(SPLITS), help="test,compositional (or val)")
    add("--seed", type=int, default=0)
    add("--batch", type=int, default=16, help="conversations answered together")
    add("--limit", type=int, help="answer at most so many samples in this run")
    add("--resume", action="store_true", help="keep the answers that are there")
    add("--weights", type=Path, help="folder of weights (default: the embedded ones)")
    add("--predictions", type=Path, default=Path("runs/evaluation"))
    add("--results", type=Path, default=Path("docs/results"))
    add(
        "--extractor",
        action="append",
        default=[],
        metavar="KIND=module:function[@ARGUMENT]",
        help=f"network for FID, FVD, CLIP scores (docs/evaluation.md); kinds: {', '.join(EXTRACTORS)}",
    )
    return made


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    given = parser().parse_args(arguments)
    messages = _choices("message", given.message, get_args(MessageMode))
    return Options(
        samples=given.samples,
        messages=cast("tuple[MessageMode, ...]", messages),
        tasks=_choices("tasks", given.tasks, TASKS),
        splits=_choices("splits", given.splits, (*SPLITS, "val")),
        seed=given.seed,
        batch=given.batch,
        limit=given.limit,
        resume=given.resume,
        weights=given.weights,
        predictions=given.predictions,
        results=given.results,
        extractors=tuple(given.extractor),
    )


def _choices(name: str, text: str, allowed: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [value for value in chosen if value not in allowed]
    if unknown or not chosen:
        raise SystemExit(f"--{name}: got {text!r}, expected some of {','.join(allowed)}")
    return chosen
