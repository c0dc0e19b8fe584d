"""What weights do better and worse than others, by their results: `python -m train.compare OLD.json NEW.json`.

Exits with 1 if anything got worse beyond noise, so that it can guard a release.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vitron.evaluation.table import Row, is_bounded, less_is_better, read_rows

NOISE = 2.0
"""Standard errors that a change has to have to count."""


class Change(NamedTuple):
    """A metric that both results have.

    Attributes:
        old, new: its rows.
        gain: how much better the new value is; below 0: worse.
        errors: the gain in standard errors of the samples; None where nothing bounds them.
    """

    old: Row
    new: Row
    gain: float
    errors: float | None

    @property
    def name(self) -> str:
        """Say which metric of what."""
        return f"{self.new.task} {self.new.split} {self.new.message} {self.new.metric}"


def changes(old: Sequence[Row], new: Sequence[Row]) -> Iterator[Change]:
    """Yield the metrics that both have, each of its own weights' latest row."""
    before = {(row.task, row.split, row.message, row.metric): row for row in old}
    for row in new:
        if (was := before.get((row.task, row.split, row.message, row.metric))) is not None:
            gain = (was.value - row.value) if less_is_better(row.metric.partition("/")[0]) else row.value - was.value
            yield Change(was, row, gain, _errors(was, row, gain))


def _errors(old: Row, new: Row, gain: float) -> float | None:
    """Return a gain in standard errors of two independent samples.

    A mean of values in [0, 1] varies no more than a share does, so that this is exact for shares and too little for
    others: what counts as a change is one.
    """
    if not is_bounded(new.metric):
        return None
    pooled = (old.value * old.n + new.value * new.n) / (old.n + new.n)
    error = (pooled * (1 - pooled) * (1 / old.n + 1 / new.n)) ** 0.5
    return gain / error if error else 0.0


def lines(found: Sequence[Change]) -> Iterator[str]:
    """Yield a Markdown table, the worst change first."""
    yield "| metric | old | n | new | n | gain | standard errors |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for each in sorted(found, key=lambda c: (c.errors is None, c.errors or c.gain)):
        errors = "" if each.errors is None else f"{each.errors:+.1f}"
        yield (
            f"| {each.name} | {each.old.value:.3f} | {each.old.n} | {each.new.value:.3f} | {each.new.n} | "
            f"{each.gain:+.3f} | {errors} |"
        )


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m train.compare", description=__doc__)
    made.add_argument("old", type=Path, help="results of the evaluation, as docs/results/tiny.json")
    made.add_argument("new", type=Path, help="results of other weights")
    made.add_argument("--all", action="store_true", help="show everything, not only what got worse")
    made.add_argument(
        "--errors", type=float, default=NOISE, help=f"standard errors that count as a change (default: {NOISE:g})"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Compare two files; return 1 if anything got worse beyond noise, 2 if there is nothing to compare."""
    args = parser().parse_args(argv)
    for path in (args.old, args.new):
        if not path.exists():
            print(f"{path}: not found; python -m train.evaluate writes such a file", file=sys.stderr)
            return 2
    found = list(changes(read_rows(args.old), read_rows(args.new)))
    if not found:
        print(f"{args.old} and {args.new} have no metric in common", file=sys.stderr)
        return 2
    worse = [each for each in found if each.errors is not None and each.errors < -args.errors]
    print("\n".join(lines(found if args.all else [each for each in found if each.gain < 0])))
    print(f"{len(found)} metrics; better or equal: {sum(each.gain >= 0 for each in found)}; worse by more than "
          f"{args.errors:g} standard errors: {len(worse)}")  # fmt: skip
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
