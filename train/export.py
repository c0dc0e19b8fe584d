"""Gather what the recipes trained into one folder of weights: what is served and shipped.

Run: python -m train.export --runs runs --out vitron/assets/tiny
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PARTS: dict[str, tuple[str, str, str]] = {
    "clip_vision": ("clip", "clip", "image."),
    "clip_text": ("clip", "clip", "text."),
    "language_model": ("language", "assistant", "language."),
    "region_encoder": ("language", "assistant", "region."),
    "gligen_projection": ("language", "target_gligen", "projection."),
    "seem_projection": ("language", "target_seem", "projection."),
}
"""Part -> (run, entry of its checkpoint, prefix of the names)."""
FILES: dict[str, str] = {
    "gligen_vae": "vae/vae.safetensors",
    "gligen_unet": "gligen/unet.safetensors",
    "seem": "seem/seem.safetensors",
}
"""Part -> the file its recipe writes."""


def read_part(run: Path, entry: str, prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part of a run's checkpoint, prefix removed.

    Raises:
        FileNotFoundError, ValueError: the run has no checkpoint, or the checkpoint no such part.
    """
    path = run / "last.pt"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run that recipe first")
    parts = torch.load(path, map_location="cpu", weights_only=True)["parts"]
    if entry not in parts:
        raise ValueError(f"{path}: has no part {entry!r}, expected one of {sorted(parts)}")
    return {k.removeprefix(prefix): v for k, v in parts[entry].items() if k.startswith(prefix)}


def write_part(folder: Path, name: str, state: Mapping[str, Tensor]) -> None:
    """Write tensors as `<name>.safetensors` in fp16; names that share memory once."""
    seen: set[int] = set()
    kept = {}
    for key, value in state.items():
        if value.numel() and value.data_ptr() in seen:
            continue
        seen.add(value.data_ptr())
        kept[key] = (value.half() if value.is_floating_point() else value).contiguous()
    save_file(kept, folder / f"{name}.safetensors")


def describe_run(run: Path) -> dict[str, Any]:
    """Return how far a run went: step, seconds, settings and its last validation."""
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    keep = ("steps", "batch", "lr", "muon_lr", "warmup", "ema")
    described = {
        "step": state.get("step", state.get("budget", {}).get("step")),
        "seconds": round(state.get("seconds", state.get("budget", {}).get("seconds", 0.0))),
        "settings": {k: v for k, v in state.get("config", {}).items() if k in keep},
        "last_log": {k: v for k, v in lines[-1].items() if k != "time"} if lines else {},
    }
    return {k: v for k, v in described.items() if v not in (None, {})}


def revision(folder: Path) -> str:
    """Return a short hash over all weights of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def export(runs: Path, out: Path) -> None:
    """Write every part there is a run for, and the manifest."""
    out.mkdir(parents=True, exist_ok=True)
    for part, (run, entry, prefix) in PARTS.items():
        if (runs / run / "last.pt").exists():
            write_part(out, part, read_part(runs / run, entry, prefix))
    for part, file in FILES.items():
        if (runs / file).exists():
            write_part(out, part, load_file(runs / file))
    made = {run.name: describe_run(run) for run in sorted(runs.iterdir()) if (run / "last.pt").exists()}
    manifest = {"revision": revision(out), "data": "shapes-1", "seed": 0, "runs": made}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("vitron/assets/tiny"))
    args = parser.parse_args()
    export(args.runs, args.out)


if __name__ == "__main__":
    main()
