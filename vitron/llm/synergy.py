"""Cross-task synergy (paper §4.3, §B.3): a discriminator that names the task from v^s, and what unlearns it.

The paper's Eq. 4 puts the label inside the logarithm and the prediction outside. Read by its intent, the discriminator
minimises the cross-entropy of the task and v^s maximises it; gradient reversal (Ganin et al. 2016) does both in one
backward pass. The task losses that are added to it are in `vitron.specialists.objectives`.

Shapes: B signal embeddings, n signal tokens, S width of v^s, K tasks.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitron.config import SignalConfig, SynergyConfig

RAMP_STEEPNESS = 10.0
"""Gamma of Ganin et al.: strength 0.46 after a tenth of the run, 0.99 after half of it."""
POSITION_STD = 0.02
MOMENTUM = 0.1
"""Weight of a batch in the discriminator's statistics."""
EPSILON = 1e-8
PROBE_HIDDEN = 64
PROBE_STEPS = 80
PROBE_LR = 2e-3
PROBE_DECAY = 1.0


class GradientReversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by minus `strength`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        """Return `values` unchanged."""
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Turn the gradient around."""
        return -ctx.strength * gradients[0], None


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """Return `values`; what is learned behind them is unlearned in front of them, `strength` times as fast.

    Raises:
        ValueError: `strength` is negative, which would reverse nothing.
    """
    if strength < 0:
        raise ValueError(f"strength: got {strength}, expected 0 or more")
    reversed_: Tensor = GradientReversal.apply(values, strength)
    return reversed_


def ramp(progress: float) -> float:
    """Return the strength of the reversal at a part of the run in [0, 1]: 0 at the start, near 1 from the middle on.

    An untrained discriminator's gradients say nothing, so they count for little at first (Ganin et al. 2016, §5.2.2).
    """
    if not 0.0 <= progress <= 1.0:
        raise ValueError(f"progress: got {progress}, expected a number in [0, 1]")
    return 2.0 / (1.0 + math.exp(-RAMP_STEEPNESS * progress)) - 1.0


class TaskDiscriminator(nn.Module):
    """Names the task that a signal embedding is for, from v^s alone (paper Eq. 2 and 3).

    Channels are brought to mean 0 and deviation 1 first, as a probe would do it: otherwise v^s hides the task by making
    what tells it small. All tokens are read out, not their mean, for the same reason.
    """

    mean: Tensor
    variance: Tensor
    seen: Tensor

    def __init__(self, config: SynergyConfig, signal: SignalConfig, num_tasks: int) -> None:
        """Build one with random weights.

        Args:
            config: Sizes.
            signal: Of the signal embedding.
            num_tasks: K.

        Raises:
            ValueError: there is nothing to tell apart.
        """
        super().__init__()
        if num_tasks < 2:
            raise ValueError(f"num_tasks: got {num_tasks}, expected 2 or more")
        self.num_tokens, self.width = signal.num_tokens, signal.shared
        self.input = nn.Linear(signal.shared, config.hidden)
        self.positions = nn.Parameter(torch.randn(signal.num_tokens, config.hidden) * POSITION_STD)
        # Not `nn.TransformerEncoder`, whose layers start as copies of one.
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    config.hidden,
                    config.num_heads,
                    config.feedforward,
                    dropout=0.0,
                    activation="gelu",
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(config.num_layers)
            )
        )
        self.norm = nn.LayerNorm(config.hidden)
        self.head = nn.Sequential(
            nn.Linear(signal.num_tokens * config.hidden, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, num_tasks),
        )
        self.register_buffer("mean", torch.zeros(signal.num_tokens, signal.shared))
        self.register_buffer("variance", torch.ones(signal.num_tokens, signal.shared))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, shared_BnS: Tensor) -> Tensor:
        """Return the logits of the tasks, [B, K]; in training mode the statistics of the channels follow.

        Raises:
            ValueError: the embeddings have another shape than this discriminator's.
        """
        if shared_BnS.ndim != 3 or shared_BnS.shape[1:] != (self.num_tokens, self.width):
            wanted = f"[B, {self.num_tokens}, {self.width}]"
            raise ValueError(f"shared: got shape {tuple(shared_BnS.shape)}, expected {wanted}")
        shared_BnS = shared_BnS.to(self.positions.dtype)
        if self.training and len(shared_BnS):
            self._follow(shared_BnS.detach())
        scaled_BnS = (shared_BnS - self.mean) / (self.variance + EPSILON).sqrt()
        hidden = self.input(scaled_BnS) + self.positions
        logits: Tensor = self.head(self.norm(self.layers(hidden)).flatten(1))
        return logits

    def _follow(self, shared_BnS: Tensor) -> None:
        """Move the statistics towards those of a batch; unlike batch norm's they take any number of rows."""
        weight = max(MOMENTUM, 1.0 / (int(self.seen) + 1))
        squares = (shared_BnS - self.mean).square().mean(0)
        if not self.seen:
            squares = shared_BnS.var(0, unbiased=False) if len(shared_BnS) > 1 else torch.ones_like(self.variance)
        self.mean.lerp_(shared_BnS.mean(0), weight)
        self.variance.lerp_(squares, weight)
        self.seen += 1


