"""Every command of the documentation is one that the real command lines take, and docs/training.md is up to date."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from deployments.__main__ import parser as deployments_parser
from train.__main__ import CHAIN, settings_of, workers_of
from train.__main__ import parser as train_parser
from train.ablations.__main__ import chosen
from train.ablations.__main__ import numbers as seeds_of
from train.ablations.__main__ import parser as ablations_parser
from train.compare import parser as compare_parser
from train.data.check import parser as check_parser
from train.data.sources import data_set
from train.evaluation.options import parse as parse_evaluation
from train.on_ray import check_workers
from train.recipe import NotForPreset
from train.recipes import find
from train.recipes.language_data import _entry
from train.recipes.tokenizers import parser as tokenizers_parser
from train.score import parser as score_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TRAINING = ROOT / "docs/training.md"
ELSEWHERE = (
    "make",
    "python -m train.ablations",
    "python -m train.compare",
    "python -m train.recipes.tokenizers",
    "python -m train.score",
)
"""What other pages tell of."""
FOREIGN = (
    *("python3 -m venv", ".venv/bin/pip", "pip install", ". .venv", "hf download", "tensorboard", "export "),
    *("git show", "python benchmarks/"),
)
"""Beginnings of commands that are not ours, for people to judge."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """Every command as words, without comments and variables in front."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]
            if words:
                yield words


def check_train(words: list[str]) -> None:
    args = train_parser().parse_args(words)
    if args.workers:
        workers_of(args.workers)
    if args.recipe not in CHAIN:
        assert args.recipe in ("list", "all", "resize", "stop", "average", "ship")
        return
    try:
        settings = settings_of(args.recipe, args)
    except NotForPreset as error:
        raise AssertionError(words) from error
    if args.workers:
        check_workers(settings, workers_of(args.workers))
    for part in settings.data.split(",") if settings.data else ():
        entry = _entry(part)
        offered = data_set(entry.name).tasks if entry.root else (entry.task,)
        assert entry.task is None or entry.task in offered, part
        if entry.root and (splits := data_set(entry.name).splits):
            assert "train" in splits, part


def check_torchrun(words: list[str]) -> None:
    args = get_args_parser().parse_args(words)
    assert args.module and args.training_script == "train", words
    check_train(args.training_script_args)
    recipe, *rest = args.training_script_args
    settings = settings_of(recipe, train_parser().parse_args([recipe, *rest]))
    settings.check_workers(int(args.nproc_per_node))


def check_data(words: list[str]) -> None:
    args = check_parser().parse_args(words)
    if args.name != "list":
        offered = data_set(args.name)
        assert args.split is None or not offered.splits or args.split in offered.splits
        assert args.task is None or args.task in offered.tasks


def check_job(words: list[str]) -> None:
    inner = words[words.index("--") + 1 :]
    assert inner[:3] == ["python", "-m", "train"]
    check_train(inner[3:])


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert next(word for word in words if "=" not in word) in targets


def check_ablations(words: list[str]) -> None:
    args = ablations_parser().parse_args(words)
    chosen(args.study)
    seeds_of(args.seeds)


OURS: dict[str, Callable[[list[str]], object]] = {
    "python -m train": check_train,
    "python -m train.data.check": check_data,
    "python -m train.evaluate": parse_evaluation,
    "python -m train.score": score_parser().parse_args,
    "python -m train.compare": compare_parser().parse_args,
    "python -m train.ablations": check_ablations,
    "python -m train.recipes.tokenizers": tokenizers_parser().parse_args,
    "python -m deployments": deployments_parser().parse_args,
    "torchrun": check_torchrun,
    "ray job submit": check_job,
    "make": check_make,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_parses(page: Path) -> None:
    for words in commands(page):
        line = shlex.join(words)
        # The longest beginning in whole words: "python -m train" is not that of "python -m train.evaluate".
        begins = [name for name in OURS if words[: len(name.split())] == name.split()]
        if begins:
            name = max(begins, key=len)
            try:
                OURS[name](words[len(name.split()) :])
            except SystemExit as error:
                raise AssertionError(f"{page.name}: {line}") from error
        else:
            assert line.startswith(FOREIGN), line


def test_the_page_on_training_has_commands_of_every_kind() -> None:
    lines = [shlex.join(words) for words in commands(TRAINING)]
    assert len(lines) > 30
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in OURS if name not in ELSEWHERE)


def test_the_python_of_the_page_on_training_imports_what_is_there() -> None:
    (block,) = blocks(TRAINING, "python")
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names), node.module


def test_the_numbers_of_the_seven_steps_are_those_of_the_recipes() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| [\d.]+ \| (\d+) \| (\d+) \| (\d+) \| ([\de.-]+) \|", TRAINING.read_text(), re.MULTILINE
    )
    assert [name for name, *_ in rows] == [name for name in CHAIN if name in {row[0] for row in rows}]
    assert len(rows) == 7
    for name, *numbers in rows:
        settings = find(name, "vitron-7b").settings
        found = (settings.steps, settings.batch, settings.micro_batch, settings.lr)
        assert tuple(float(number) for number in numbers) == found, name


def texts() -> list[str]:
    """Every text of the program; those that are written over several lines as one."""
    found = []
    for path in (*ROOT.glob("train/**/*.py"), *ROOT.glob("vitron/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(str(part) for part in parts))
    return found


def test_every_message_of_the_table_is_one_of_the_program() -> None:
    table = TRAINING.read_text().split("## When something is wrong")[1]
    messages = re.findall(r"^\| `([^`]*…[^`]*)` \|", table, re.MULTILINE)
    program = texts()
    assert len(messages) > 20
    for message in messages:
        # A value in quotes is a field of the text; so is what follows the last "…".
        pieces = [re.escape(piece) for piece in re.sub(r"'[^'…]*'", "…", message).split("…")]
        wanted = re.compile(".*".join(pieces))
        assert any(wanted.search(text) for text in program), message
