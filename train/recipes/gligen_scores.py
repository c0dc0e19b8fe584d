"""Scores of a generator on held-out Shapes: it draws scenes as it is served, and an oracle reads the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from train.data.shapes import captions
from train.data.shapes.render import boxes, render
from train.data.shapes.scene import Scene, scene_at
from train.recipes.specialists import save_grid, shows
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.gligen import Gligen
from vitron.types import Box, Grounding, Image

GRID_COLUMNS = 8
ROWS = 4


class HeldOut:
    """Draws held-out scenes, from words alone and with boxes."""

    def __init__(self, gligen: Gligen, count: int) -> None:
        self._gligen, self._count = gligen, count
        self._made: dict[str, list[Image]] = {}

    @cached_property
    def scenes(self) -> list[Scene]:
        """What is asked for."""
        return [scene_at("val", i) for i in range(self._count)]

    def measure(self) -> dict[str, float]:
        """Return the share of pictures with exactly the objects asked for, by what was given, and their mean."""
        self._made = {"words": self._pictures(grounded=False), "boxes": self._pictures(grounded=True)}
        shares = {name: self._share(made) for name, made in self._made.items()}
        return {**shares, "match": sum(shares.values()) / len(shares)}

    def draw(self, folder: Path) -> None:
        """Write `samples.png` (real pictures, those from words, those from boxes) and what they should show."""
        assert self._made, "nothing was measured yet"
        real = [render(scene) for scene in self.scenes]
        whole = range(0, len(real) - GRID_COLUMNS + 1, GRID_COLUMNS) or (0,)
        rows = [part[at : at + GRID_COLUMNS] for at in whole[:ROWS] for part in (real, *self._made.values())]
        save_grid(folder / "samples.png", rows)
        texts = [captions.canonical_caption(scene) for scene in self.scenes[: sum(map(len, rows)) // 3]]
        (folder / "samples.txt").write_text("\n".join(texts) + "\n")

    def _share(self, made: Sequence[Image]) -> float:
        return sum(map(shows, made, self.scenes)) / len(made)

    def _pictures(self, *, grounded: bool) -> list[Image]:
        """Draw every scene, each from a seed of its own, on an engine of this thread."""
        engine = self._gligen.make_engine()
        names: list[str] = []
        for seed, scene in enumerate(self.scenes):
            request = SpecialistRequest(
                instruction=captions.canonical_caption(scene), regions=_layout(scene) if grounded else (), seed=seed
            )
            for job in self._gligen.plan(request):
                engine.submit(job)
                names.append(job.request_id)
        latents = engine.run()
        return list(self._gligen.decode([latents[name] for name in names]).images)


def _layout(scene: Scene) -> tuple[Grounding, ...]:
    pairs = zip(boxes(scene), scene.objects, strict=True)
    return tuple(Grounding(box=_box(box), label=captions.describe(obj)) for box, obj in pairs)


def _box(values: Sequence[float]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2
