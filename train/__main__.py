"""Train VITRON.

    python -m train list                                   recipes, in their order
    python -m train clip --name my-clip                    one recipe, in this process (or under torchrun)
    python -m train decoder --name d1 --workers 1:4        the same on Ray, elastic between 1 and 4 workers
    python -m train all --preset tiny --budget 0.02        the whole chain, two percent of its steps
    python -m train resize --name d1 --workers 2           give a run on Ray another number of workers
    python -m train stop --name d1                         stop a run on Ray, as Ctrl-C does where it was started
    python -m train average --start runs/b --also runs/a --out DIR   the mean of what runs ended with
    python -m train ship --start runs/synergy --out DIR    gather a chain of runs into one folder of weights

A run is the folder STORAGE/NAME: the same command again goes on from its newest checkpoint, in this process or on Ray.
It is a folder of weights as well: `python -m deployments serve --weights STORAGE/NAME` serves it, and
`--start STORAGE/NAME` trains on from it. Ctrl-C and SIGTERM end a run at the next step's boundary, after a checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from train.averaging import average
from train.recipe import NotForPreset
from train.recipes import CHAIN, find
from train.saver import open_run
from train.session import Run, train_here
from train.settings import Settings
from train.ship import ship
from train.stopping import Interrupted
from train.trackers import TRACKERS, check_trackers

INTERRUPTED = 130
"""Exit status after a second Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="python -m train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "recipe",
        metavar="RECIPE",
        help=f"list, all, resize, stop, average, ship, package.module:function, or one of: {', '.join(CHAIN)}",
    )
    made.add_argument("--preset", default="tiny", help="whose configuration to train (default: tiny)")
    made.add_argument("--name", help="name of the run (default: the recipe's)")
    made.add_argument("--storage", default="runs", help="folder or fsspec URL of all runs (default: runs)")
    made.add_argument("--start", help="weights to start from: a folder, or a run (default: the preset's own)")
    made.add_argument("--out", help="average, ship: the folder that is written")
    made.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="RUN",
        help="average: another run (twice: it counts twice); ship: a run beside the chain whose parts are taken",
    )
    made.add_argument("--eight-bits", default="", metavar="PARTS", help="ship: parts to store in 8 bits, with commas")
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
    except (ValueError, OSError, ModuleNotFoundError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("stopped at once; the same command goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    if args.recipe == "list":
        for name in CHAIN:
            print(f"{name:<18}{_described(name, args.preset)}")
        return 0
    if args.recipe in ("resize", "stop"):
        return _ask(args)
    if args.recipe in ("average", "ship"):
        return _average(args) if args.recipe == "average" else _ship(args)
    if args.recipe != "all":
        _train(args, args.recipe, args.name or args.recipe.replace(":", "."), args.start)
        return 0
    # Each recipe starts from what the one before it ended with.
    start = args.start
    for name in CHAIN:
        try:
            find(name, args.preset)
        except NotForPreset as reason:
            print(f"{name}: left out: {reason}")
            continue
        start = _train(args, name, f"{args.name}-{name}" if args.name else name, start)
    print(f"done: python -m deployments serve --weights {start}")
    return 0


def _described(name: str, preset: str) -> str:
    try:
        recipe = find(name, preset)
    except NotForPreset as reason:
        return f"{'no':>7} steps  {reason}"
    return f"{recipe.settings.steps:>7} steps  {recipe.about}"


def _train(args: argparse.Namespace, name: str, run: str, start: str | None) -> str:
    """Train one recipe to its end and return where its weights are."""
    settings = settings_of(name, args)
    trackers = tuple(dict.fromkeys([] if args.no_track else ["tensorboard", *args.track]))
    check_trackers(trackers)
    url = f"{args.storage.rstrip('/')}/{run}"
    if args.workers:
        from train import on_ray  # Ray is not needed to train in one process, and may not be there

        cluster = on_ray.Cluster(
            workers=workers_of(args.workers),
            storage=args.storage,
            resources={"GPU": args.gpus} if args.gpus else {"CPU": 1.0},
        )
        on_ray.fit(name, args.preset, start, settings, cluster, run, trackers=trackers)
        return url
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # two processes on two cores beat one on two (measured)
    train_here(Run(run, find(name, args.preset), settings, url, start, trackers))
    return url


def settings_of(name: str, args: argparse.Namespace) -> Settings:
    """Return a recipe's settings with the command line's changes."""
    pairs = [text.partition("=") for text in args.set]
    wrong = [field for field, equals, _ in pairs if not equals]
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


def _average(args: argparse.Namespace) -> int:
    if not args.start or not args.also or not args.out:
        raise ValueError("average: --start, --also and --out are needed")
    runs = [open_run(args.preset, run) for run in (args.start, *args.also)]
    average(runs, Path(args.out))
    print(f"{args.out}: the mean of {len(runs)} runs")
    return 0


def _ship(args: argparse.Namespace) -> int:
    if not args.start or not args.out:
        raise ValueError("ship: --start and --out are needed")
    eight_bits = [name for name in args.eight_bits.split(",") if name]
    also = [open_run(args.preset, run) for run in args.also]
    revision = ship(open_run(args.preset, args.start), Path(args.out), eight_bits, also)
    size = sum(path.stat().st_size for path in Path(args.out).rglob("*.safetensors"))
    print(f"{args.out}: revision {revision}, {size / 1e6:.1f} MB of weights")
    return 0


def _ask(args: argparse.Namespace) -> int:
    from train import ray_control

    if not args.name:
        raise ValueError(f"name: {args.recipe} needs the --name of a run")
    if args.recipe == "stop":
        ray_control.ask(args.name, ray_control.STOP)
        print(f"{args.name}: asked to stop at the next step's boundary")
        return 0
    if not args.workers:
        raise ValueError("workers: resize needs --workers")
    ray_control.ask(args.name, workers_of(args.workers))
    print(f"{args.name}: asked for {args.workers} worker(s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
