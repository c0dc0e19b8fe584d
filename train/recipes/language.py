"""Train the tiny LLM: alignment, invocation, decoder alignment and image grounding (paper steps 1.1, 1.2, 1.3, 2.1).

At full size these are separate steps on a pre-trained LLM with LoRA. The tiny LLM has no pre-training to start from,
so all of it is trained, and the steps differ in what they mix: `understand` (captions, regions, questions, boxes)
first, then everything with the signal tokens' distance to the frozen condition encoders' text states.

Run: python -m train.recipes.language --clip runs/clip --out runs/language
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from train.data.sample import Sample
from train.data.shapes.dialogues import PACKED_TASKS, build, packed
from train.loop import Loop, LoopConfig, arguments, load_parts, one_thread
from train.precision import mixed_precision
from train.recipes.alignment import Target, make_targets
from train.recipes.tokenizers import coordinate_words
from vitron.config import VitronConfig
from vitron.encoders.image import ImageEncoder
from vitron.encoders.region import RegionEncoder, make_region_encoder
from vitron.llm.core import LanguageModel, Learned, order_coordinates
from vitron.losses import language_loss
from vitron.presets import preset
from vitron.prompt import IGNORE, PromptWriter
from vitron.types import DrawnRegion, Message
from vitron.weights import ASSETS, Weights

INVOCATIONS = ("generate", "generate_like", "segment_text", "segment_mark", "segment_reference")
ALIGNMENT = 0.04
"""Weight of a distance: text states are about 11 long, and next-token losses end near 0.1."""
UNDERSTAND = (
    *INVOCATIONS,
    "generate",
    "segment_text",
    "segment_mark",
    "rec",
    "chat",
    "vqa",
    "region_caption",
    "caption",
)
ALIGN = (
    *("generate",) * 6,
    *("generate_like",) * 3,
    *("segment_text",) * 4,
    *("segment_mark", "segment_reference") * 2,
    *("rec", "chat", "vqa", "region_caption"),
)
LOOK = (
    *("generate", "generate_like", "segment_text", "segment_mark", "segment_reference") * 2,
    *("rec", "chat", "chat_picture", "vqa", "region_caption", "caption"),
)
MIXES = {"understand": UNDERSTAND, "align": ALIGN, "look": LOOK}
"""What single requests a step draws from, in turn: broad first, then those that carry a signal, then those that want
a close look."""
PACKED = {"look": ("caption", *("vqa",) * 6, "rec", "rec", "region_caption", *("region_vqa",) * 2, "grounded_caption")}
"""What packed conversations are made of, where it differs from the default."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A right-padded batch: ids and labels `[B, T]`, pictures in reading order, and regions on them."""

    ids: Tensor
    labels: Tensor
    pixels: Tensor | None
    owners: Tensor | None
    weights: Tensor | None
    geometry: Tensor | None
    samples: list[Sample]


def messages(sample: Sample) -> list[Message]:
    """Return a sample's conversation; its pictures and regions belong to the first user turn that names them."""
    images, regions = list(sample.images), list(sample.marks)
    turns = []
    for turn in sample.turns:
        mine = [images.pop(0) for _ in range(turn.text.count("<image>"))] if turn.role == "user" else []
        drawn = [regions.pop(0) for _ in range(turn.text.count("<region>"))] if turn.role == "user" else []
        turns.append(
            Message(
                role=turn.role,
                text=turn.text,
                images=tuple(mine),
                regions=tuple(DrawnRegion(kind="mask", mask=mask, image=index) for index, mask in drawn),
            )
        )
    return turns


