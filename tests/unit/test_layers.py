"""The rules of who may import whom, as a test (docs/structure.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "vitron": {"ray", "fastapi", "starlette", "pydantic", "deployments", "train"},
    "deployments": {"train"},
    "train": {"deployments", "fastapi"},
}
# A file of `vitron` may import files of its own layer and of the layers before it.
LAYERS = [
    {"types", "media", "video", "previews", "requests", "frames", "tokens", "config", "engine_thread"},
    {"prompt", "invocation", "clip_plan", "regions", "presets", "weights", "losses"},
    {"encoders", "llm", "diffusion", "specialists"},
    {"language", "routing", "guide"},
    {"model"},
    {"evaluation"},
]


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_import_only_what_their_layer_allows(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, package
    found = {(str(path.relative_to(ROOT)), name) for path in files for name in imports(path)}
    bad = {(path, name) for path, name in found if name.split(".")[0] in FORBIDDEN[package]}
    assert not bad


def layer(part: str) -> int:
    """Return the layer of a top-level part of `vitron`."""
    found = [index for index, parts in enumerate(LAYERS) if part in parts]
    assert len(found) == 1, f"vitron/{part} is in no layer of this test"
    return found[0]


def test_vitron_imports_flow_one_way() -> None:
    bad = []
    for path in sorted((ROOT / "vitron").rglob("*.py")):
        part = path.relative_to(ROOT / "vitron").parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "vitron" and len(parts) > 1 and layer(parts[1]) > layer(part):
                bad.append((str(path.relative_to(ROOT)), name))
    assert not bad


def test_ray_is_imported_in_two_packages_only() -> None:
    allowed = ("deployments", "train", "tests", "benchmarks", ".venv")
    files = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in allowed]
    assert not [path for path in files for name in imports(path) if name.split(".")[0] == "ray"]
