"""Gather what the recipes trained into one folder of weights: what is served and shipped.

Run: python -m train.export --runs runs --out vitron/assets/tiny
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vitron.weights import Weights

PARTS: dict[str, tuple[str, str, str]] = {
    "clip_vision": ("clip", "clip", "image."),
    "clip_text": ("clip", "clip", "text."),
    "language_model": ("aligned", "assistant", "language."),
    "region_encoder": ("aligned", "assistant", "region."),
    "gligen_projection": ("aligned", "target_gligen", "projection."),
    "seem_projection": ("aligned", "target_seem", "projection."),
}
"""Part -> (run, entry of its checkpoint, prefix of the names)."""
FILES: dict[str, str] = {
    "gligen_vae": "vae/vae.safetensors",
    "gligen_unet": "gligen/unet.safetensors",
    "seem": "seem/seem.safetensors",
}
"""Part -> the file its recipe writes."""


def read_part(run: Path, entry: str, prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part of a run's checkpoint, averaged if the run keeps an average, prefix removed.

    Names that share memory come once. Empty when the checkpoint has no such part.
    """
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)
    average, found, seen = state["average"], {}, set()
    for name, value in state["parts"].get(entry, {}).items():
        if name.startswith(prefix) and not (value.numel() and value.data_ptr() in seen):
            found[name.removeprefix(prefix)] = average.get(f"{entry}.{name}", value)
            seen.add(value.data_ptr())
    return found


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
    weights = Weights(out)
    for part, (run, entry, prefix) in PARTS.items():
        if (runs / run / "last.pt").exists() and (state := read_part(runs / run, entry, prefix)):
            weights.write(part, state)
    for part, file in FILES.items():
        if (runs / file).exists():
            weights.write(part, load_file(runs / file))
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
