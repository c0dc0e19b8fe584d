"""Pre-train the tiny CLIP pair on Shapes: `python -m train clip`. What the stock CLIP is to the full-size preset.

Loss: the symmetric contrastive loss of CLIP between pictures and captions, plus a dense one on the patch features
that the rest of the system reads (hidden state -2): each patch names the object that covers most of it (shape,
colour, size) and where its box is. Without the dense part boxes take far longer to learn (the features of a small
contrastive tower hardly keep positions).

Parts: `clip_vision` (image encoder), `clip_text` (the generators' condition encoder), and `clip_heads`, which only
training needs.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.recipe import Build, Job, Objective, Recipe, start
from train.recipes.clip_data import Batch, Captioned
from train.recipes.clip_patches import PatchHeads, dense_losses
from train.recipes.clip_scores import HeldOut
from train.recipes.specialists import refuse_stock
from train.settings import Settings
from vitron.config import ClipConfig
from vitron.encoders.image import ImageEncoder
from vitron.presets import preset as configuration
from vitron.specialists.text_condition import TextCondition

SETTINGS = Settings(
    steps=1500,
    batch=128,
    # Pictures are compared with the captions of their micro-batch: fewer of them would make that too easy.
    micro_batch=64,
    lr=6e-4,
    muon_lr=0.012,
    warmup=30,
    validate_steps=200,
)
MAX_SCALE = 50.0
NUM_HELD_OUT = 256


class ClipHeads(PatchHeads):
    """Projections into the common space and its temperature beside them."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__(config)
        dim = int(config.vision["projection_dim"])
        self.image_projection = nn.Linear(config.width, dim, bias=False)
        self.text_projection = nn.Linear(int(config.text["hidden_size"]), dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))


class ClipPair(Objective):
    """Both towers and their heads."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the contrastive loss and the parts of the dense one."""
        features, pictures, texts = self.embed(batch.pixels, batch.ids)
        contrastive = self._contrastive(pictures.float(), texts.float())
        return {"contrastive": contrastive, **dense_losses(self.heads, features, batch.labels, batch.places)}

    def embed(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return patch features `[B, N, D]` and normalised picture and text embeddings `[B, dim]`."""
        encoder, heads = self.parts["clip_vision"], self.heads
        assert isinstance(encoder, ImageEncoder)
        seen = encoder.vision_tower(pixel_values=pixels, output_hidden_states=True)
        features = seen.hidden_states[encoder.config.feature_layer][:, 1:]
        read = self.parts["clip_text"](input_ids=ids)
        pictures = F.normalize(heads.image_projection(seen.pooler_output), dim=-1)
        texts = F.normalize(heads.text_projection(read.pooler_output), dim=-1)
        return features, pictures, texts

    @property
    def heads(self) -> ClipHeads:
        """What only training needs."""
        heads = self.parts["clip_heads"]
        assert isinstance(heads, ClipHeads)
        return heads

    def _contrastive(self, pictures: Tensor, texts: Tensor) -> Tensor:
        # Cosines in bf16 would be too coarse for a temperature of 50.
        with torch.autocast(pictures.device.type, enabled=False):
            scale = self.heads.logit_scale.clamp(max=math.log(MAX_SCALE)).exp()
            logits = scale * pictures @ texts.T
            target = torch.arange(len(logits), device=logits.device)
            return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def make(build: Build) -> Job:
    """Build the pair, from the weights as far as they have it."""
    new: set[str] = set()
    config, tokenizer = build.config.clip, build.weights.tokenizer("clip_tokenizer")
    parts: dict[str, nn.Module] = {
        "clip_vision": ImageEncoder(config),
        "clip_text": TextCondition.from_config(config.text, tokenizer).encoder.requires_grad_(True),
        "clip_heads": ClipHeads(config),
    }
    for name, part in parts.items():
        start(part, name, build.weights, new)
    pair = ClipPair(parts).to(build.device)
    held_out = HeldOut(
        pair, Captioned(config, tokenizer, split="val", size=build.settings.measured(NUM_HELD_OUT)), build.device
    )
    return Job(
        objective=pair,
        batches=Captioned(config, tokenizer, size=build.settings.micro_batch, seed=build.settings.seed),
        validate=held_out.measure,
        score="shape",
        draw=held_out.draw,
        adam_names=("clip_heads",),
        new=frozenset(new),
    )


def clip(preset: str) -> Recipe:
    """Return the recipe that pre-trains the CLIP pair."""
    refuse_stock("clip", preset, configuration(preset).clip.pretrained, "alignment")
    return Recipe(
        name="clip",
        about="pre-training: image encoder and text encoder, a CLIP pair",
        preset=preset,
        settings=SETTINGS,
        make=make,
        rates={"clip_vision": 1.0, "clip_text": 1.0, "clip_heads": 1.0},
    )
