"""Draws scenes and gives their exact masks and boxes."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

from train.data.shapes import geometry
from train.data.shapes.scene import BACKGROUND_COLORS, Background, Object, Scene
from vitron.types import box_around

STRIPE_PERIOD = 5.0
DOT_PERIOD = 5.0


def render(scene: Scene) -> npt.NDArray[np.uint8]:
    """Paints a scene as an RGB picture [H, W, 3], anti-aliased."""
    canvas = paint_background(scene.background, scene.width, scene.height)
    for obj in scene.objects:
        _paint(canvas, obj)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def amodal_masks(scene: Scene) -> npt.NDArray[np.bool_]:
    """Whole masks [n, H, W], as if no object hid another."""
    out = np.zeros((len(scene.objects), scene.height, scene.width), dtype=np.bool_)
    for i, obj in enumerate(scene.objects):
        out[i] = geometry.amodal_mask(obj, scene.width, scene.height)
    return out


def masks(scene: Scene) -> npt.NDArray[np.bool_]:
    """Visible masks [n, H, W]: every pixel belongs to the frontmost object there, or to none."""
    out = amodal_masks(scene)
    hidden = np.zeros(out.shape[1:], dtype=np.bool_)
    for i in range(len(out) - 1, -1, -1):
        out[i] &= ~hidden
        hidden |= out[i]
    return out


def boxes(scene: Scene) -> npt.NDArray[np.float64]:
    """Boxes [n, 4] of the visible masks, (x1, y1, x2, y2) normalised; zeros where invisible."""
    return np.array([mask_box(mask) for mask in masks(scene)], dtype=np.float64).reshape(-1, 4)


def mask_box(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Tight normalised box of a mask [H, W]; x2 is (last column + 1) / W."""
    return box_around(mask) or (0.0, 0.0, 0.0, 0.0)


def paint_background(background: Background, width: int, height: int) -> npt.NDArray[np.float32]:
    """The background alone as float RGB [H, W, 3] in 0..255."""
    base = np.array(BACKGROUND_COLORS[background.color], dtype=np.float32) + background.shade
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = base
    if background.texture != "plain":
        canvas += _relief(background, width, height)[:, :, None]
    return canvas


def _relief(background: Background, width: int, height: int) -> npt.NDArray[np.float32]:
    """Faint brightness changes [H, W] of a background texture."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    if background.texture == "gradient":
        angle = background.seed % 360 * np.pi / 180.0
        ramp = columns / width * np.cos(angle) + rows / height * np.sin(angle)
        return np.asarray(16.0 * (ramp - ramp.mean()), dtype=np.float32)
    if background.texture == "checker":
        cell = 6 + background.seed % 5
        return np.where((rows // cell + columns // cell) % 2 == 0, 4.0, -4.0).astype(np.float32)
    noise = np.random.default_rng(background.seed).standard_normal((height, width), np.float32)
    return np.asarray(4.0 * noise, dtype=np.float32)


def _paint(canvas: npt.NDArray[np.float32], obj: Object) -> None:
    """Blends one object onto the canvas in place."""
    height, width = canvas.shape[:2]
    part = geometry.window(obj, width, height)
    u, v = geometry.local_coordinates(obj, part)
    coverage = np.clip(0.5 - geometry.signed_distance(obj, u, v), 0.0, 1.0)[:, :, None]
    paint = object_paint(obj, u, v)
    canvas[part] += coverage * (paint - canvas[part])


def object_paint(obj: Object, u: npt.NDArray[np.float32], v: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The object's own colour at object coordinates: [3], or [h, w, 3] when textured."""
    main = _rgb(obj.hue, obj.saturation, obj.value)
    if obj.texture == "solid":
        return main
    if obj.texture == "striped":
        other = _rgb(obj.hue, obj.saturation, obj.value * 0.74)
        pattern = np.sin(u * np.float32(2 * np.pi / STRIPE_PERIOD))
    else:
        other = _rgb(obj.hue, obj.saturation * 0.62, min(obj.value * 1.08, 1.0))
        turn = np.float32(2 * np.pi / DOT_PERIOD)
        pattern = np.cos(u * turn) + np.cos(v * turn) - 0.7
    amount = np.clip(0.5 + 1.5 * pattern, 0.0, 1.0)[:, :, None]
    return np.asarray(main + amount * (other - main), dtype=np.float32)


def _rgb(hue: float, saturation: float, value: float) -> npt.NDArray[np.float32]:
    rgb = colorsys.hsv_to_rgb(hue / 360.0, saturation, value)
    return np.array(rgb, dtype=np.float32) * np.float32(255.0)
