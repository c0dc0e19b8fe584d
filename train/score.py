"""Score answers or captions in the official files: `python -m train.score captions|vqa ANNOTATIONS RESULTS`.

`captions` takes COCO's files (`annotations`: `image_id`, `caption`; results: a list of `image_id`, `caption`), `vqa`
those of VQA, OK-VQA and VizWiz (`annotations`: `question_id`, `answers`, each with `answer`; results: a list of
`question_id`, `answer`). Whatever model wrote the results, the protocols are those of docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from vitron.evaluation import reference_captions, vqa
from vitron.evaluation.meteor import meteor

Answers = Mapping[str, Sequence[str]]
"""By the id of a picture or question."""


def captions(said: Mapping[str, str], wanted: Answers, *, with_meteor: bool) -> dict[str, float]:
    """Return BLEU, ROUGE-L, CIDEr-D (in [0, 10]) and, if wanted, METEOR of captions."""
    mine, theirs = [said[key] for key in wanted], [list(wanted[key]) for key in wanted]
    found = {name: float(value) for name, value in reference_captions.bleu(mine, theirs)._asdict().items()}
    found["rouge_l"] = float(np.mean(reference_captions.rouge_l(mine, theirs)))
    found["cider_d"] = float(np.mean(reference_captions.cider_d(mine, theirs)))
    if with_meteor:
        found["meteor"] = meteor(mine, theirs).corpus
    return found


def answers(said: Mapping[str, str], wanted: Answers, *, rules: vqa.SoftRules) -> dict[str, float]:
    """Return the soft accuracy of answers."""
    mine, theirs = [said[key] for key in wanted], [wanted[key] for key in wanted]
    return {f"soft_accuracy[{rules}]": vqa.mean_soft_accuracy(mine, theirs, rules=rules)}


def read(task: str, annotations: Path, results: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Read what was said and what was wanted, by id.

    Raises:
        ValueError: a file is not of the official form, or says nothing of an id; it names both.
    """
    key, text = ("image_id", "caption") if task == "captions" else ("question_id", "answer")
    entries = _load(annotations)
    listed = entries.get("annotations") if isinstance(entries, dict) else None
    wanted: dict[str, list[str]] = defaultdict(list)
    for entry in _entries(annotations, listed, (key, text if task == "captions" else "answers")):
        wanted[str(entry[key])] += [entry[text]] if task == "captions" else _texts(annotations, entry["answers"], text)
    said = {str(entry[key]): str(entry[text]) for entry in _entries(results, _load(results), (key, text))}
    missing = [name for name in wanted if name not in said]
    if missing:
        raise ValueError(f"{results}: nothing for {key} {', '.join(missing[:3])} ({len(missing)} of {len(wanted)})")
    return said, dict(wanted)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: not found") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: is no JSON ({error})") from error


def _entries(path: Path, found: Any, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    right = isinstance(found, list) and all(isinstance(each, dict) and each.keys() >= set(keys) for each in found)
    if not right or not found:
        raise ValueError(f"{path}: expected a list of objects with {' and '.join(keys)}")
    return list(found)


def _texts(path: Path, given: Any, text: str) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(each, dict) and text in each for each in given):
        raise ValueError(f"{path}: got answers {given!r}, expected a list of objects with {text}")
    return [str(each[text]) for each in given]


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="python -m train.score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("task", choices=("captions", "vqa"))
    made.add_argument("annotations", type=Path, help="the data set's own file")
    made.add_argument("results", type=Path, help="what a model said of each of its pictures or questions")
    made.add_argument("--meteor", action="store_true", help="METEOR of captions too (Java, pycocoevalcap)")
    made.add_argument(
        "--rules", choices=get_args(vqa.SoftRules), default="vqa", help="copy of VQA's rules (docs/evaluation.md)"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Print the scores as JSON; return 2 if files cannot be scored."""
    args = parser().parse_args(argv)
    try:
        said, wanted = read(args.task, args.annotations, args.results)
        if args.task == "captions":
            found = captions(said, wanted, with_meteor=args.meteor)
        else:
            found = answers(said, wanted, rules=args.rules)
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"n": len(wanted), **{name: round(value, 4) for name, value in found.items()}}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
