"""GLIGEN as an image editor: the specialist for Image Editing.

The segmenter finds what an edit is about, the generator paints there and sees the rest, and the result goes back into
the source at its own size: outside the edited area every pixel stays as it was.

It works at the generator's size on the stretched picture. A generator with inpainting channels is shown what is kept;
any other has the kept latents put back before every step (`DenoiseRequest.kept`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vitron.config import GligenConfig, VitronConfig
from vitron.diffusion.latents import LatentCodec, to_images
from vitron.diffusion.request import DenoiseRequest, Kept, Start
from vitron.regions import box_of
from vitron.specialists.base import Option, SpecialistRequest, check_options
from vitron.specialists.denoising import Prepared, check_whole
from vitron.specialists.gligen import OPTIONS as GENERATION_OPTIONS
from vitron.specialists.gligen import Gligen, load_gligen
from vitron.specialists.gligen_denoiser import GligenCondition, GligenDenoiser
from vitron.specialists.gligen_edit_area import Areas, find_areas
from vitron.specialists.gligen_edit_pixels import (
    Pixels,
    carry,
    fill,
    fill_ground,
    inner_weight,
    main_color,
    match,
    own_colors,
    resize,
    shifted,
    shrink,
    tint,
    to_image,
)
from vitron.specialists.gligen_edit_request import Edit, read_edit
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.placing import free_box, resting
from vitron.specialists.seem.model import Seem, load_seem
from vitron.specialists.text_condition import TextCondition
from vitron.types import Box, Image, Module, SpecialistOutput
from vitron.weights import Weights

OPTIONS: dict[str, tuple[float, float]] = {**GENERATION_OPTIONS, "strength": (0.05, 1.0), "exact_mask": (0, 1)}
"""Inclusive ranges of a request's options."""
ERASE_STRENGTH = 0.6
"""Of filling a hole with what is around it: it begins with a smooth filling."""
ERASE_GUIDANCE = 1.0
"""Likewise: a guided generator likes to put something into a hole."""
SEAM = 0.015
"""Width of the seam inside the edited area, as a part of the picture's side."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """A request on its way.

    Attributes:
        source: What is painted on, float RGB [H, W, 3] in 0 to 255: the picture, with what is moved in its new place.
        behind: The same with everything that goes filled from around it.
        edit, areas: What to do, and where.
        jobs: The latents to make, one for each picture.
    """

    source: Pixels
    behind: Pixels
    edit: Edit
    areas: Areas
    jobs: tuple[DenoiseRequest[GligenCondition], ...]


class GligenEdit(Gligen):
    """Layout-conditioned inpainting as a `Specialist`.

    Attributes:
        seem: Finds what an edit is about.
    """

    module = Module.IMAGE_EDITING

    def __init__(
        self,
        config: GligenConfig,
        *,
        denoiser: GligenDenoiser,
        codec: LatentCodec,
        text: TextCondition,
        projection: OutputProjection,
        seem: Seem,
    ) -> None:
        super().__init__(config, denoiser=denoiser, codec=codec, text=text, projection=projection)
        self.seem = seem
        self.eval()

    def plan(self, request: SpecialistRequest) -> list[DenoiseRequest[GligenCondition]]:
        """Return the latents that a request needs, one per picture; see `Gligen.plan`."""
        return list(self.begin(request).jobs)

    def prepare(self, request: SpecialistRequest) -> Prepared[GligenCondition]:
        """See `DenoisingSpecialist.prepare`."""
        work = self.begin(request)

        def finish(latents: Sequence[Tensor]) -> SpecialistOutput:
            return SpecialistOutput(images=tuple(self.finish(work, each) for each in latents))

        return Prepared(work.jobs, finish)

    @torch.no_grad()
    def begin(self, request: SpecialistRequest) -> Work:
        """Find out what is to be done where, and return it with the latents to make.

        Raises:
            ValueError: The request is wrong; the message names the field.
        """
        image = self._check_edit(request)
        edit = read_edit(request, exact=bool(request.options.get("exact_mask", 0)))
        if edit.is_free:
            placed = (replace(new, box=free_box(image[None], new.box, resting)) for new in edit.painted)
            edit = replace(edit, painted=tuple(placed))
        paints = bool(edit.painted) or edit.ground
        given: dict[str, Option] = {} if paints else {"guidance_scale": ERASE_GUIDANCE}
        given |= {name: value for name, value in request.options.items() if name in GENERATION_OPTIONS}
        options = self._options(given)
        areas = find_areas(edit, image, self.seem)
        source = image.astype(np.float32)
        behind = fill(source, areas.paint) if edit.ground else fill_ground(source, areas.gone)
        if edit.moved is not None:
            source, areas = _carried(source, behind, edit.moved, areas)
            behind = source
        kept, begun = self._kept(behind, areas)
        strength = float(request.options.get("strength", 1.0 if paints else ERASE_STRENGTH))
        condition, unconditional = self._edit_conditions(request, edit)
        name = uuid.uuid4().hex
        jobs = tuple(
            DenoiseRequest(
                request_id=f"{name}-{index}",
                shape=tuple(begun.shape),
                condition=replace(condition, kept=kept),
                unconditional=replace(unconditional, kept=kept),
                num_steps=options.steps,
                guidance_scale=options.guidance_scale,
                seed=(request.seed + index) % 2**63,
                kept=kept,
                start=Start(latents=begun, strength=strength) if strength < 1.0 else None,
            )
            for index in range(options.num_images)
        )
        return Work(source=source, behind=behind, edit=edit, areas=areas, jobs=jobs)

    @torch.no_grad()
    def finish(self, work: Work, latents: Tensor) -> Image:
        """Return the edited picture of finished latents."""
        dtype = self.denoiser.signal_segment.dtype
        painted = to_images(self.codec.decode(latents[None].to(dtype)))[0].astype(np.float32)
        height, width = work.source.shape[:2]
        made = resize(painted, height, width)
        if not work.edit.ground:
            made = match(made, work.source, work.areas.paint)
        if work.areas.tinted:
            made = self._tinted(work, made)
        elif work.edit.tint_ground:
            made = self._tinted_ground(work, made)
        return to_image(self._pasted(work, made))

    def _edit_conditions(self, request: SpecialistRequest, edit: Edit) -> tuple[GligenCondition, GligenCondition]:
        """Return what the rows see; where something goes and nobody says what is there then, both see no text.

        What is moved is in its new place already: told of it, the generator would paint it once more.
        """
        if edit.moved is not None or (not edit.text and request.signal is None):
            empty = GligenCondition(tokens=self.text.encode([""])[0].tokens)
            return empty, empty
        return self._conditions(replace(request, instruction=edit.text, regions=edit.painted, options={}))

    def _kept(self, behind: Pixels, areas: Areas) -> tuple[Kept, Tensor]:
        """Return what the generator is shown of the source, and its latents as a whole."""
        side = self.config.image_size
        small = np.clip(resize(behind, side, side), 0, 255) / np.float32(127.5) - 1
        pixels = torch.from_numpy(small).permute(2, 0, 1)[None].to(self.denoiser.signal_segment)
        latents = self.codec.encode(pixels)[0].float()
        hole = torch.from_numpy(shrink(areas.paint, *latents.shape[-2:]))
        return Kept(latents=latents, mask=1.0 - hole.float()[None].to(latents)), latents

    def _pasted(self, work: Work, made: Pixels) -> Pixels:
        """Return the source with the painted area of another picture."""
        seam = round(SEAM * min(work.source.shape[:2]))
        weight = inner_weight(work.areas.paint, seam)[..., None]
        return np.asarray(work.source + weight * (made - work.source), dtype=np.float32)

    def _tinted(self, work: Work, made: Pixels) -> Pixels:
        """Return the source with the colours of what was painted on the objects that are there."""
        result = work.source
        for mask in work.areas.tinted:
            result = tint(result, mask, fill(work.source, mask), main_color(made, mask))
        return result

    def _tinted_ground(self, work: Work, made: Pixels) -> Pixels:
        ground, area = work.source, work.areas.paint
        if not area.any():
            return ground  # nothing of the background is seen
        old = main_color(ground, area)
        return tint(ground, area, own_colors(ground, ~area, old), main_color(made, area), old)

    def _check_edit(self, request: SpecialistRequest) -> Image:
        check_options(request.options, OPTIONS)
        check_whole(request.options, ("exact_mask",))
        image = request.image
        if image is None:
            raise ValueError("image: got None, expected a picture to edit")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image: got {image.dtype} {list(image.shape)}, expected uint8 [height, width, 3]")
        self._check(request)
        return image


def _carried(source: Pixels, behind: Pixels, box: Box, areas: Areas) -> tuple[Pixels, Areas]:
    """Return the picture with its one object that goes carried to a box, and the areas: it is not painted over."""
    height, width = source.shape[:2]
    (mask,) = areas.objects
    old = box_of(mask)
    x = round(((box[0] + box[2]) - (old[0] + old[2])) / 2 * width)
    y = round(((box[1] + box[3]) - (old[1] + old[3])) / 2 * height)
    carried = carry(source, mask, behind, (x, y))
    covered = shifted(mask[..., None].astype(np.float32), (x, y))[..., 0] > 0
    return carried, replace(areas, paint=areas.gone & ~covered)


def load_gligen_edit(config: VitronConfig, weights: Weights) -> GligenEdit:
    """Return the image editor: the parts of the generator, and the segmenter."""
    made = load_gligen(config, weights)
    return GligenEdit(
        config.gligen,
        denoiser=made.denoiser,
        codec=made.codec,
        text=made.text,
        projection=made.projection,
        seem=load_seem(config, weights),
    )
