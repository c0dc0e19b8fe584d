"""Scores of SEEM on held-out Shapes scenes, kind of prompt by kind, and a contact sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from train.data.shapes import captions, drawing, referents
from train.data.shapes.referring import expression_for
from train.data.shapes.render import masks, render
from train.data.shapes.scene import Scene, sample_background, sample_object, scene_at, scene_rng
from train.recipes.specialists import save_grid
from vitron.specialists.seem.network import LayerOutput, SeemNetwork, upsample
from vitron.specialists.seem.prompts import Prompts, marks_of, to_device
from vitron.types import BoolMask, Image

WORDED = ("name", "full", "expression", "signal", "vague_and_signal")
DRAWN = ("point", "box", "scribble", "polygon", "mask")
REFERENCE = ("reference",)
BATCH = 20
NUM_DRAWN = 8
STREAM = 42
OUTLINE = (255, 0, 255)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A held-out scene and the object to find in it, the only one of its name."""

    image: Image
    mask: BoolMask
    texts: tuple[str, ...]
    signals: tuple[str, ...]
    marks: tuple[BoolMask, ...]
    reference: Image
    reference_mark: BoolMask


class Scores:
    """Intersections and unions, summed by kind of prompt."""

    def __init__(self) -> None:
        self._sums = {kind: np.zeros(2) for kind in WORDED + DRAWN + REFERENCE}

    def add(self, kind: str, mask: BoolMask, target: BoolMask) -> None:
        """Count one result."""
        self._sums[kind] += (np.sum(mask & target), np.sum(mask | target))

    def as_dict(self) -> dict[str, float]:
        """The cumulative IoU of each kind in percent."""
        return {k: round(100 * float(i / max(u, 1)), 2) for k, (i, u) in self._sums.items()}


def score(network: SeemNetwork, split: str, num_scenes: int) -> Scores:
    """Score the best query's mask for every kind of prompt."""
    scores = Scores()
    found = cases(split, num_scenes)
    for first in range(0, len(found), BATCH):
        part = found[first : first + BATCH]
        for kinds, results in zip((WORDED, DRAWN, REFERENCE), segment(network, part), strict=True):
            for case, rows in zip(part, results, strict=True):
                for kind, mask in zip(kinds, rows, strict=True):
                    scores.add(kind, mask, case.mask)
    return scores


def cases(split: str, count: int) -> list[Case]:
    """The first `count` scenes of a split in which some object's name is unambiguous."""
    found: list[Case] = []
    index = 0
    while len(found) < count:
        scene, rng = scene_at(split, index), scene_rng(split, index, stream=STREAM)
        index += 1
        named = [i for i in range(len(scene.objects)) if _unique(scene, i)]
        if named:
            found.append(_case(scene, named[int(rng.integers(len(named)))], rng))
    return found


def _unique(scene: Scene, i: int) -> bool:
    return referents.select(scene, referents.of(scene, i, ("color", "shape"))) == [i]


def _case(scene: Scene, target: int, rng: np.random.Generator) -> Case:
    obj, visible = scene.objects[target], masks(scene)[target]
    full = captions.full_description(scene, target)
    referring = expression_for(scene, rng, target)
    texts = (captions.name(obj), full, referring.text if referring else full, "", "this one")
    marks = [drawing.draw(visible, rng, kind) for kind in DRAWN]
    alike = sample_object(rng, obj.color, obj.shape)
    other = Scene(background=sample_background(rng), objects=(alike,))
    shown = masks(other)[0]
    return Case(
        image=render(scene),
        mask=visible,
        texts=texts,
        signals=("", "", "", full, full),
        marks=tuple(drawing.rasterize(mark, *visible.shape) for mark in marks),
        reference=render(other),
        reference_mark=drawing.rasterize(drawing.draw(shown, rng), *shown.shape),
    )


@torch.no_grad()
def segment(network: SeemNetwork, part: Sequence[Case]) -> list[list[list[BoolMask]]]:
    """Masks by group of prompts (worded, drawn, by reference), case and prompt."""
    device = network.predictor.class_embed.device
    features = network.features(_pixels([case.image for case in part]).to(device))
    reference = network.features(_pixels([case.reference for case in part]).to(device))
    limit, count = network.config.max_spatial, len(part)
    rows = range(count * len(DRAWN))
    drawn = marks_of([m for c in part for m in c.marks], rows, [r // len(DRAWN) for r in rows], limit)
    shown = marks_of([case.reference_mark for case in part], range(count), range(count), limit)
    groups = (
        (_worded(network, part), len(WORDED)),
        (Prompts(len(rows), spatial=to_device(drawn, device)), len(DRAWN)),
        (Prompts(count, visual=to_device(shown, device)), len(REFERENCE)),
    )
    side = part[0].mask.shape
    return [_best(network(features, prompts, reference)[-1], side, size) for prompts, size in groups]


def _worded(network: SeemNetwork, part: Sequence[Case]) -> Prompts:
    device = network.predictor.class_embed.device
    text = network.lang_encoder([t for case in part for t in case.texts])
    has_text = torch.tensor([bool(t) for case in part for t in case.texts], device=device)
    signal = network.signal_targets([s for case in part for s in case.signals])
    given = torch.tensor([bool(s) for case in part for s in case.signals], device=device)
    return Prompts(len(given), text._replace(valid=text.valid & has_text[:, None]), signal, given)


def _pixels(images: Sequence[Image]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def _best(output: LayerOutput, size: Sequence[int], per_case: int) -> list[list[BoolMask]]:
    chosen = output.masks[torch.arange(len(output.masks)), output.match.argmax(dim=1)]
    found = (upsample(chosen, size) > 0).cpu().numpy()
    return [list(found[i : i + per_case]) for i in range(0, len(found), per_case)]


def contact_sheet(network: SeemNetwork, path: Path) -> None:
    """Draw cases as rows: the target, then the result of every kind of prompt."""
    part = cases("val", NUM_DRAWN)
    rows = [
        [outlined(case.image, mask) for mask in (case.mask, *(m for masks in groups for m in masks))]
        for case, *groups in zip(part, *segment(network, part), strict=True)
    ]
    save_grid(path, rows)


def outlined(image: Image, mask: BoolMask) -> Image:
    """The picture with the edge of a mask painted over it."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    out = image.copy()
    out[mask & ~inner] = OUTLINE
    return out
