"""How do these weights answer the requests that an earlier commit was measured on?

Requests and scoring change from commit to commit, so that two result files are not of the same requests. This takes
both from the earlier commit, in processes that import its code, and only the answers from here.

Run: PYTHONPATH=. python benchmarks/requests_of.py 2c3ca96 --out docs/results/requests_of_2c3ca96.json
     python -m train.compare <(git show 2c3ca96:docs/results/tiny.json) docs/results/requests_of_2c3ca96.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from train.evaluation.predict import Record, record
from vitron.evaluation.table import read_rows, write_rows
from vitron.model import Vitron
from vitron.types import DrawnRegion, Message
from vitron.weights import open_weights

BATCH = 16
DRAWING = ("segmentation", "image_generation")
"""Tasks whose invocations are carried out."""
DUMP = """
import pickle, sys
from dataclasses import fields
from train.evaluation.items import KINDS, SPLITS, conversation, items
from train.evaluation.predict import Record
found = {
    (task, split): [
        (i.key, i.kind, i.index,
         [(m.role, m.text, m.images, [(r.kind, r.mask, r.image) for r in m.regions]) for m in conversation(i.sample())])
        for i in items(task, split, int(sys.argv[1]))
    ]
    for task in KINDS for split in SPLITS
}
pickle.dump(([f.name for f in fields(Record)], found), open(sys.argv[2], "wb"))
"""
"""Runs in the earlier commit, as long as its samples hold pictures and masks alone."""


def earlier(tree: Path, *command: str) -> None:
    """Run Python with the code of the earlier commit."""
    env = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command], cwd=tree, env=env, check=True, stdout=subprocess.DEVNULL)


def messages(turns: list[Any]) -> list[Message]:
    return [
        Message(
            role=role,
            text=text,
            images=tuple(images),
            regions=tuple(DrawnRegion(kind=kind, mask=mask, image=image) for kind, mask, image in regions),
        )
        for role, text, images, regions in turns
    ]


def answer(vitron: Vitron, task: str, requests: list[Any], names: list[str], path: Path) -> None:
    """Write the answers in the earlier commit's form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, len(requests), BATCH):
            group = requests[first : first + BATCH]
            replies = vitron.reply_batch(
                [messages(turns) for *_, turns in group],
                seeds=[index for _, _, index, _ in group],
                carry_out=task in DRAWING,
            )
            for (key, kind, index, _), reply in zip(group, replies, strict=True):
                entry: Record = record(SimpleNamespace(key=key, kind=kind, index=index), reply)  # type: ignore[arg-type]
                file.write(json.dumps({name: value for name, value in asdict(entry).items() if name in names}) + "\n")
            print(f"{path.stem}: {first + len(group)} of {len(requests)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="whose requests and scores are taken")
    parser.add_argument("--out", type=Path, required=True, help="result rows")
    parser.add_argument("--samples", type=int, default=500, help="of each task and split (default: 500)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    weights = open_weights("tiny")
    vitron = Vitron.from_preset("tiny")
    with tempfile.TemporaryDirectory() as scratch:
        tree, predictions, results = (Path(scratch) / name for name in ("tree", "predictions", "results"))
        archive = subprocess.run(["git", "archive", args.commit], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(tree, filter="data")
        earlier(tree, "-c", DUMP, str(args.samples), f"{scratch}/requests")
        names, found = pickle.loads(Path(scratch, "requests").read_bytes())
        revision = json.loads((tree / "vitron/assets/tiny/manifest.json").read_text())["revision"]
        for (task, split), requests in found.items():
            answer(vitron, task, requests, names, predictions / "tiny" / revision / f"{task}-{split}-hybrid.jsonl")
        choice = ["--samples", str(args.samples), "--message", "hybrid", "--resume", "--limit", "0"]
        places = ["--predictions", str(predictions), "--results", str(results)]
        earlier(tree, "-m", "train.evaluate", *choice, *places)
        rows = read_rows(results / "tiny.json")
    # They were filed under the earlier weights, whose code knows no others.
    write_rows(args.out, [type(row)(**{**asdict(row), "weights": weights.revision}) for row in rows])


if __name__ == "__main__":
    main()
