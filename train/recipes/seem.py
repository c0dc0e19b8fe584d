"""Pre-train the SEEM of the tiny preset on Shapes pictures.

    python -m train.recipes.seem --minutes 40 --out runs/seem

Resumes from `last.pt` in the output folder. When done it writes `seem.safetensors` (the state of a `SeemNetwork`) and
`seem.json` with its scores. The signal is simulated by token states of a description of the target; the language model
learns to give such states later, and nothing here changes then.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoTokenizer

from train.data.shapes import captions
from train.data.shapes.scene import COLORS, SHAPES, scene_rng
from train.muon import Muon, split_parameters
from train.precision import mixed_precision
from train.recipes.seem_prompts import STREAM, Picture, Prompt, picture_at, with_references
from train.recipes.seem_scores import Scores, contact_sheet, score
from train.recipes.support import Budget, Ema, RunLog, cosine, save_atomically
from vitron.presets import preset
from vitron.specialists.seem.backbone import FocalBlock
from vitron.specialists.seem.losses import Losses, Names, Targets, seem_losses
from vitron.specialists.seem.network import SeemNetwork
from vitron.specialists.seem.prompts import Marks, Prompts, marks_of
from vitron.types import BoolMask

logger = logging.getLogger(__name__)

TOKENIZER = Path("vitron/assets/tiny/clip_tokenizer")
REPORT_EVERY = 25
MAX_OBJECTS = 4
# How far the simulated signal is shaken, as a part of its spread: the projected one will be inexact too.
SIGNAL_NOISE = 0.15
# First and last layers, embeddings and depthwise kernels stay with AdamW.
ADAM_NAMES = ("embed", "focal_layers", "lang_proj", "query_feat", "pn_indicator", "sptial", "_class")


@dataclass(frozen=True, kw_only=True)
class SeemRecipe:
    """Settings of the run."""

    steps: int = 6000
    minutes: float | None = None
    batch_size: int = 16
    num_worded: int = 3
    num_drawn: int = 2
    muon_lr: float = 0.01
    adam_lr: float = 1.5e-3
    warmup: int = 40
    checkpoint_seconds: float = 150.0
    score_seconds: float = 300.0
    seed: int = 0


def build() -> SeemNetwork:
    """A fresh network with the initial values that suit training from nothing."""
    config = preset("tiny").seem
    network = SeemNetwork(config, AutoTokenizer.from_pretrained(TOKENIZER))
    for module in network.modules():
        if isinstance(module, FocalBlock):
            # The published 1e-4 suits a deep backbone and a long schedule.
            nn.init.constant_(module.gamma_1, 0.5)
            nn.init.constant_(module.gamma_2, 0.5)
    nn.init.constant_(network.lang_encoder.logit_scale, math.log(10.0))
    nn.init.constant_(network.predictor.match_bias, -2.0)
    return network


class SeemRun:
    """The state of a run: what a checkpoint holds."""

    def __init__(self, recipe: SeemRecipe, out: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out = recipe, out
        self.network = build()
        matrices, others = split_parameters(self.network, ADAM_NAMES)
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, recipe.muon_lr),
            torch.optim.AdamW(others, recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.ema = Ema(self.network, 0.998)
        self.budget = Budget(recipe.steps, recipe.minutes)
        self._saved = self._scored = time.monotonic()

    def resume(self) -> None:
        """Load `last.pt` if there is one."""
        path = self.out / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.ema.shadow = state["ema"]
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.budget.load_state_dict(state["budget"])
        logger.info("resumed at step %d", self.budget.step)

    def train(self) -> None:
        """Run to the end of the budget."""
        log = RunLog(self.out, self.budget)
        while self.budget.progress < 1.0:
            log.add(self.train_step()._asdict(), self.recipe.batch_size)
            if self.budget.step % REPORT_EVERY == 0:
                log.report(lr=self.optimizers[0].param_groups[0]["lr"])
            now = time.monotonic()
            if now - self._saved > self.recipe.checkpoint_seconds:
                self.save()
                self._saved = now
            if now - self._scored > self.recipe.score_seconds:
                log.report(**self.score(num_scenes=100).as_dict())
                self._scored = now
        self.save()

    def train_step(self) -> Losses:
        """Take one step on pictures that no other step sees."""
        step, recipe = self.budget.step, self.recipe
        factor = cosine(self.budget.progress, step, recipe.warmup)
        for optimizer, peak in zip(self.optimizers, (recipe.muon_lr, recipe.adam_lr), strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
        first = step * recipe.batch_size
        pictures = [
            picture_at("train", first + i, recipe.num_worded, recipe.num_drawn) for i in range(recipe.batch_size)
        ]
        rng = scene_rng("train", step, stream=STREAM + 1)
        losses = batch_losses(self.network, with_references(pictures, rng))
        self.network.zero_grad()
        losses.total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.budget.step += 1
        self.ema.update(self.network, self.budget.step)
        return losses

    def save(self) -> None:
        """Write the checkpoint."""
        state: dict[str, Any] = {
            "recipe": asdict(self.recipe),
            "network": self.network.state_dict(),
            "ema": self.ema.shadow,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "budget": self.budget.state_dict(),
        }
        save_atomically(self.out / "last.pt", state)
        logger.info("saved at step %d", self.budget.step)

    def averaged(self) -> SeemNetwork:
        """Return a network with the averaged weights."""
        network = build()
        network.load_state_dict(self.ema.shadow)
        return network.eval()

    def score(self, num_scenes: int) -> Scores:
        """Score the averaged weights on held-out scenes and draw the first of them."""
        network = self.averaged()
        contact_sheet(network, self.out / "sheet.png")
        return score(network, "val", num_scenes)

    def export(self) -> None:
        """Write the weights that the preset loads, and their scores."""
        scores = self.score(num_scenes=200).as_dict()
        facts = {"ciou": scores, "step": self.budget.step, "recipe": asdict(self.recipe)}
        half = {name: value.half() for name, value in self.averaged().state_dict().items()}
        save_file(half, self.out / "seem.safetensors")
        (self.out / "seem.json").write_text(json.dumps(facts, indent=2) + "\n")
        logger.info("exported %s", facts)


def batch_losses(network: SeemNetwork, pictures: Sequence[Picture]) -> Losses:
    """Losses of a batch: pictures are read once; worded and drawn prompts are decoded apart.

    Drawn prompts alone bring no tokens that take part in self-attention, so that their rows are far cheaper.
    """
    pixels = torch.from_numpy(np.stack([p.image for p in pictures])).permute(0, 3, 1, 2)
    # The fused attention kernel's backward is slow in bf16 on CPUs.
    with mixed_precision(), sdpa_kernel(SDPBackend.MATH):
        features = network.features(pixels)
        losses = []
        for group in ([p.worded for p in pictures], [p.drawn for p in pictures]):
            flat = [prompt for part in group for prompt in part]
            prompts = prompts_of(network, flat, len(pictures))
            names = names_of(network, pictures, group) if group[0] is pictures[0].worded else []
            losses.append(seem_losses(network(features, prompts), targets_of(pictures, group), names))
    weights = [len(pictures[0].worded), len(pictures[0].drawn)]
    mixed = [
        sum(weight * part for weight, part in zip(weights, parts, strict=True)) / sum(weights)
        for parts in zip(*losses, strict=True)
    ]
    return Losses(*mixed)


def names_of(network: SeemNetwork, pictures: Sequence[Picture], groups: Sequence[Sequence[Prompt]]) -> list[Names]:
    """What each object is called: colour and shape among all of them, and in full among the batch's objects."""
    scale = network.lang_encoder.logit_scale.exp().float()
    every = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
    full = [[captions.full_description(p.scene, i) for i in range(len(p.masks))] for p in pictures]
    short = [[captions.name(obj) for obj in p.scene.objects] for p in pictures]
    found = []
    for texts, called in ((every, short), (sorted({text for row in full for text in row}), full)):
        index = {text: i for i, text in enumerate(texts)}
        labels = torch.zeros(sum(len(group) for group in groups), MAX_OBJECTS, dtype=torch.long)
        row = 0
        for group, names in zip(groups, called, strict=True):
            labels[row, : len(names)] = torch.tensor([index[name] for name in names])
            row += len(group)
        found.append(Names(network.lang_encoder(texts).classes, labels, scale))
    return found


