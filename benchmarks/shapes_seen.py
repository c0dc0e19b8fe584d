"""How well a vision tower tells shapes apart: `python -m benchmarks.shapes_seen WEIGHTS...`.

A small network names an object's shape from the tower's features under a user's mark, pooled as the region encoder
pools them. It is trained on training scenes and asked on held-out ones, twice: as it is, and with shapes left out of
its loss that training never shows in the object's colour. Writes `benchmarks/shapes_seen.json`. About a minute for
each folder of weights, such as `vitron/assets/tiny`, or that folder of an earlier commit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.data.shapes import exchanges
from train.data.shapes.scene import COLORS, SHAPES, scene_at, scene_rng
from train.recipes.clip_patches import never_seen
from vitron.encoders.image import ImageEncoder, load_image_encoder
from vitron.encoders.region import RegionEncoder, make_region_encoder
from vitron.presets import preset
from vitron.weights import open_weights

SCENES = {"train": 4000, "test": 600, "compositional": 400}
SEED, STREAM, CHUNK = 77, 9, 64
EPOCHS, BATCH, LR = 15, 256, 3e-3
OUT = Path(__file__).with_suffix(".json")


class Seen(NamedTuple):
    """Pooled features `[N, D]` of N objects, and their shapes and colours by number `[N]`."""

    features: Tensor
    shapes: Tensor
    colors: Tensor


def look(image: ImageEncoder, region: RegionEncoder, split: str) -> Seen:
    """Mark every object of a split's scenes and pool what the tower sees there."""
    features, shapes, colors = [], [], []
    for first in range(0, SCENES[split], CHUNK):
        numbers = range(first, min(first + CHUNK, SCENES[split]))
        pictures = [exchanges.picture(scene_at(split, number, SEED)) for number in numbers]
        for number, picture, patches in zip(numbers, pictures, image.encode([p.image for p in pictures]), strict=True):
            rng = scene_rng(split, number, SEED, STREAM)
            for index, thing in enumerate(picture.scene.objects):
                weights, _ = region.prepare([exchanges.mark(picture, index, rng)])
                features.append(weights[0] @ patches.clone())  # no inference tensor: it is learned from
                shapes.append(SHAPES.index(thing.shape))
                colors.append(list(COLORS).index(thing.color))
    return Seen(torch.stack(features), torch.tensor(shapes), torch.tensor(colors))


def fit(seen: Seen, *, all_compete: bool) -> nn.Module:
    """Train the small network."""
    torch.manual_seed(0)
    width, count = seen.features.shape[1], len(seen.features)
    network = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(SHAPES)))
    optimizer = torch.optim.AdamW(network.parameters(), LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=EPOCHS * (count // BATCH))
    for _ in range(EPOCHS):
        for chosen in torch.randperm(count).split(BATCH)[: count // BATCH]:
            logits = network(seen.features[chosen])
            if not all_compete:
                logits = logits.masked_fill(never_seen()[1:, 1:][seen.colors[chosen]], float("-inf"))
            optimizer.zero_grad()
            F.cross_entropy(logits, seen.shapes[chosen]).backward()
            optimizer.step()
            schedule.step()
    return network


def measure(folder: str) -> dict[str, object]:
    """Return the shares of shapes named right with a folder's tower."""
    config, weights = preset("tiny"), open_weights("tiny", folder)
    image, region = load_image_encoder(config, weights), make_region_encoder(config)
    looked = {split: look(image, region, split) for split in SCENES}
    row: dict[str, object] = {"weights": weights.revision}
    for name, all_compete in (("all compete", True), ("unseen pairs do not", False)):
        network = fit(looked["train"], all_compete=all_compete)
        for split in ("test", "compositional"):
            right = network(looked[split].features).argmax(1) == looked[split].shapes
            row[f"{name}, {split}"] = round(float(right.float().mean()), 4)
    return {**row, **{f"objects, {split}": len(seen.shapes) for split, seen in looked.items()}}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", help="folders of weights of the tiny preset")
    torch.set_num_threads(1)
    rows = [measure(folder) for folder in parser.parse_args().weights]
    OUT.write_text(json.dumps(rows, indent=1) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    main()
