"""Average what several runs ended with, tensor by tensor ("model soups", Wortsman et al. 2022, arXiv:2203.05482).

Runs that went on from one another, on other mixtures of the same tasks, unlearn different things; their mean can be
better than each. Runs that began from different weights have no mean that means anything.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from train.checkpoint import TRAINING
from vitron.weights import Weights, read_state


def average(runs: Sequence[Weights], out: Path) -> None:
    """Write the mean of the parts that `runs` trained as a checkpoint that begins where the first one ended.

    Args:
        runs: checkpoints of the same parts, at least two; one that stands there twice counts twice. What they did not
            train is found where the first finds it.
        out: the folder that is written, which must not exist.

    Raises:
        ValueError: runs that do not fit, named; adapters, whose product has no such mean.
        FileExistsError: `out` is there.
    """
    if len(runs) < 2:
        raise ValueError(f"also: got {len(runs)} run in all, expected at least two")
    parts = [_parts(run) for run in runs]
    for run, names in zip(runs, parts, strict=True):
        if names != parts[0]:
            raise ValueError(f"also: {run.folder} trained {sorted(names)}, expected {sorted(parts[0])} as the first")
    if out.exists():
        raise FileExistsError(f"out: {out} is there already")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        made = Path(scratch) / "weights"
        made.mkdir()
        for name in sorted(parts[0]):
            save_file(_mean([run.folder / f"{name}.safetensors" for run in runs]), made / f"{name}.safetensors")
        manifest = json.dumps(_manifest(runs), indent=1)
        (made / "manifest.json").write_text(f"{manifest}\n")
        made.rename(out)


def _parts(run: Weights) -> set[str]:
    """Names of the parts that a checkpoint holds."""
    found = [path for path in run.folder.iterdir() if path.suffix == ".safetensors"]
    if adapters := [path.name for path in run.folder.iterdir() if path.is_dir() and path.name != TRAINING]:
        raise ValueError(f"start: {run.folder} holds {sorted(adapters)}; adapters can't be averaged")
    if not found:
        raise ValueError(f"start: {run.folder} holds no weights")
    return {path.stem for path in found}


def _mean(files: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of files with the same tensors; what is no float must be the same in all."""
    states = [read_state(file) for file in files]
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    for file, found in zip(files, shapes, strict=True):
        if found != shapes[0]:
            raise ValueError(f"also: {file} has other tensors or shapes than {files[0]}")
    return {name: _mean_of([state[name] for state in states], name) for name in states[0]}


def _mean_of(values: Sequence[Tensor], name: str) -> Tensor:
    if not values[0].is_floating_point():
        if any(not value.equal(values[0]) for value in values):
            raise ValueError(f"also: {name} is no float and differs between the runs")
        return values[0]
    # In float64, so that the mean of equal weights is these weights.
    return torch.stack([value.double() for value in values]).mean(0).float()


def _manifest(runs: Sequence[Weights]) -> dict[str, object]:
    """Say what was averaged, and where all that is not here comes from."""
    first = runs[0].manifest()
    of = [run.revision for run in runs]
    kept: dict[str, object] = {key: first[key] for key in ("preset", "data", "rates") if key in first}
    return {
        "base": str(runs[0].folder),
        "recipe": "average",
        **kept,
        "of": of,
        "revision": "average-of-" + "-".join(dict.fromkeys(of)),
    }