def prompts_of(network: SeemNetwork, prompts: Sequence[Prompt], num_pictures: int) -> Prompts:
    """Tensors of prompts; kinds that no row has are left out."""
    rows = len(prompts)
    limit = network.config.max_spatial
    own = [(r, p.drawn, r * num_pictures // rows) for r, p in enumerate(prompts) if p.reference is None]
    other = [(r, p.drawn, p.reference) for r, p in enumerate(prompts) if p.reference is not None]
    text = None
    if any(p.text for p in prompts):
        text = network.lang_encoder([p.text for p in prompts])
        text = text._replace(valid=text.valid & torch.tensor([bool(p.text) for p in prompts])[:, None])
    signal, given = None, torch.tensor([bool(p.signal) for p in prompts])
    if given.any():
        signal = simulated_signal(network, [p.signal for p in prompts])
    spatial, visual = _marks(own, limit), _marks(other, limit)
    return Prompts(rows, text, signal, given if signal is not None else None, spatial, visual)


def _marks(drawn: Sequence[tuple[int, BoolMask | None, int]], limit: int) -> Marks | None:
    """Marks of the (row, drawing, picture) that have a drawing."""
    found = [(row, mask, picture) for row, mask, picture in drawn if mask is not None]
    if not found:
        return None
    rows, masks, pictures = zip(*found, strict=True)
    return marks_of(masks, rows, pictures, limit)


@torch.no_grad()
def simulated_signal(network: SeemNetwork, texts: Sequence[str]) -> Tensor:
    """Token states of descriptions, shaken while training, cut off from the encoder."""
    states = network.signal_targets(texts)
    noise = SIGNAL_NOISE * states.std() if network.training else 0.0
    return states + noise * torch.randn_like(states)


def targets_of(pictures: Sequence[Picture], groups: Sequence[Sequence[Prompt]]) -> Targets:
    """What every row of a group of prompts should give."""
    rows = sum(len(group) for group in groups)
    side = pictures[0].masks.shape[-2:]
    masks = torch.zeros(rows, MAX_OBJECTS, *side)
    present, meant = torch.zeros(2, rows, MAX_OBJECTS, dtype=torch.bool)
    every = torch.zeros(rows, dtype=torch.bool)
    row = 0
    for picture, group in zip(pictures, groups, strict=True):
        every[row] = True
        for prompt in group:
            count = len(picture.masks)
            masks[row, :count] = torch.from_numpy(picture.masks).float()
            present[row, :count] = True
            meant[row, sorted(prompt.meant)] = True
            row += 1
    return Targets(masks, present, meant, every)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=SeemRecipe.steps)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = SeemRun(SeemRecipe(steps=arguments.steps, minutes=arguments.minutes), arguments.out)
    run.resume()
    run.train()
    run.export()


if __name__ == "__main__":
    main()
