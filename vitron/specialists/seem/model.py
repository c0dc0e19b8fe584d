"""SEEM as a specialist: requests in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from vitron.config import SeemConfig, SignalConfig, VitronConfig
from vitron.regions import to_mask
from vitron.specialists.base import (
    Cancelled,
    IsCancelled,
    OnProgress,
    SpecialistRequest,
    check_options,
)
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.seem.network import LayerOutput, SeemNetwork, upsample
from vitron.specialists.seem.pixel_decoder import PixelFeatures
from vitron.specialists.seem.prompts import Marks, Prompts, marks_of, to_device
from vitron.specialists.seem.request import check_meant, check_picture
from vitron.types import BoolMask, Detection, DrawnRegion, Image, Module, SpecialistOutput, box_around
from vitron.weights import Weights

OPTIONS: dict[str, tuple[float, float]] = {"threshold": (0.0, 1.0), "multiple": (0, 1)}
DEFAULT_THRESHOLD = 0.5
# Two results that overlap more than this are the same object.
SAME_OBJECT_IOU = 0.6


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One prompt: a request asks one for each region drawn, or a single one."""

    request: int
    drawn: DrawnRegion | None


class Seem(nn.Module):
    """Segments what a request means by text, signal, drawings, another picture, or any mixture of these.

    Each region drawn on the picture gives one detection; without any, the best match gives one. Options: `multiple` 1
    gives every object that fits with a score of at least `threshold` (0.5), best first, perhaps none.

    Args:
        config: sizes.
        signal: of the signal embedding.
        tokenizer: of the language encoder; it adds begin and end tokens.
    """

    module = Module.IMAGE_SEGMENTATION

    def __init__(self, config: SeemConfig, signal: SignalConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.config, self.signal = config, signal
        self.network = SeemNetwork(config, tokenizer)
        self.projection = OutputProjection(signal.width, config.hidden, config.projection)

    def run(
        self,
        request: SpecialistRequest,
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> SpecialistOutput:
        """Segment one picture; see `Specialist.run`. It is one step."""
        if cancelled is not None and cancelled():
            raise Cancelled
        output = self.run_batch([request])[0]
        if on_progress is not None:
            on_progress(1, 1)
        return output

    @torch.inference_mode()
    def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
        """Segment several pictures in one pass; see `Specialist.run_batch`."""
        if not requests:
            return []
        images = [check_request(request, self.signal) for request in requests]
        rows = [row for i, request in enumerate(requests) for row in _rows(i, request)]
        features = self._features(images)
        index = torch.tensor([row.request for row in rows], device=features.mask_features.device)
        # A row for each prompt, as requests may have different numbers of them.
        repeated = PixelFeatures(tuple(scale[index] for scale in features.scales), features.mask_features[index])
        shown = [request.reference for request in requests if request.reference is not None]
        reference = self._features(shown) if shown else None
        output = self.network(repeated, self._prompts(requests, rows), reference)[-1]
        return [
            SpecialistOutput(
                detections=_detections(
                    output,
                    [r for r, row in enumerate(rows) if row.request == i],
                    (image.shape[0], image.shape[1]),
                    request,
                )
            )
            for i, (image, request) in enumerate(zip(images, requests, strict=True))
        ]

    def signal_tokens(self, signals: Tensor) -> Tensor:
        """Project signal embeddings `[B, n, d_v]` to grounding tokens `[B, num_queries, hidden]`."""
        tokens: Tensor = self.projection(signals)
        return tokens

    def _features(self, images: Sequence[Image]) -> PixelFeatures:
        device = self.network.predictor.class_embed.device
        side = self.config.image_size
        return self.network.features(torch.cat([to_square(image, side) for image in images]).to(device))

    def _prompts(self, requests: Sequence[SpecialistRequest], rows: Sequence[_Row]) -> Prompts:
        device = self.network.predictor.class_embed.device
        of_row = [requests[row.request] for row in rows]
        text = None
        written = [bool(request.instruction.strip()) for request in of_row]
        if any(written):
            text = self.network.lang_encoder([request.instruction for request in of_row])
            given = torch.tensor(written, device=device)
            text = text._replace(valid=text.valid & given[:, None])
        signal, signal_given = self._signals(of_row)
        return Prompts(
            rows=len(rows),
            text=text,
            signal=signal,
            signal_given=signal_given,
            spatial=to_device(self._spatial(rows), device),
            visual=to_device(self._visual(requests, rows), device),
        )

    def _signals(self, of_row: Sequence[SpecialistRequest]) -> tuple[Tensor | None, Tensor | None]:
        found = [request.signal for request in of_row]
        known = [signal for signal in found if signal is not None]
        if not known:
            return None, None
        weight = self.network.predictor.class_embed
        blank = torch.zeros_like(known[0])
        stacked = torch.stack([blank if signal is None else signal for signal in found])
        given = torch.tensor([signal is not None for signal in found], device=weight.device)
        return self.signal_tokens(stacked.to(weight)), given

    def _spatial(self, rows: Sequence[_Row]) -> Marks | None:
        drawn = [(r, row.drawn) for r, row in enumerate(rows) if row.drawn is not None]
        if not drawn:
            return None
        at = [r for r, _ in drawn]
        return marks_of([self._map(region) for _, region in drawn], at, at, self.config.max_spatial)

    def _visual(self, requests: Sequence[SpecialistRequest], rows: Sequence[_Row]) -> Marks | None:
        # Pictures are numbered among the references only.
        number = {i: n for n, i in enumerate(j for j, r in enumerate(requests) if r.reference is not None)}
        masks, at, pictures = [], [], []
        for r, row in enumerate(rows):
            region = requests[row.request].reference_drawn
            if row.request in number and region is not None:
                masks.append(self._map(region))
                at.append(r)
                pictures.append(number[row.request])
        return marks_of(masks, at, pictures, self.config.max_spatial) if masks else None

    def _map(self, region: DrawnRegion) -> BoolMask:
        side = self.config.image_size
        return to_mask(region, side, side)


def check_request(request: SpecialistRequest, signal: SignalConfig) -> Image:
    """Return the picture of a request that can be carried out; otherwise raise ValueError saying why."""
    check_options(request.options, OPTIONS)
    check_picture("image", request.image)
    if request.image is None:
        raise ValueError("image: got None, expected a picture to segment")
    check_meant(request, signal)
    return request.image


def to_square(image: Image, side: int) -> Tensor:
    """Stretch a picture to float RGB 0-255 `[1, 3, side, side]`."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    return functional.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def _rows(i: int, request: SpecialistRequest) -> list[_Row]:
    """What the user drew comes first; the LLM's boxes, which are less exact, stand in where nobody drew anything."""
    boxes = tuple(DrawnRegion(kind="box", box=region.box) for region in request.regions)
    stand_in = boxes if request.reference is None else ()
    drawn: Sequence[DrawnRegion | None] = request.drawn or stand_in or (None,)
    return [_Row(request=i, drawn=region) for region in drawn]


def _detections(
    output: LayerOutput, rows: Sequence[int], size: tuple[int, int], request: SpecialistRequest
) -> tuple[Detection, ...]:
    """The detections of one request, in the order of its drawings or else best first."""
    scores = output.match[list(rows)].float().sigmoid()
    if not request.options.get("multiple", 0):
        best = scores.argmax(dim=1)
        pairs = [(row, int(query)) for row, query in zip(rows, best, strict=True)]
        return tuple(_detection(output, pair, size) for pair in pairs)
    threshold = float(request.options.get("threshold", DEFAULT_THRESHOLD))
    order = scores.flatten().argsort(descending=True, stable=True)
    found: list[Detection] = []
    for place in order.tolist():
        row, query = divmod(place, scores.shape[1])
        if float(scores[row, query]) < threshold:
            break
        new = _detection(output, (rows[row], query), size)
        if all(_iou(new.mask, other.mask) < SAME_OBJECT_IOU for other in found):
            found.append(new)
    return tuple(found)


def _detection(output: LayerOutput, at: tuple[int, int], size: tuple[int, int]) -> Detection:
    row, query = at
    mask = (upsample(output.masks[row, query][None].float(), size)[0] > 0).cpu().numpy()
    box = box_around(mask) or (0.0, 0.0, 0.0, 0.0)
    return Detection(mask, box, float(output.match[row, query].float().sigmoid()))


def _iou(a: BoolMask, b: BoolMask) -> float:
    return float(np.sum(a & b) / max(int(np.sum(a | b)), 1))


def load_seem(config: VitronConfig, weights: Weights) -> Seem:
    """Return the segmenter; at full size `seem.safetensors` is made from the public checkpoint (docs/weights.md)."""
    seem = Seem(config.seem, config.signal, weights.tokenizer("clip_tokenizer"))
    weights.load("seem", seem.network)
    weights.load("seem_projection", seem.projection)
    seem.eval()
    return seem
