"""Feature extractors by address, as the command line names them: `KIND=module:function[@ARGUMENT]`.

The function gets the argument, if there is one, and returns an extractor (`vitron.evaluation.features`). Two are here:
`train.evaluation.extractors:clip@REPOSITORY` and `train.evaluation.extractors:torchscript@FILE`. Nothing is downloaded
unless transformers may.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PillowImage

from vitron.evaluation.features import TorchExtractor
from vitron.types import Image

KINDS: Mapping[str, str] = {
    "image": "features of pictures (FID)",
    "clip": "features of clips (FVD)",
    "joint": "features of pictures and of texts in one space (CLIP scores)",
    "image-classes": "probabilities of a picture's classes (Inception Score)",
    "clip-classes": "probabilities of a clip's classes",
}
"""What an extractor reads, and what for."""
_ADDRESS = re.compile(r"(?P<kind>[\w-]+)=(?P<module>[\w.]+):(?P<function>\w+)(?:@(?P<argument>.+))?")
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that OpenAI's CLIP was trained on, as everybody normalises with."""


def open_extractors(texts: Sequence[str]) -> dict[str, Any]:
    """Open extractors by kind.

    Raises:
        ValueError: a text is no address, its kind is unknown or given twice, or what it names is not there.
    """
    found: dict[str, Any] = {}
    for text in texts:
        parts = _ADDRESS.fullmatch(text)
        if parts is None or parts["kind"] not in KINDS:
            raise ValueError(
                f"extractor: got {text!r}, expected KIND=module:function[@ARGUMENT] with a KIND of {', '.join(KINDS)}"
            )
        if parts["kind"] in found:
            raise ValueError(f"extractor: got two for {parts['kind']}, expected one")
        arguments = (parts["argument"],) if parts["argument"] else ()
        found[parts["kind"]] = _function(text, parts["module"], parts["function"])(*arguments)
    return found


def _function(text: str, module: str, function: str) -> Any:
    try:
        place = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"extractor: got {text!r}, but {error}") from error
    if not hasattr(place, function):
        raise ValueError(f"extractor: got {text!r}, but {module} has no {function!r}")
    return getattr(place, function)


def torchscript(path: str) -> TorchExtractor:
    """Load a TorchScript network of pictures or clips in [0, 1]; its file's name is the extractor's.

    Raises:
        ValueError: the file is not there.
    """
    if not Path(path).is_file():
        raise ValueError(f"extractor: got {path!r}, expected a TorchScript file")
    return TorchExtractor(Path(path).stem, torch.jit.load(path).eval())


def clip(place: str) -> Clip:
    """Load a CLIP of transformers, by repository or folder, such as openai/clip-vit-base-patch32."""
    return Clip(place)


class Clip:
    """A pair of encoders; pictures are resized and cropped as OpenAI does."""

    def __init__(self, place: str) -> None:
        from transformers import AutoTokenizer, CLIPModel  # seconds to import

        self.name = place.rstrip("/") if not Path(place).is_dir() else Path(place).name
        self._model = CLIPModel.from_pretrained(place).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(place)

    @torch.inference_mode()
    def images(self, images: Sequence[Image], /) -> npt.NDArray[np.floating]:
        """Return `float32 [N, D]`."""
        size = self._model.config.vision_config.image_size
        pixels = torch.from_numpy(np.stack([_squared(image, size) for image in images]))
        normal = (pixels.float() / 255 - torch.tensor(_MEAN)) / torch.tensor(_DEVIATION)
        seen = self._model.vision_model(pixel_values=normal.movedim(-1, 1)).pooler_output
        return np.asarray(self._model.visual_projection(seen))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str], /) -> npt.NDArray[np.floating]:
        """Return `float32 [N, D]`; what is longer than the context is cut."""
        longest = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        read = self._model.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        return np.asarray(self._model.text_projection(read.pooler_output))


def _squared(image: Image, size: int) -> Image:
    """Resize the shorter side to `size` and cut out the middle."""
    height, width = image.shape[:2]
    scale = size / min(height, width)
    wide, high = max(size, round(width * scale)), max(size, round(height * scale))
    resized = PillowImage.fromarray(image).resize((wide, high), PillowImage.Resampling.BICUBIC)
    left, top = (wide - size) // 2, (high - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)))
