"""What docs/evaluation.md promises is there, and the package needs no more than numpy, scipy and torch."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "vitron" / "evaluation"
OTHERS = {"captions", "features", "table", "bootstrap", "caption_tokens", "generation"}
"""Modules that hold no published metric."""


def documented() -> set[tuple[str, str]]:
    """Every `module.function` of the document."""
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    modules = "|".join(path.stem for path in PACKAGE.glob("*.py"))
    return set(re.findall(rf"`({modules})\.(\w+)`", text))


def test_every_function_of_the_document_exists():
    found = documented()
    assert len(found) > 30
    for module, name in found:
        assert hasattr(importlib.import_module(f"vitron.evaluation.{module}"), name), f"{module}.{name}"


def test_every_file_with_a_published_metric_is_in_the_document():
    files = {path.stem for path in PACKAGE.glob("*.py")} - OTHERS - {"__init__"}
    assert files == {module for module, _ in documented()} - OTHERS


def test_scores_need_numpy_scipy_and_torch_only():
    allowed = {"numpy", "scipy", "torch", "vitron", *sys.stdlib_module_names}
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert {name.split(".")[0] for name in names} <= allowed, path.name
