"""Plots of panels, with Pillow: bars side by side, or a matrix of colours."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from train.ablations.views import Line, Panel, Value
from vitron.evaluation.table import less_is_better

Colour = tuple[int, int, int]
COLOURS: tuple[Colour, ...] = ((86, 120, 164), (222, 143, 68), (92, 153, 92), (176, 86, 93))
INK, PALE, PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
GAIN, LOSS = (44, 110, 73), (178, 62, 62)
FULL = 0.1
"""Gain that has the full colour of a matrix; larger ones have it too."""
BAR, GAP, LABEL, WIDTH, MARGIN = 12, 10, 330, 400, 12
CELL_WIDTH, CELL_HEIGHT = 104, 40
_FONT = 13


def draw(panel: Panel, path: Path) -> None:
    """Write a panel as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (_matrix(panel) if panel.matrix else _bars(panel)).save(path, optimize=True)


def _bars(panel: Panel) -> Image.Image:
    """Draw a group of horizontal bars for each line: shares on an axis to 100 %, other values against their largest."""
    height = len(panel.names) * BAR + GAP
    top = MARGIN + 44
    canvas = Image.new("RGB", (LABEL + WIDTH + 110, top + height * len(panel.lines) + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=_FONT)
    pen.text((MARGIN, MARGIN - 4), panel.title, fill=INK, font=ImageFont.load_default(size=_FONT + 3))
    left = MARGIN
    for index, name in enumerate(panel.names):
        pen.rectangle((left, MARGIN + 24, left + 10, MARGIN + 34), fill=COLOURS[index % len(COLOURS)])
        pen.text((left + 15, MARGIN + 20), name, fill=INK, font=font)
        left += 40 + int(pen.textlength(name, font=font))
    for index, line in enumerate(panel.lines):
        _group(pen, line, top + index * height, font)
    return canvas


def _group(pen: ImageDraw.ImageDraw, line: Line, top: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> None:
    text = line.label + (" (less is better)" if less_is_better(line.metric) else "")
    pen.text((LABEL - 8 - pen.textlength(text, font=font), top), text, fill=INK, font=font)
    pen.line((LABEL, top - 2, LABEL, top + BAR * len(line.values) + 2), fill=PALE)
    largest = 1.0 if line.share else max((abs(value.mean) for value in line.values if value), default=1.0) or 1.0
    small = ImageFont.load_default(size=10)
    for index, value in enumerate(line.values):
        if value is None:
            continue
        y = top + index * BAR
        right = LABEL + max(1, int(WIDTH * min(1.0, abs(value.mean) / largest)))
        pen.rectangle((LABEL, y + 1, right, y + BAR - 2), fill=COLOURS[index % len(COLOURS)])
        pen.text((right + 5, y - 1), _number(value, line.share), fill=INK, font=small)


def _number(value: Value, share: bool) -> str:
    return f"{100 * value.mean:.1f}" if share else f"{value.mean:.3f}"


def _matrix(panel: Panel) -> Image.Image:
    """Draw green cells for gains and red ones for losses; rows gain from columns."""
    left, top = 150, MARGIN + 60
    size = left + CELL_WIDTH * len(panel.names) + MARGIN, top + CELL_HEIGHT * len(panel.lines) + MARGIN
    canvas = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=_FONT - 2)
    pen.text((MARGIN, MARGIN - 4), f"{panel.title}: gain of the row, %", fill=INK, font=ImageFont.load_default(size=16))
    for column, name in enumerate(panel.names):
        pen.multiline_text((left + column * CELL_WIDTH + 6, top - 32), name.replace(" ", "\n"), fill=INK, font=font)
    for row, line in enumerate(panel.lines):
        pen.text((MARGIN, top + row * CELL_HEIGHT + 13), line.label, fill=INK, font=font)
        for column, value in enumerate(line.values):
            x, y = left + column * CELL_WIDTH, top + row * CELL_HEIGHT
            pen.rectangle((x, y, x + CELL_WIDTH - 2, y + CELL_HEIGHT - 2), fill=_shade(value))
            if value is not None:
                pen.text((x + 30, y + 12), f"{100 * value.mean:+.1f}", fill=INK, font=font)
    return canvas


def _shade(value: Value | None) -> Colour:
    if value is None:
        return PALE
    strength = min(1.0, abs(value.mean) / FULL) * 0.8
    full = GAIN if value.mean > 0 else LOSS
    r, g, b = (round(255 + (part - 255) * strength) for part in full)
    return r, g, b
