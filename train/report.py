"""Make what the README shows: a real request with its results as a picture, and the table of headline numbers.

Run: python -m train.report   (after `python -m train.evaluate`)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from train.data.shapes.render import render
from train.data.shapes.scene import scene_at
from vitron.evaluation.table import Row, read_rows
from vitron.model import Vitron
from vitron.prompt import user_message
from vitron.types import DrawnRegion, Image, Reply
from vitron.weights import open_weights

RESULTS = Path("docs/results")
SCENE = 9
"""Number of the held-out scene that is shown: several objects, two of one name."""
SCALE = 4
HEADLINES = (
    ("module chosen right", "module", "accuracy"),
    ("invocation parses", "invocation", "parse_rate"),
    ("image questions", "vqa", "accuracy"),
    ("referring expressions, IoU ≥ 0.5", "rec", "acc_at_0_5"),
    ("referring segmentation, cIoU", "segmentation", "ciou"),
    ("region captions, all attributes", "region_caption", "all_attributes"),
    ("generated pictures, all objects and places match", "image_generation", "all_and_layout_match"),
    ("edited pictures, change made and all else right", "image_editing", "edit_done"),
    ("edited videos, change made and all else right", "video_editing", "edit_done"),
    ("edited videos, right in every single frame", "video_editing", "in_all_frames"),
    ("video questions", "video_qa", "accuracy"),
    ("video grounding, frame spans within 1", "video_grounding", "span_within_1"),
    ("video grounding, IoU of boxes", "video_grounding", "box_iou"),
    ("video segmentation by words, J&F", "track_text", "j_and_f"),
    ("video segmentation by drawing, J&F", "track_mark", "j_and_f"),
    ("generated videos, all objects and directions match", "video_generation", "match"),
    ("animated pictures, all objects right in every frame", "image_to_video", "identity"),
    ("animated pictures, motion as asked", "image_to_video", "follows"),
)


def outline(image: Image, mask: np.ndarray) -> Image:
    """Return the picture with everything outside the mask dimmed."""
    dimmed = (image * 0.35).astype(np.uint8)
    return np.where(mask[..., None], image, dimmed)


def panel(image: Image, said: str, answered: str, width: int = 64 * SCALE) -> PilImage.Image:
    """Return one enlarged picture with what was said and answered under it."""
    sheet = PilImage.new("RGB", (width + 16, width + 96), "white")
    sheet.paste(PilImage.fromarray(image).resize((width, width), PilImage.Resampling.NEAREST), (8, 8))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    for row, (text, colour) in enumerate((*wrap(said, "#444444"), *wrap(answered, "#0b5394"))):
        draw.text((8, width + 14 + 16 * row), text, fill=colour, font=font)
    return sheet


def wrap(text: str, colour: str, width: int = 38) -> list[tuple[str, str]]:
    """Break a text into at most three lines."""
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return [(each, colour) for each in [*lines, line][:3]]


def figure(vitron: Vitron) -> None:
    """Write `scene.png` and `request.png`: a question, two segmentations and a drawing."""
    scene = scene_at("test", SCENE)
    image = render(scene)
    named, target = scene.objects[0], scene.objects[-1]
    point = DrawnRegion(kind="point", points=((target.x / 64, target.y / 64),))
    PilImage.fromarray(image).save(RESULTS / "scene.png")
    asked: list[tuple[str, list[str | Image | DrawnRegion]]] = [
        ("is there a purple star?", [image, "is there a purple star?"]),
        ("segment this one (a click)", [image, "segment this one", point]),
        (f"segment the {named.color} {named.shape}", [image, f"segment the {named.color} {named.shape}"]),
        ("draw another one like this (a click)", [image, "draw another one like this", point]),
    ]
    replies = vitron.reply_batch([[user_message(parts)] for _, parts in asked])
    panels = [panel(shown(image, r), said, r.text) for (said, _), r in zip(asked, replies, strict=True)]
    sheet = PilImage.new("RGB", (sum(p.width for p in panels), panels[0].height), "white")
    for index, each in enumerate(panels):
        sheet.paste(each, (index * each.width, 0))
    sheet.save(RESULTS / "request.png")


def shown(image: Image, reply: Reply) -> Image:
    """Return what a reply made: a masked picture, a drawn one, or the picture itself."""
    if reply.output and reply.output.images:
        return reply.output.images[0]
    if reply.output and reply.output.detections:
        return outline(image, reply.output.detections[0].mask)
    return image


COLUMNS = {
    "test": ("test", "hybrid"),
    "new colour-shape pairs": ("compositional", "hybrid"),
    "text only": ("test", "text"),
    "signal only": ("test", "signal"),
}
"""Title -> split and message."""


def table(rows: list[Row], weights: str) -> str:
    """Return the headline numbers of one set of weights, in percent with n, without columns that nothing is in."""
    found = {(r.task, r.split, r.message, r.metric): r for r in rows if r.weights == weights}
    columns = {
        title: [found.get((task, *where, metric)) for _, task, metric in HEADLINES] for title, where in COLUMNS.items()
    }
    columns = {title: cells for title, cells in columns.items() if any(cells)}
    lines = [f"| held-out Shapes, % (n) | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for (title, *_), *cells in zip(HEADLINES, *columns.values(), strict=True):
        values = [f"{100 * cell.value:.1f} ({cell.n})" if cell else "" for cell in cells]
        lines.append(f"| {title} | {' | '.join(values)} |")
    return "\n".join([*lines, "", f"Weights `{weights}`; by `make eval`, with n as `docs/evaluation.md` says."])


def write_readme(text: str, path: Path = Path("README.md")) -> None:
    """Put the table between the README's markers."""
    start, end = "<!-- results -->", "<!-- /results -->"
    before, _, rest = path.read_text().partition(start)
    path.write_text(f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}")


def main() -> None:
    """Run the command line."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    figure(Vitron.from_preset("tiny"))
    write_readme(table(read_rows(RESULTS / "tiny.json"), open_weights("tiny").revision))


if __name__ == "__main__":
    main()
