"""I2VGen-XL: the specialist for Video Generation that begins with a picture (verb "animation").

The first frame is the picture, stretched to the clips' size and as the autoencoder keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import I2VGenXLUNet
from PIL import Image as PilImage
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, PreTrainedTokenizerBase

from vitron.config import I2VGenConfig, VitronConfig
from vitron.diffusion.latents import LatentCodec, to_images, to_pixels
from vitron.diffusion.warp import composed, fine_share
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.denoising import Prepared
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.text_condition import TextCondition
from vitron.specialists.video_denoiser import I2VGenDenoiser, VideoCondition
from vitron.specialists.video_diffusion import Opening, VideoDiffusion, condition_projection, load_stock
from vitron.types import Image, SpecialistOutput
from vitron.weights import Weights


class PictureEmbedding(nn.Module):
    """CLIP's projected embedding of a whole picture."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: CLIPVisionModelWithProjection, config: I2VGenConfig) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, image: Image) -> Tensor:
        """Return the embedding [D] of a picture, which is stretched to the encoder's square."""
        side = int(self.encoder.config.image_size)
        pixels_3HW = torch.from_numpy(stretched(image, side, side).copy()).permute(2, 0, 1).to(self.mean) / 255.0
        normal = ((pixels_3HW - self.mean) / self.std).to(self.encoder.dtype)
        embedding: Tensor = self.encoder(pixel_values=normal[None]).image_embeds[0]
        return embedding


class I2VGen(VideoDiffusion):
    """Image-to-video diffusion as a `Specialist`.

    Attributes:
        looks: Makes the picture's embedding; None: the UNet knows the picture by its latents alone.
    """

    denoiser: I2VGenDenoiser

    def __init__(
        self,
        config: I2VGenConfig,
        *,
        denoiser: I2VGenDenoiser,
        codec: LatentCodec,
        text: TextCondition,
        projection: OutputProjection,
        looks: PictureEmbedding | None = None,
    ) -> None:
        super().__init__(config, denoiser=denoiser, codec=codec, text=text, projection=projection)
        self.looks, self.knows_fps = looks, config.knows_fps

    @classmethod
    def from_config(cls, config: I2VGenConfig, *, signal_width: int, tokenizer: PreTrainedTokenizerBase) -> I2VGen:
        """Build one with random weights."""
        text = TextCondition.from_config(config.text, tokenizer)
        text.layer = config.text_layer
        vision = config.vision and CLIPVisionModelWithProjection(CLIPVisionConfig(**config.vision))
        return cls(
            config,
            denoiser=I2VGenDenoiser.from_config(config),
            codec=LatentCodec.from_config(config.vae),
            text=text,
            projection=condition_projection(config, signal_width),
            looks=PictureEmbedding(vision, config) if vision else None,
        )

    @classmethod
    def from_pipeline(
        cls,
        folder: str,
        config: I2VGenConfig,
        *,
        signal_width: int,
        revision: str = "main",
        dtype: torch.dtype = torch.float32,
    ) -> I2VGen:
        """Load the stock parts of a diffusers I2VGen-XL pipeline; the output projection stays random.

        Args:
            folder: A folder or repository in the layout of `I2VGenXLPipeline`. Its own configuration of UNet, VAE
                and encoders is used in place of `config`'s.
            config: Everything else.
            signal_width: d_v.
            revision: Of a repository.
            dtype: Of the stock weights.
        """
        unet, codec, text = load_stock(
            folder, I2VGenXLUNet, revision=revision, dtype=dtype, text_layer=config.text_layer
        )
        encoder = CLIPVisionModelWithProjection.from_pretrained(
            folder, subfolder="image_encoder", revision=revision, dtype=dtype
        )
        return cls(
            config,
            denoiser=I2VGenDenoiser(unet),
            codec=codec,
            text=text,
            projection=condition_projection(config, signal_width),
            looks=PictureEmbedding(encoder, config),
        )

    @torch.no_grad()
    def opening(self, request: SpecialistRequest) -> Opening:
        """Return the picture that the clip begins with.

        Raises:
            ValueError: There is no picture.
        """
        if request.image is None:
            raise ValueError("image: got none, expected the picture that the clip begins with")
        weights = self.denoiser.signal_segment
        pixels = to_pixels(stretched(request.image, self.config.width, self.config.height)[None])
        first = self.codec.encode(pixels.to(weights))[0]
        looks = torch.zeros_like(weights) if self.looks is None else self.looks(request.image)
        return Opening(first=first, looks=looks)

    def prepare(self, request: SpecialistRequest) -> Prepared[VideoCondition]:
        """Return the latent that a request needs; a network that copies has its clip put together of the picture."""
        prepared = super().prepare(request)
        image, (job,) = request.image, prepared.jobs
        if self.denoiser.alphas is None or image is None:
            return prepared

        def finish(latents: Sequence[Tensor]) -> SpecialistOutput:
            (clip,), (made,) = prepared.finish(latents).clips, latents
            return SpecialistOutput(
                clips=(replace(clip, frames=self._composed(image, job.condition, made, clip.frames)),)
            )

        return Prepared(prepared.jobs, finish)

    @torch.no_grad()
    def _composed(
        self, image: Image, condition: VideoCondition, latents_CFhw: Tensor, drawn_FHW3: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.uint8]:
        """Draw again what stands still and what moves, by the motion that the network sees in its finished clip."""
        last = torch.zeros(1, dtype=torch.long, device=latents_CFhw.device)
        _, motion = self.denoiser.observe(latents_CFhw[None], last, [condition])
        assert motion is not None
        height, width = drawn_FHW3.shape[1:3]
        share_HW = F.interpolate(fine_share(motion)[:, None], size=(height, width))[0, 0]
        # One shift holds for a whole frame.
        shift_2F = motion.shift[0, :, :, 0, 0].float() * self.codec.downscale
        picture = to_pixels(stretched(image, width, height)[None])[0].to(share_HW)
        frames = composed(picture, to_pixels(drawn_FHW3).to(share_HW), share_HW, shift_2F)
        return np.stack(to_images(frames))


def stretched(image: Image, width: int, height: int) -> Image:
    """Return a picture stretched to a size."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(PilImage.fromarray(image).resize((width, height), PilImage.Resampling.BILINEAR))


def load_i2vgen(config: VitronConfig, weights: Weights) -> I2VGen:
    """Return the image-to-video generator, from a stock pipeline if the preset names one."""
    settings, width = config.i2vgen, config.signal.width
    if settings.pretrained:
        stock = settings.pretrained
        made = I2VGen.from_pipeline(stock.repository, settings, signal_width=width, revision=stock.revision)
    else:
        made = I2VGen.from_config(settings, signal_width=width, tokenizer=weights.tokenizer("clip_tokenizer"))
        weights.load("clip_text", made.text.encoder)
        weights.load("gligen_vae", made.codec)
        weights.load("i2vgen_unet", made.denoiser)
        if made.looks is not None:
            weights.load("i2vgen_vision", made.looks)
    weights.load("i2vgen_projection", made.projection)
    made.text.clear_cache()
    return made
