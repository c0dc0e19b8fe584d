"""The paper's analyses by one command: rows, tables and plots.

    python -m train.ablations --start runs/grounded-qa         all studies, from a run's weights
    python -m train.ablations --study synergy --seeds 0,1,2    one of them, three times
    python -m train.ablations --budget 0.1 --n 50              a smoke run
    python -m train.ablations --draw                           tables and plots from the rows that are there

Each variant is a short training run in this process, or no training at all. What is done is not done again: rows are
written to OUT/ablations.json after every variant, a run that was stopped goes on from its checkpoint, and rows of a
study that were made from other weights, with another --n or another --budget are replaced.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import cast

import torch

from train.ablations import frames, grounding, message, pairs, steps, synergy
from train.ablations.page import write_page
from train.ablations.rows import Book
from train.ablations.study import Options, Study, carry_out
from train.evaluation.items import SPECIALIST_TASKS
from train.saver import open_run
from train.stopping import Interrupted

INTERRUPTED = 130
"""Exit status after Ctrl-C between training runs."""
STUDIES: dict[str, Study] = {
    module.NAME: cast(Study, module) for module in (message, grounding, synergy, pairs, frames, steps)
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="python -m train.ablations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="studies:\n" + "\n".join(f"  {name:<11}{study.ABOUT}" for name, study in STUDIES.items()),
    )
    add = made.add_argument
    add("--study", default=",".join(STUDIES), help=f"some of {','.join(STUDIES)}, in that order (default: all)")
    add("--start", help="weights that every variant starts from: a folder or a run that has ended (default: embedded)")
    add("--budget", type=float, default=1.0, help="factor on training steps (default: 1)")
    add("--seeds", default="0", help="one repetition for each, as 0,1,2 (default: 0)")
    add("--n", type=int, default=200, help="held-out samples of each task (default: 200)")
    add(
        "--served", type=int, default=40, help="synergy: requests of each task carried out by specialists (default: 40)"
    )
    add("--tasks", default="", help=f"those carried out, of {','.join(SPECIALIST_TASKS)} (default: all that can be)")
    add(
        "--out",
        type=Path,
        default=Path("docs/results"),
        help="folder of rows, tables and plots (default: docs/results)",
    )
    add("--work", type=Path, default=Path("runs/ablations"), help="folder of unfinished runs (default: runs/ablations)")
    add("--predictions", type=Path, default=Path("runs/evaluation"), help="answers on file (default: runs/evaluation)")
    add("--draw", action="store_true", help="only draw tables and plots")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("stopped; the same command goes on after the last variant that is written", file=sys.stderr)
        return INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    book = Book(args.out)
    if args.draw:
        write_page(args.out)
        return 0
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    studies = chosen(args.study)
    options = Options(
        start=open_run("tiny", args.start),
        budget=args.budget,
        seeds=numbers(args.seeds),
        n=args.n,
        served=args.served,
        tasks=tuple(task for task in args.tasks.split(",") if task),
        work=args.work,
        predictions=args.predictions,
    )
    for study in studies:
        carry_out(study, options, book, say, lambda: write_page(args.out))
    say(f"done: {args.out / 'ablations.md'}")
    return 0


def chosen(text: str) -> list[Study]:
    """Read names of studies, with commas."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in STUDIES]
    if unknown:
        raise ValueError(f"study: got {unknown[0]!r}, expected some of {','.join(STUDIES)}")
    return [STUDIES[name] for name in names]


def numbers(text: str) -> tuple[int, ...]:
    """Read seeds, with commas."""
    parts = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(part.isdigit() for part in parts):
        raise ValueError(f"seeds: got {text!r}, expected whole numbers with commas, as 0,1,2")
    return tuple(int(part) for part in parts)


def say(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