def synergy_loss(discriminator: TaskDiscriminator, shared_BnS: Tensor, task_ids_B: Tensor, strength: float) -> Tensor:
    """Return the discriminator's cross-entropy; minimising it makes v^s forget the task.

    The game is over when v^s says no more of the task than how frequent it is. Train both sides without momentum (Adam
    with beta1 = 0): with the usual 0.9 they circle each other, and a probe goes on finding the task in v^s.

    Args:
        discriminator: Learns at full strength.
        shared_BnS: v^s with its graph.
        task_ids_B: Integers in 0 to K - 1.
        strength: Factor on the reversed gradient that v^s receives; see `ramp`.

    Raises:
        ValueError: shapes or types do not fit, or there are no rows.
    """
    if len(shared_BnS) == 0 or task_ids_B.shape != shared_BnS.shape[:1] or task_ids_B.dtype != torch.long:
        raise ValueError(
            f"task_ids: got {task_ids_B.dtype} of shape {tuple(task_ids_B.shape)} for shared of shape "
            f"{tuple(shared_BnS.shape)}, expected one torch.int64 for each of at least one row"
        )
    logits = discriminator(reverse_gradient(shared_BnS, strength))
    return F.cross_entropy(logits.float(), task_ids_B)


class Probe(NamedTuple):
    """What a probe found.

    Attributes:
        accuracy: Part of the held-out embeddings whose task it named.
        majority: What naming the most frequent task every time would reach.
        chance: 1 / K.
    """

    accuracy: float
    majority: float
    chance: float


def probe_accuracy(features_Nnd: Tensor, task_ids_N: Tensor, *, seed: int = 0, folds: int = 5) -> Probe:
    """Measure how well the task can be read from frozen embeddings.

    A small network is trained afresh on all folds but one and tested on that one, for each fold in turn; folds hold the
    tasks in equal shares. Unlike the discriminator it was no part of the game, so v^s cannot have learned to evade it.

    Args:
        features_Nnd: v^s or v^p of N embeddings, of any scale.
        task_ids_N: Integers.
        seed: Of folds and initial weights; the global generator is left as it is.
        folds: At least 2.

    Raises:
        ValueError: shapes do not fit, or a task has fewer embeddings than there are folds.
    """
    if features_Nnd.ndim != 3 or task_ids_N.shape != features_Nnd.shape[:1]:
        shapes = tuple(features_Nnd.shape), tuple(task_ids_N.shape)
        raise ValueError(f"features: got shape {shapes[0]} with task_ids {shapes[1]}, expected [N, n, d] with [N]")
    values_ND = features_Nnd.detach().flatten(1).float()
    tasks, labels_N, counts_K = task_ids_N.unique(return_inverse=True, return_counts=True)
    if len(tasks) < 2 or folds < 2 or int(counts_K.min()) < folds:
        raise ValueError(
            f"task_ids: got {counts_K.tolist()} embeddings of the tasks and {folds} folds, "
            "expected two or more of both, and of each task at least one embedding a fold"
        )
    generator = torch.Generator().manual_seed(seed)
    fold_N = _folds(labels_N, folds, generator)
    right = sum(_right_answers(values_ND, labels_N, fold_N == fold, generator) for fold in range(folds))
    return Probe(right / len(labels_N), int(counts_K.max()) / len(labels_N), 1 / len(tasks))


def _folds(labels_N: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """Deal every task's rows to the folds in a random order."""
    fold_N = torch.empty_like(labels_N)
    for task in range(int(labels_N.max()) + 1):
        rows = (labels_N == task).nonzero()[:, 0]
        shuffled = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
        fold_N[shuffled] = torch.arange(len(rows), device=rows.device) % folds
    return fold_N


def _right_answers(values_ND: Tensor, labels_N: Tensor, held_out_N: Tensor, generator: torch.Generator) -> int:
    """Train on the other rows and return how many held-out ones are named right."""
    known = values_ND[~held_out_N]
    scaled_ND = (values_ND - known.mean(0)) / known.std(0).clamp(min=1e-8)
    probe = _make_probe(values_ND.shape[1], int(labels_N.max()) + 1, generator).to(values_ND.device)
    optimizer = torch.optim.AdamW(probe.parameters(), PROBE_LR, weight_decay=PROBE_DECAY)
    with torch.enable_grad(), torch.autocast(values_ND.device.type, enabled=False):
        for _ in range(PROBE_STEPS):
            loss = F.cross_entropy(probe(scaled_ND[~held_out_N]), labels_N[~held_out_N])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        answers = probe(scaled_ND[held_out_N]).argmax(-1)
    return int((answers == labels_N[held_out_N]).sum())


def _make_probe(width: int, num_tasks: int, generator: torch.Generator) -> nn.Sequential:
    # Made without weights, as making them draws from the global generator.
    inner = nn.utils.skip_init(nn.Linear, width, PROBE_HIDDEN)
    outer = nn.utils.skip_init(nn.Linear, PROBE_HIDDEN, num_tasks)
    probe = nn.Sequential(inner, nn.GELU(), outer)
    for parameter in probe.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5), generator=generator)
        else:
            nn.init.zeros_(parameter)
    return probe
