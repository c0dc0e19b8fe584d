"""Train VITRON.

    python -m train list                                   recipes, in their order
    python -m train clip --name my-clip                    one recipe, in this process (or under torchrun)
    python -m train decoder --name d1 --workers 1:4        the same on Ray, elastic between 1 and 4 workers
    python -m train all --preset tiny --budget 0.02        the whole chain, two percent of its steps
    python -m train resize --name d1 --workers 2           ask a run on Ray for another number of workers

A run is the folder STORAGE/NAME: the same command again goes on from its newest checkpoint. It is a folder of weights
as well: `python -m deployments serve --weights STORAGE/NAME` serves it, and `--start STORAGE/NAME` trains on from it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from train.progress import TRACKERS
from train.recipes import CHAIN, find
from train.settings import Settings
from train.trainer import train_here
from vitron.weights import Weights, open_weights


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="python -m train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "recipe",
        metavar="RECIPE",
        help=f"list, all, resize, package.module:function, or one of: {', '.join(CHAIN)}",
    )
    made.add_argument("--preset", default="tiny", help="whose configuration to train (default: tiny)")
    made.add_argument("--name", help="name of the run (default: the recipe's)")
    made.add_argument("--storage", default="runs", help="folder or fsspec URL of all runs (default: runs)")
    made.add_argument("--start", help="weights to start from: a folder, or a run (default: the preset's own)")
    made.add_argument("--workers", help="on Ray: a number or MIN:MAX (default: this process, without Ray)")
    made.add_argument("--gpus", type=float, default=0.0, help="GPUs of a Ray worker (default: 0, one CPU)")
    made.add_argument("--budget", type=float, default=1.0, help="factor on the number of steps (default: 1)")
    made.add_argument("--track", action="append", default=[], help=f"trackers beside the log: {', '.join(TRACKERS)}")
    made.add_argument("--no-track", action="store_true", help="no TensorBoard files either")
    made.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a number of train/settings.py, as lr=1e-4"
    )
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except (ValueError, FileNotFoundError, ModuleNotFoundError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    if args.recipe == "list":
        for name in CHAIN:
            recipe = find(name, args.preset)
            print(f"{name:<18}{recipe.settings.steps:>7} steps  {recipe.about}")
        return 0
    if args.recipe == "resize":
        return _resize(args)
    start = open_weights(args.preset, args.start)
    if args.recipe != "all":
        _train(args, args.recipe, args.name or args.recipe, start)
        return 0
    # Each recipe starts from what the one before it ended with.
    for name in CHAIN:
        start = _train(args, name, f"{args.name}-{name}" if args.name else name, start)
    print(f"done: python -m deployments serve --weights {start.folder}")
    return 0


def _train(args: argparse.Namespace, name: str, run: str, start: Weights) -> Weights:
    """Train one recipe to its end and return its weights."""
    settings = settings_of(name, args)
    trackers = tuple(dict.fromkeys([] if args.no_track else ["tensorboard", *args.track]))
    if args.workers:
        from train import on_ray  # Ray is not needed to train in one process, and may not be there

        cluster = on_ray.Cluster(
            workers=workers_of(args.workers),
            storage=args.storage,
            resources={"GPU": args.gpus} if args.gpus else {"CPU": 1.0},
        )
        on_ray.fit(name, args.preset, start, settings, cluster, run, trackers=trackers)
    else:
        if not torch.cuda.is_available():
            torch.set_num_threads(1)  # two processes on two cores beat one on two (measured)
        recipe = find(name, args.preset)
        train_here(recipe, start, settings, f"{args.storage.rstrip('/')}/{run}", trackers=trackers)
    return open_weights(args.preset, Path(args.storage) / run)


def settings_of(name: str, args: argparse.Namespace) -> Settings:
    """Return a recipe's settings with the command line's changes."""
    pairs = [text.partition("=") for text in args.set]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise ValueError(f"set: got {wrong[0]!r}, expected FIELD=VALUE")
    changes = {field: value for field, _, value in pairs}
    return find(name, args.preset).settings.scaled(args.budget).changed(changes)


def workers_of(text: str) -> int | tuple[int, int]:
    """Read a number of workers, or a range "MIN:MAX"."""
    low, colon, high = text.partition(":")
    if not low.isdigit() or (colon and not high.isdigit()) or int(low) < 1 or (colon and int(high) < int(low)):
        raise ValueError(f"workers: got {text!r}, expected a number of at least 1, or MIN:MAX")
    return (int(low), int(high)) if colon else int(low)


def _resize(args: argparse.Namespace) -> int:
    from train import on_ray

    if not args.name or not args.workers:
        raise ValueError("resize: --name and --workers are needed")
    wanted = workers_of(args.workers)
    on_ray.resize(args.name, wanted if isinstance(wanted, int) else None)
    print(f"{args.name}: asked for {args.workers} workers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
