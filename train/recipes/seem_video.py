"""Train the memory of the video segmenter on Shapes clips: `python -m train seem_video`.

The segmenter itself stays as it is. Its memory learns two things apart: which candidate of a frame is the remembered
object, if any (cross-entropy over candidates and "none"), and which track of a clip words speak of (cross-entropy over
the clip's tracks).
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from train.recipe import Build, Job, Objective, Recipe, start
from train.recipes.seem_video_data import SEEN_SHARES, Observations, build
from train.recipes.seem_video_scores import contact_sheet, score
from train.settings import Settings
from vitron.specialists.seem.language import LanguageEncoder
from vitron.specialists.seem.network import SeemNetwork
from vitron.specialists.seem.tracking import Tracker
from vitron.specialists.seem.video import SeemVideo, VideoMemory

SETTINGS = Settings(
    steps=1500,
    batch=256,
    micro_batch=256,
    lr=2e-3,
    weight_decay=0.02,
    warmup=50,
    ema=0.99,
)
NUM_CLIPS = 500
LEAST_CLIPS = 4
"""A shorter run watches fewer clips, but some of them must have several objects."""
NUM_HELD_OUT = 40
STREAM = 45
SIGNAL_NOISE = 0.3
"""Deviation of the noise on simulated signals, as a part of theirs."""
LOOK_NOISE = 0.01
"""Deviation of the noise on looks: objects are few, and would be learned by heart."""


class Batch(NamedTuple):
    """A micro-batch of B observations and B texts, all of which are instructions or all simulated signals.

    Attributes:
        looks, anchor, recent, measured: as `MemoryReader` takes them.
        target: the right candidate `[B]`, -1 where there is none.
        ids, lengths: of the texts.
        described: whether they stand for signals.
        tracks: of the movers of each text's clip `[B, N, M]`.
        movers: how many of them there are `[B]`.
        meant: which is meant `[B]`.
    """

    looks: Tensor
    anchor: Tensor
    recent: Tensor
    measured: Tensor
    target: Tensor
    ids: Tensor
    lengths: Tensor
    described: bool
    tracks: Tensor
    movers: Tensor
    meant: Tensor


def batch_at(settings: Settings, observations: Observations, number: int) -> Batch:
    """Return the micro-batch of a number; it depends on number and seed alone."""
    rng = np.random.default_rng([STREAM, settings.seed, number])
    size, o = settings.micro_batch, observations
    rows = np.sort(rng.integers(len(o.target), size=size))
    described = bool(rng.random() < 0.5)
    of_kind = np.flatnonzero(o.described == described)
    texts = np.sort(of_kind[rng.integers(len(of_kind), size=size)])
    tracks = o.tracks[texts][np.arange(size), :, rng.integers(len(SEEN_SHARES), size=size)]
    looks, anchor, recent = (
        torch.from_numpy(array[rows].astype(np.float32)) for array in (o.looks, o.anchor, o.recent)
    )
    return Batch(
        looks=looks,
        anchor=anchor,
        recent=recent,
        measured=torch.from_numpy(o.measured[rows].astype(np.float32)),
        target=torch.from_numpy(o.target[rows]),
        ids=torch.from_numpy(o.ids[texts]),
        lengths=torch.from_numpy(o.lengths[texts]),
        described=described,
        tracks=torch.from_numpy(tracks.astype(np.float32)),
        movers=torch.from_numpy(o.movers[texts]),
        meant=torch.from_numpy(o.meant[texts]),
    )


class Remembering(Objective):
    """Recognising the remembered object, and finding the track that is spoken of."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return both cross-entropies."""
        memory, network = self.parts["seem_video"], self.parts["seem"]
        assert isinstance(memory, VideoMemory)
        assert isinstance(network, SeemNetwork)
        noisy = [x + LOOK_NOISE * torch.randn_like(x) for x in (batch.looks, batch.anchor, batch.recent)]
        logits = memory.reader(noisy[0], noisy[1], noisy[2], batch.measured)
        words, valid = spoken_tokens(network.lang_encoder, batch, network.config.projection.num_queries)
        listener = memory.words.signal if batch.described else memory.words.text
        tracks = memory.words(listener(words, valid), batch.tracks)
        there = torch.arange(tracks.shape[1], device=tracks.device) < batch.movers[:, None]
        return {
            "recognise": recognition_loss(logits, batch.target),
            "words": functional.cross_entropy(tracks.masked_fill(~there, -torch.inf), batch.meant),
        }


def recognition_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over candidates `[B, Q]` and "none", whose logit is 0; and each candidate for itself.

    The second part makes the sigmoid of a logit a probability, which presence is read from.
    """
    choices = torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1)
    none = logits.shape[1]
    among = functional.cross_entropy(choices, torch.where(target < 0, none, target))
    wanted = functional.one_hot(torch.where(target < 0, none, target), none + 1)[:, :none].to(logits.dtype)
    best = torch.where(target < 0, logits.argmax(1), target)[:, None]
    alone = functional.binary_cross_entropy_with_logits(logits.gather(1, best), wanted.gather(1, best))
    return among + alone


@torch.no_grad()
def spoken_tokens(encoder: LanguageEncoder, batch: Batch, num_signal: int) -> tuple[Tensor, Tensor]:
    """Return the tokens of a batch's texts and which are real: embeddings of instructions, or noisy signals."""
    if not batch.described:
        valid = torch.arange(batch.ids.shape[1], device=batch.ids.device) < batch.lengths[:, None]
        return encoder.lang_encoder.token_embedding(batch.ids), valid
    states = encoder.encode(batch.ids, batch.lengths)
    place = torch.arange(num_signal, device=batch.ids.device).expand(len(batch.ids), -1)
    index = torch.minimum(place, batch.lengths[:, None] - 1)
    tokens = states.tokens.gather(1, index[..., None].expand(-1, -1, states.tokens.shape[-1]))
    tokens = tokens + SIGNAL_NOISE * tokens.std() * torch.randn_like(tokens)
    return tokens, torch.ones_like(tokens[..., 0], dtype=torch.bool)


def make(build_: Build) -> Job:
    """Build the memory, from the weights if they have one, around the segmenter, which they must have."""
    config, weights, settings = build_.config, build_.weights, build_.settings
    new: set[str] = set()
    seem = SeemVideo(config.seem, config.signal, weights.tokenizer("clip_tokenizer"))
    weights.load("seem", seem.network)
    start(seem.memory, "seem_video", weights, new)
    seem = seem.to(build_.device).eval()
    tracker = Tracker(seem.network, seem.memory.reader, config.seem)
    count = max(min(NUM_CLIPS, settings.steps * settings.batch // 64), LEAST_CLIPS)
    observations = build(Path(settings.cache), _key(weights.find("seem.safetensors")), tracker, count)

    def validate() -> dict[str, float]:
        return score(seem, "val", settings.measured(NUM_HELD_OUT))

    def draw(folder: Path) -> None:
        contact_sheet(seem, folder / "tracks.png")

    return Job(
        objective=Remembering({"seem_video": seem.memory, "seem": seem.network}).to(build_.device),
        batches=partial(batch_at, settings, observations),
        validate=validate,
        score="j_and_f",
        draw=draw,
        new=frozenset(new),
    )


def _key(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def seem_video(preset: str) -> Recipe:
    """Return the recipe that trains the memory of the video segmenter; a stock segmenter has none either."""
    return Recipe(
        name="seem_video",
        about="pre-training: recognising objects from frame to frame, and tracks by words",
        preset=preset,
        settings=SETTINGS,
        make=make,
        rates={"seem_video": 1.0, "seem": 0.0},
    )
