"""Pre-train the tiny CLIP pair on Shapes: what the stock CLIP checkpoint is to the full-size preset.

Loss: the symmetric contrastive loss of CLIP between pictures and captions, plus a dense one on the patch features
that the rest of the system reads (hidden state -2): each patch names the object that covers most of it (shape,
colour, size) and where its box is. Without the dense part boxes take far longer to learn (the features of a small
contrastive tower hardly keep positions).

Run: python -m train.recipes.clip --out runs/clip
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

from train.data.shapes import captions
from train.data.shapes.render import boxes, masks, render
from train.data.shapes.scene import COLORS, SHAPES, SIZES, Scene, scene_at
from train.loop import Loop, LoopConfig, arguments, load_parts, one_thread
from train.precision import mixed_precision
from vitron.config import ClipConfig
from vitron.encoders.image import ImageEncoder
from vitron.presets import preset

TOKENIZER = "vitron/assets/tiny/clip_tokenizer"
WEIGHTS = {"shape": 3.0, "color": 1.0, "size": 1.0}
"""Shapes are by far the hardest to see in patches of 8 pixels: they need several patches put together."""
NAMES = {"shape": list(SHAPES), "color": list(COLORS), "size": list(SIZES)}


class ClipPair(nn.Module):
    """Both towers, their projections into the common space, and the heads of the dense loss."""

    def __init__(self, config: ClipConfig, vocab_size: int, eos: int) -> None:
        super().__init__()
        self.image = ImageEncoder(config)
        special = {"bos_token_id": 0, "eos_token_id": eos, "pad_token_id": eos}
        self.text = CLIPTextModel(CLIPTextConfig(vocab_size=vocab_size, **special, **config.text))
        dim, width = int(config.vision["projection_dim"]), int(config.text["hidden_size"])
        self.image_projection = nn.Linear(config.width, dim, bias=False)
        self.text_projection = nn.Linear(width, dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.dense = nn.ModuleDict({k: nn.Linear(config.width, len(v) + 1) for k, v in NAMES.items()})
        self.box = nn.Linear(config.width, 4)

    def forward(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return patch features `[B, N, D]` and normalised picture and text embeddings `[B, dim]`."""
        out = self.image.vision_tower(pixel_values=pixels, output_hidden_states=True)
        features = out.hidden_states[self.image.config.feature_layer][:, 1:]
        pictures = F.normalize(self.image_projection(out.pooler_output), dim=-1)
        texts = F.normalize(self.text_projection(self.text(input_ids=ids).pooler_output), dim=-1)
        return features, pictures, texts


def patch_targets(scene: Scene, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels `int [grid*grid, 3]` (0: background) and boxes `[grid*grid, 4]` of the covering objects."""
    labels, places = np.zeros((grid * grid, 3), np.int64), np.zeros((grid * grid, 4), np.float32)
    visible = masks(scene).astype(np.float32)
    if not len(visible):
        return labels, places
    side = visible.shape[1] // grid
    cover = visible.reshape(len(visible), grid, side, grid, side).mean((2, 4)).reshape(len(visible), -1)
    owner, share = cover.argmax(0), cover.max(0)
    table = np.array([[NAMES[k].index(getattr(o, k)) + 1 for k in NAMES] for o in scene.objects])
    inside = share > 0.1
    labels[inside] = table[owner[inside]]
    places[inside] = boxes(scene)[owner[inside]]
    return labels, places


def clip_losses(pair: ClipPair, pixels: Tensor, ids: Tensor, labels: Tensor, places: Tensor) -> dict[str, Tensor]:
    """Return the contrastive loss and the parts of the dense one."""
    with mixed_precision():
        features, pictures, texts = pair(pixels, ids)
        dense = [pair.dense[name](features).float() for name in NAMES]
        places_hat = pair.box(features).float()
    logits = pair.logit_scale.clamp(max=math.log(50)).exp() * pictures.float() @ texts.float().T
    target = torch.arange(len(logits))
    found = labels[..., 0] > 0
    parts = {"contrastive": (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2}
    for column, (name, value) in enumerate(zip(NAMES, dense, strict=True)):
        weight = torch.where(found, 1.0, 0.25).flatten()
        loss = F.cross_entropy(value.flatten(0, 1), labels[..., column].flatten(), reduction="none")
        parts[name] = WEIGHTS[name] * (loss * weight).sum() / weight.sum()
    parts["box"] = 4 * F.l1_loss(places_hat[found], places[found])
    return parts


class Data:
    """Batches by step number."""

    def __init__(self, pair: ClipPair, batch: int, split: str = "train") -> None:
        self.pair, self.batch, self.split = pair, batch, split
        self.tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return pixels, token ids, patch labels and patch boxes of a step."""
        scenes = [scene_at(self.split, step * self.batch + i) for i in range(self.batch)]
        rng = np.random.default_rng([7, step])
        texts = [_caption(scene, rng) for scene in scenes]
        ids = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt").input_ids
        targets = [patch_targets(scene, self.pair.image.config.grid) for scene in scenes]
        pixels = self.pair.image.preprocess([render(scene) for scene in scenes])
        labels, places = (torch.from_numpy(np.stack(x)) for x in zip(*targets, strict=True))
        return pixels, ids, labels, places


def _caption(scene: Scene, rng: np.random.Generator) -> str:
    # Canonical captions are what conditions the generators; a third of the diet keeps their words well known.
    return captions.canonical_caption(scene) if rng.random() < 0.3 else captions.caption(scene, rng)


@torch.no_grad()
def validate(pair: ClipPair, data: Data) -> dict[str, float]:
    """Return retrieval accuracy among `batch` pictures and the dense heads' accuracy on held-out scenes."""
    pixels, ids, labels, places = data(0)
    features, pictures, texts = pair(pixels, ids)
    hits = (pictures @ texts.T).argmax(1) == torch.arange(len(texts))
    found = labels[..., 0] > 0
    result = {"val_retrieval": hits.float().mean().item()}
    for column, name in enumerate(NAMES):
        right = pair.dense[name](features).argmax(-1) == labels[..., column]
        result[f"val_{name}"] = right[found].float().mean().item()
    result["val_box_l1"] = F.l1_loss(pair.box(features)[found], places[found]).item()
    return result


def main() -> None:
    """Train; the towers are exported from the checkpoint by `train.export`."""
    args = arguments(__doc__, steps=1300, batch=64, lr=6e-4, muon_lr=0.012, start="").parse_args()
    one_thread()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    pair = ClipPair(preset("tiny").clip, len(tokenizer), tokenizer.eos_token_id)
    if args.start:
        load_parts({"clip": pair}, Path(args.start))
    data, held_out = Data(pair, args.batch), Data(pair, 256, "val")
    config = LoopConfig(
        out=args.out,
        steps=args.steps,
        batch=args.batch,
        lr=args.lr,
        muon_lr=args.muon_lr,
        adam_names=("projection", "dense", "box"),
        warmup=30,
    )
    Loop({"clip": pair}, config).run(lambda step: clip_losses(pair, *data(step)), lambda step: validate(pair, held_out))
    save_file(pair.text.state_dict(), args.out / "text.safetensors")  # what the generator's recipe reads


if __name__ == "__main__":
    main()
