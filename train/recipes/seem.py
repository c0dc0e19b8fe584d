"""Pre-train the SEEM of the tiny preset on Shapes pictures: `python -m train seem`.

What the published SEEM is to the full-size preset. The signal is simulated by token states of a description of the
target; the language model learns to give such states later, and nothing here changes then. So a segmenter whose states
are in use goes on with `python -m train train.recipes.seem:seem_masks`, which leaves them as they are.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerBase

from train.recipe import Build, Job, Objective, Recipe, start
from train.recipes.seem_data import Batch, Called, Group, batch_at
from train.recipes.seem_scores import contact_sheet, score
from train.recipes.specialists import refuse_stock
from train.settings import Settings
from vitron.config import SeemConfig
from vitron.presets import preset as configuration
from vitron.specialists.seem.backbone import FocalBlock
from vitron.specialists.seem.losses import (
    BCE_WEIGHT,
    DICE_WEIGHT,
    MATCH_WEIGHT,
    NAME_WEIGHT,
    Losses,
    Names,
    seem_losses,
)
from vitron.specialists.seem.network import SeemNetwork
from vitron.specialists.seem.prompts import Prompts

SETTINGS = Settings(
    steps=1600,
    batch=32,
    # Names and references are looked for among the pictures of a micro-batch: fewer of them would find few.
    micro_batch=16,
    lr=1.5e-3,
    muon_lr=0.01,
    weight_decay=0.0,
    warmup=40,
    ema=0.998,
    validate_steps=200,
)
NUM_HELD_OUT = 100
SIGNAL_NOISE = 0.15
"""How far the simulated signal is shaken, as a part of its spread: the projected one will be inexact too."""
ADAM_NAMES = ("embed", "focal_layers", "lang_proj", "query_feat", "pn_indicator", "sptial", "_class")
"""First and last layers, embeddings and depthwise kernels stay with AdamW."""
LOSS_WEIGHTS = {"bce": BCE_WEIGHT, "dice": DICE_WEIGHT, "match": MATCH_WEIGHT, "name": NAME_WEIGHT}


class Segmentation(Objective):
    """Masks and matches of every prompt, and names of every object."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted parts of SEEM's loss, averaged over prompts."""
        network = self.parts["seem"]
        assert isinstance(network, SeemNetwork)
        with _attention(batch.pixels.device):
            worded, drawn = batch_losses(network, batch)
        counts = len(batch.worded.texts), len(batch.drawn.texts)
        return {
            name: weight * (counts[0] * getattr(worded, name) + counts[1] * getattr(drawn, name)) / sum(counts)
            for name, weight in LOSS_WEIGHTS.items()
        }


def batch_losses(network: SeemNetwork, batch: Batch) -> tuple[Losses, Losses]:
    """Return the losses of the worded and of the drawn prompts; pictures are read once for both."""
    features = network.features(batch.pixels)
    worded = network(features, prompts_of(network, batch.worded))
    drawn = network(features, prompts_of(network, batch.drawn))
    names = [names_of(network, called) for called in batch.names]
    return seem_losses(worded, batch.worded.targets, names), seem_losses(drawn, batch.drawn.targets)


def prompts_of(network: SeemNetwork, group: Group) -> Prompts:
    """Return prompts as the network reads them; kinds that no row has are left out."""
    text, signal = None, None
    if any(group.texts):
        text = network.lang_encoder(group.texts)
        text = text._replace(valid=text.valid & group.has_text[:, None])
    if any(group.signals):
        signal = simulated_signal(network, group.signals)
    given = group.has_signal if signal is not None else None
    return Prompts(len(group.texts), text, signal, given, group.spatial, group.visual)


@torch.no_grad()
def simulated_signal(network: SeemNetwork, texts: tuple[str, ...]) -> Tensor:
    """Return token states of descriptions, shaken while training, cut off from the encoder."""
    states = network.signal_targets(texts)
    noise = SIGNAL_NOISE * states.std() if network.training else 0.0
    return states + noise * torch.randn_like(states)


def names_of(network: SeemNetwork, called: Called) -> Names:
    """Return names as the classification compares them."""
    scale = network.lang_encoder.logit_scale.exp().float()
    return Names(network.lang_encoder(called.texts).classes, called.labels, scale)


def fresh(config: SeemConfig, tokenizer: PreTrainedTokenizerBase) -> SeemNetwork:
    """Return a network with the initial values that suit training from nothing."""
    network = SeemNetwork(config, tokenizer)
    for module in network.modules():
        if isinstance(module, FocalBlock):
            # The published 1e-4 suits a deep backbone and a long schedule.
            nn.init.constant_(module.gamma_1, 0.5)
            nn.init.constant_(module.gamma_2, 0.5)
    nn.init.constant_(network.lang_encoder.logit_scale, math.log(10.0))
    nn.init.constant_(network.predictor.match_bias, -2.0)
    return network


def make(build: Build, *, words: bool = True) -> Job:
    """Build the network, from the weights if they have one; its language encoder learns if `words` does."""
    new: set[str] = set()
    network = fresh(build.config.seem, build.weights.tokenizer("clip_tokenizer"))
    start(network, "seem", build.weights, new)
    network.lang_encoder.requires_grad_(words)
    objective = Segmentation({"seem": network}).to(build.device)

    def validate() -> dict[str, float]:
        kinds = score(network, "val", build.settings.measured(NUM_HELD_OUT)).as_dict()
        return {"ciou": sum(kinds.values()) / len(kinds), **kinds}

    def draw(folder: Path) -> None:
        contact_sheet(network, folder / "masks.png")

    return Job(
        objective=objective,
        batches=partial(batch_at, build.settings, build.config.seem.max_spatial),
        validate=validate,
        score="ciou",
        draw=draw,
        adam_names=ADAM_NAMES,
        new=frozenset(new),
    )


def seem(preset: str) -> Recipe:
    """Return the recipe that pre-trains the segmenter."""
    refuse_stock("seem", preset, configuration(preset).seem.pretrained, "decoder")
    return Recipe(
        name="seem",
        about="pre-training: segmentation from words, drawings, references and a simulated signal",
        preset=preset,
        settings=SETTINGS,
        make=make,
        rates={"seem": 1.0},
    )


def seem_masks(preset: str) -> Recipe:
    """Return the recipe that trains a segmenter on; states of texts, and all that was trained on them, stay."""
    return replace(
        seem(preset),
        name="seem_masks",
        about="pre-training: the segmenter goes on, what words and signals mean to it stays",
        make=partial(make, words=False),
    )


def _attention(device: torch.device) -> AbstractContextManager[object]:
    # The fused attention kernel's backward is slow in bf16 on CPUs.
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