class Collator:
    """Samples -> Batch."""

    def __init__(self, writer: PromptWriter, image: ImageEncoder, region: RegionEncoder) -> None:
        self.writer, self.image, self.region = writer, image, region

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Write prompts, pad them, and lay pictures and regions out in reading order."""
        pad = self.writer.tokenizer.pad_token_id
        prompts = [self.writer.write(messages(sample), answer=False) for sample in samples]
        length = max(len(prompt.input_ids) for prompt in prompts)
        ids = torch.full((len(prompts), length), pad)
        labels = torch.full((len(prompts), length), IGNORE)
        for row, prompt in enumerate(prompts):
            size = len(prompt.input_ids)
            ids[row, :size], labels[row, :size] = torch.tensor(prompt.input_ids), torch.tensor(prompt.labels)
        pictures = [image for sample in samples for image in sample.images]
        starts = np.cumsum([0, *(len(sample.images) for sample in samples)])
        marks = [(int(starts[i]) + k, m) for i, sample in enumerate(samples) for k, m in sample.marks]
        weights = geometry = owners = None
        if marks:
            weights, geometry = self.region.prepare([mask for _, mask in marks])
            owners = torch.tensor([owner for owner, _ in marks])
        pixels = self.image.preprocess(pictures) if pictures else None
        return Batch(ids=ids, labels=labels, pixels=pixels, owners=owners, weights=weights,
                     geometry=geometry, samples=list(samples))  # fmt: skip


class Assistant(nn.Module):
    """The parts that this recipe trains, around a frozen image encoder."""

    def __init__(self, config: VitronConfig, tokenizer: PreTrainedTokenizerBase, image: ImageEncoder) -> None:
        super().__init__()
        self.language = LanguageModel(config, tokenizer)
        self.region = make_region_encoder(config)
        order_coordinates(self.language, tokenizer, coordinate_words())
        self._image = [image.eval().requires_grad_(False)]  # in a list: frozen, and not part of the checkpoint

    def forward(self, batch: Batch) -> Learned:
        """Run a batch."""
        features = regions = None
        if batch.pixels is not None:
            with torch.no_grad():
                features = self._image[0](batch.pixels)
            if batch.owners is not None and batch.weights is not None and batch.geometry is not None:
                regions = self.region(features[batch.owners].float(), batch.weights, batch.geometry)
        return self.language(batch.ids, batch.labels, features, regions)


def losses(assistant: Assistant, targets: dict[str, Target], batches: dict[str, Batch]) -> dict[str, Tensor]:
    """Return next-token losses per kind of batch and one distance per specialist."""
    parts: dict[str, Tensor] = {}
    for kind, batch in batches.items():
        with mixed_precision():
            learned = assistant(batch)
        parts[kind] = language_loss(learned.logits, learned.targets)
        for name, target in targets.items():
            distance = target.loss(learned, batch.samples)
            if distance is not None:
                parts[f"{kind}_{name}"] = ALIGNMENT * distance
    return parts


def samples_at(step: int, *, rows: int, single: int, turns: int, mix: str, seed: int = 0) -> dict[str, list[Sample]]:
    """Return the training samples of a step: packed conversations about one picture, and single requests."""
    tasks, talk = MIXES[mix], PACKED.get(mix, PACKED_TASKS)
    chats = [packed("train", step * rows + i, turns, seed, talk) for i in range(rows)]
    requests = [build(tasks[(step * single + i) % len(tasks)], "train", step * single + i, seed) for i in range(single)]
    return {"chat": chats, "request": requests}


@torch.no_grad()
def validate(assistant: Assistant, collate: Collator, count: int = 48) -> dict[str, float]:
    """Return teacher-forced loss and token accuracy per task on held-out samples."""
    assistant.eval()
    result = {}
    for task in dict.fromkeys(UNDERSTAND):
        batch = collate([build(task, "val", index) for index in range(count)])
        learned = assistant(batch)
        right = learned.logits.argmax(-1) == learned.targets
        result[f"val_{task}"] = language_loss(learned.logits, learned.targets).item()
        result[f"val_{task}_tokens"] = right.float().mean().item()
    assistant.train()
    return result


def load_clip(config: VitronConfig, run: Path) -> ImageEncoder:
    """Return the image encoder of a CLIP run."""
    encoder = ImageEncoder(config.clip)
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)["parts"]["clip"]
    encoder.load_state_dict({k.removeprefix("image."): v for k, v in state.items() if k.startswith("image.")})
    return encoder


def main() -> None:
    """Train; parts are exported by `train.export`."""
    parser = arguments(
        __doc__,
        steps=4000,
        rows=10,
        single=20,
        turns=5,
        lr=2e-3,
        muon_lr=0.015,
        clip="runs/clip",
        seem="",
        start="",
        mix="understand",
        seed=0,
    )
    args = parser.parse_args()
    one_thread()
    torch.manual_seed(0)
    config, tokenizer = preset("tiny"), Weights(ASSETS / "tiny").tokenizer()
    assistant = Assistant(config, tokenizer, load_clip(config, Path(args.clip)))
    targets = make_targets(config, Path(args.clip), Path(args.seem) if args.seem else None)
    writer = PromptWriter(tokenizer=tokenizer, num_image_tokens=config.num_image_tokens,
                          num_signal_tokens=config.signal.num_tokens)  # fmt: skip
    collate = Collator(writer, assistant._image[0], assistant.region)

    def step(number: int) -> dict[str, Tensor]:
        drawn = samples_at(number, rows=args.rows, single=args.single, turns=args.turns, mix=args.mix, seed=args.seed)
        return losses(assistant, targets, {kind: collate(samples) for kind, samples in drawn.items()})

    parts = {"assistant": assistant, **{f"target_{name}": target for name, target in targets.items()}}
    if args.start:
        load_parts(parts, Path(args.start))
    loop = LoopConfig(
        out=args.out,
        steps=args.steps,
        batch=args.rows + args.single,
        lr=args.lr,
        muon_lr=args.muon_lr,
        adam_names=("lm_head", "projector", "signal_head", "output.", "queries", "geometry.0"),
        warmup=60,
        ema=0.998,
        save_seconds=240,
    )
    Loop(parts, loop).run(step, lambda _: validate(assistant, collate))


if __name__ == "__main__":
    main()
