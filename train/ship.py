"""Gather a chain of runs into one complete folder of weights in fp16 or 8 bits: what is served and shipped.

Every checkpoint holds the parts that it trained and names the weights it started from. The newest version of each part
is taken, and the manifest lists how all of them were made, oldest first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from train.checkpoint import TRAINING
from vitron.weights import Weights, read_state

TRAINING_ONLY = frozenset({"clip_heads", "clip_text_heads", "discriminator", "patch_heads"})
"""Parts that only training uses."""
_ADAPTER = "adapter_model.safetensors"


def ship(weights: Weights, out: Path, eight_bits: Collection[str] = (), also: Sequence[Weights] = ()) -> str:
    """Write `out` and return its revision, a short hash over all weights.

    `out` may be what the chain began with; it is replaced when all is written. Parts named in `eight_bits` take half
    the space: for networks that make pictures, whose weights need no more. What runs named in `also` trained beside the
    chain is taken from them.

    Raises:
        ValueError: `weights` is no trained checkpoint, or its chain does not end in a complete folder of weights.
    """
    folders = chain(weights)
    for each in (weights, *also):
        if len(chain(each)) < 2:
            raise ValueError(f"start: got {each.folder}, expected a run or a checkpoint of one")
    beside = [link for each in also for link in chain(each)[:-1] if link.folder not in {f.folder for f in folders}]
    folders = [*beside, *folders]
    files = newest(folders)
    if unknown := sorted(set(eight_bits) - set(files)):
        raise ValueError(f"eight-bits: got {unknown}, expected some of {', '.join(sorted(files))}")
    if "tokenizer" not in files:
        raise ValueError(f"start: {folders[-1].folder}, where the chain begins, has no tokenizer")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        made = Weights(Path(scratch) / "weights")
        for name, path in sorted(files.items()):
            _copy(name, path, made, bits=8 if name in eight_bits else 16)
        manifest = _manifest(folders, revision(made.folder))
        (made.folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        if out.exists():
            out.rename(Path(scratch) / "before")
        made.folder.rename(out)
    return str(manifest["revision"])


def chain(weights: Weights) -> list[Weights]:
    """Return the folders that weights were trained through, newest first.

    Raises:
        ValueError: a folder that the chain names is not there.
    """
    folders = [weights]
    while (base := folders[-1].base) is not None and base.resolve() not in {w.folder.resolve() for w in folders}:
        if not base.is_dir():
            raise ValueError(f"base: {folders[-1].folder} was trained from {base}, which is not there")
        folders.append(Weights(base))
    return folders


def newest(folders: list[Weights]) -> dict[str, Path]:
    """Return the newest version of everything that is served, by name: parts, adapters and tokenizers."""
    files: dict[str, Path] = {}
    for weights in folders:
        for path in sorted(weights.folder.iterdir()):
            part = (path.is_dir() and path.name != TRAINING) or path.suffix == ".safetensors"
            if part and path.stem not in TRAINING_ONLY:
                files.setdefault(path.stem, path)
    return files


def revision(folder: Path) -> str:
    """Return a short hash over all weights of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _copy(name: str, path: Path, made: Weights, bits: int) -> None:
    if path.is_file():
        made.write(name, read_state(path), bits)
        return
    shutil.copytree(path, made.folder / name)
    if (path / _ADAPTER).exists():
        half = Weights(made.folder / name).write(Path(_ADAPTER).stem, load_file(path / _ADAPTER))
        assert half.name == _ADAPTER


def _manifest(folders: list[Weights], name: str) -> dict[str, Any]:
    """Describe the chain; what its beginning says of itself comes first."""
    first = folders[-1].manifest()
    earlier = list(first.get("chain", []))
    if not earlier and "runs" in first:
        earlier = [{"revision": first.get("revision"), "runs": first["runs"]}]
    made = [_link(weights.manifest()) for weights in reversed(folders[:-1])]
    # Runs that began with what has since been shipped with them are known already.
    earlier = [link for link in earlier if link not in made]
    return {"revision": name, "data": made[-1].get("data"), "seed": made[-1].get("seed"), "chain": [*earlier, *made]}


def _link(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what is worth keeping of a checkpoint's manifest: no path of the machine it was made on."""
    settings = manifest.get("settings", {})
    kept = ("recipe", "preset", "data", "step", "seconds", "workers", "metrics", "revision", "rates", "of")
    return {
        **{key: manifest[key] for key in kept if key in manifest},
        "seed": settings.get("seed"),
        "steps": settings.get("steps"),
        "settings": {key: value for key, value in settings.items() if key != "cache"},
    }
