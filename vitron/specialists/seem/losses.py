"""SEEM's training losses: every visible object's mask, and which query the prompt means.

Needs scipy, which serving does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from vitron.specialists.seem.network import LayerOutput, upsample

BCE_WEIGHT = 5.0
DICE_WEIGHT = 5.0
MATCH_WEIGHT = 1.0
NAME_WEIGHT = 1.0


class Targets(NamedTuple):
    """What the rows of a batch should give.

    Attributes:
        masks: visible mask of each object `[rows, N, H, W]` float in [0, 1], padded with zeros.
        present: `[rows, N]` bool, which of them exist.
        meant: `[rows, N]` bool, which of them the prompt means; at least one a row.
        every_object: `[rows]` bool, rows in which the masks of all objects are learned and not only of those meant:
            one row for each picture is enough.
    """

    masks: Tensor
    present: Tensor
    meant: Tensor
    every_object: Tensor


class Names(NamedTuple):
    """What the objects are called, among other names.

    Attributes:
        classes: class embeddings of V texts `[V, hidden]`.
        labels: which of them names each object `[rows, N]`; read where `Targets.every_object` and `present` hold.
        scale: of the cosine.
    """

    classes: Tensor
    labels: Tensor
    scale: Tensor


class Assignment(NamedTuple):
    """Pairs of a query and an object: three index tensors `[M]`."""

    rows: Tensor
    queries: Tensor
    objects: Tensor


class Losses(NamedTuple):
    """The weighted sum and its parts, averaged over layers."""

    total: Tensor
    bce: Tensor
    dice: Tensor
    match: Tensor
    name: Tensor


def seem_losses(outputs: Sequence[LayerOutput], targets: Targets, names: Sequence[Names] = ()) -> Losses:
    """Losses of all decoder layers against one assignment, that of the last.

    One assignment for all layers keeps a query on its object from the first layer on. Masks are compared at the
    resolution of the mask features, and those of the last layer at that of the targets too. `names` adds SEEM's
    classification of every object by text; without it prompts have only the few objects of one picture to learn
    words from.
    """
    height, width = outputs[-1].masks.shape[-2:]
    small = functional.adaptive_avg_pool2d(targets.masks, (height, width))
    pairs = assign(outputs[-1].masks, small, targets.present)
    taught = _select(pairs, targets.meant | targets.every_object[:, None])
    wanted = small[taught.rows, taught.objects]
    every = _select(pairs, targets.every_object[:, None] & targets.present)
    bce, dice, match, name = [], [], [], [outputs[-1].masks.new_zeros([])]
    for output in outputs:
        masks = output.masks[taught.rows, taught.queries].float()
        bce.append(functional.binary_cross_entropy_with_logits(masks, wanted))
        dice.append(dice_loss(masks, wanted))
        match.append(match_loss(output.match, pairs, targets.meant))
        name.extend(name_loss(output.captions, every, each) for each in names)
    fine = _select(pairs, targets.meant)
    masks = upsample(outputs[-1].masks[fine.rows, fine.queries].float(), targets.masks.shape[-2:])
    exact = targets.masks[fine.rows, fine.objects]
    bce.append(functional.binary_cross_entropy_with_logits(masks, exact))
    dice.append(dice_loss(masks, exact))
    parts = [torch.stack(values).mean() for values in (bce, dice, match, name)]
    weights = (BCE_WEIGHT, DICE_WEIGHT, MATCH_WEIGHT, NAME_WEIGHT)
    total = torch.stack([w * part for w, part in zip(weights, parts, strict=True)]).sum()
    return Losses(total, *parts)


def assign(masks: Tensor, targets: Tensor, present: Tensor) -> Assignment:
    """Match queries to objects at the least total mask cost (Hungarian method), row by row."""
    costs = _mask_costs(masks.detach().float().flatten(2), targets.flatten(2)).cpu().numpy()
    exists = present.cpu().numpy()
    rows, queries, objects = [], [], []
    for row in range(len(costs)):
        real = np.flatnonzero(exists[row])
        chosen, column = linear_sum_assignment(costs[row][:, real])
        rows.extend([row] * len(chosen))
        queries.extend(chosen.tolist())
        objects.extend(real[column].tolist())
    return Assignment(*(torch.tensor(x, device=masks.device) for x in (rows, queries, objects)))


def match_loss(match: Tensor, pairs: Assignment, meant: Tensor) -> Tensor:
    """The meant queries must beat the others, and each must be told from the rest on its own.

    The first part is cross-entropy over queries with several right answers. The second is binary cross-entropy, which
    makes the sigmoid of a logit a probability: a prompt may mean more than one object.
    """
    wanted = torch.zeros_like(match)
    wanted[pairs.rows, pairs.queries] = meant[pairs.rows, pairs.objects].to(match.dtype)
    likely = functional.log_softmax(match, dim=-1).masked_fill(wanted == 0, -torch.inf)
    has_answer = wanted.any(dim=-1)
    among = -likely[has_answer].logsumexp(dim=-1).mean()
    return among + functional.binary_cross_entropy_with_logits(match, wanted, reduction="sum") / len(match)


def name_loss(captions: Tensor, pairs: Assignment, names: Names) -> Tensor:
    """Cross-entropy of each object's query over the names, by cosine."""
    found = functional.normalize(captions[pairs.rows, pairs.queries].float(), dim=-1)
    logits = names.scale * found @ functional.normalize(names.classes.float(), dim=-1).T
    return functional.cross_entropy(logits, names.labels[pairs.rows, pairs.objects])


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft Dice coefficient of masks `[M, H, W]`, averaged."""
    probabilities, targets = logits.sigmoid().flatten(1), targets.flatten(1)
    overlap = 2 * (probabilities * targets).sum(-1)
    return (1 - (overlap + 1) / (probabilities.sum(-1) + targets.sum(-1) + 1)).mean()


def _select(pairs: Assignment, keep: Tensor) -> Assignment:
    """The pairs whose object `keep [rows, N]` allows."""
    chosen = keep[pairs.rows, pairs.objects]
    return Assignment(*(index[chosen] for index in pairs))


def _mask_costs(logits: Tensor, targets: Tensor) -> Tensor:
    """Weighted BCE and Dice of every query `[R, Q, P]` with every object `[R, N, P]`: `[R, Q, N]`."""
    pixels = logits.shape[-1]
    inside = functional.softplus(-logits) @ targets.transpose(1, 2)
    outside = functional.softplus(logits) @ (1 - targets).transpose(1, 2)
    probabilities = logits.sigmoid()
    overlap = 2 * (probabilities @ targets.transpose(1, 2)) + 1
    areas = probabilities.sum(-1)[..., None] + targets.sum(-1)[:, None] + 1
    return BCE_WEIGHT * (inside + outside) / pixels + DICE_WEIGHT * (1 - overlap / areas)
