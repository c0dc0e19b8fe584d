"""The image encoder: CLIP's vision tower, patch features before any projection (paper §3.1).

It knows nothing of prompts, regions or the LLM. Pictures are stretched to the tower's square, not padded: a
coordinate in [0, 1] then means the same place in the picture, in the feature grid and in the LLM's text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from vitron.config import ClipConfig, VitronConfig
from vitron.types import Image
from vitron.weights import Weights


class ImageEncoder(nn.Module):
    """CLIP vision tower -> patch features `[B, N, D]` of hidden state `feature_layer`, class token dropped."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_tower = CLIPVisionModel(CLIPVisionConfig(**config.vision))

    def preprocess(self, images: Sequence[Image]) -> Tensor:
        """Stretch and normalise pictures `uint8 [H, W, 3]` of any size -> float `[B, 3, S, S]`."""
        size = self.config.image_size
        stretched = np.stack([stretch(image, size) for image in images])
        pixels = torch.from_numpy(stretched).permute(0, 3, 1, 2).float() / 255
        mean, std = torch.tensor(self.config.mean), torch.tensor(self.config.std)
        return (pixels - mean[:, None, None]) / std[:, None, None]

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels `[B, 3, S, S]` to features `[B, N, D]`, row-major over the patch grid."""
        states = self.vision_tower(pixel_values=pixels, output_hidden_states=True).hidden_states
        return states[self.config.feature_layer][:, 1:]

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> Tensor:
        """Return features `[B, N, D]` of pictures of any size; raises ValueError for an empty list."""
        if not images:
            raise ValueError("images: got none, expected at least one picture")
        parameter = next(self.parameters())
        return self(self.preprocess(images).to(parameter)).float()


def stretch(image: Image, size: int) -> Image:
    """Resize a picture to `[size, size, 3]`, bicubic as CLIP was trained; unchanged when it fits."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(PilImage.fromarray(image).resize((size, size), PilImage.Resampling.BICUBIC))


def load_image_encoder(config: VitronConfig, weights: Weights) -> ImageEncoder:
    """Return the image encoder, from the stock checkpoint if the preset names one."""
    encoder = ImageEncoder(config.clip)
    if config.clip.pretrained:
        stock = config.clip.pretrained
        encoder.vision_tower = type(encoder.vision_tower).from_pretrained(stock.repository, revision=stock.revision)
    else:
        weights.load("clip_vision", encoder)
    return encoder.eval()
