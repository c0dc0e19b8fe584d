"""What the pre-training recipes of encoders and specialists share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from train.data.shapes import oracle
from train.data.shapes.scene import Scene
from train.recipe import NotForPreset
from vitron.config import Pretrained
from vitron.types import Image


def refuse_stock(recipe: str, preset: str, stock: Pretrained | None, then: str) -> None:
    """Refuse to pre-train what a preset takes from elsewhere.

    Args:
        recipe: who refuses.
        preset: of which it is asked.
        stock: where the preset takes the part from; None: this project trains it.
        then: the first recipe that trains on from the stock checkpoint.

    Raises:
        NotForPreset: there is a stock checkpoint.
    """
    if stock is not None:
        raise NotForPreset(
            f"preset: {preset!r} uses the stock checkpoint {stock.repository}, which {recipe!r} does not train; "
            f"{then!r} trains on from it"
        )


def shows(picture: Image, scene: Scene) -> bool:
    """Tell whether an oracle reads exactly the scene's objects from a picture, places aside."""
    wanted = [{"shape": obj.shape, "color": obj.color, "size": obj.size} for obj in scene.objects]
    return oracle.matches(oracle.read(picture), wanted)


def save_grid(path: Path, rows: Iterable[Sequence[Image]], scale: int = 2) -> None:
    """Write pictures of one size as rows of a PNG, enlarged without smoothing."""
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    picture = PilImage.fromarray(grid)
    picture = picture.resize((picture.width * scale, picture.height * scale), PilImage.Resampling.NEAREST)
    picture.save(path)
