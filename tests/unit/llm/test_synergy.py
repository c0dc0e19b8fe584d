"""Step 3's game: what the discriminator learns, v^s unlearns; and a probe that is no part of the game."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitron.config import SignalConfig, SynergyConfig
from vitron.llm.synergy import TaskDiscriminator, probe_accuracy, ramp, reverse_gradient, synergy_loss

SIGNAL = SignalConfig(num_tokens=4, specific=6, shared=6)
SIZES = SynergyConfig(hidden=16, num_layers=2, num_heads=2, feedforward=32)
TASKS = 3


def discriminator(seed: int = 0) -> TaskDiscriminator:
    torch.manual_seed(seed)
    return TaskDiscriminator(SIZES, SIGNAL, TASKS)


def embeddings(rows: int, *, gap: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return embeddings whose mean depends on the task by `gap`, and the tasks."""
    generator = torch.Generator().manual_seed(seed)
    tasks = torch.arange(rows) % TASKS
    means = torch.randn(TASKS, SIGNAL.num_tokens, SIGNAL.shared, generator=generator)
    return torch.randn(rows, SIGNAL.num_tokens, SIGNAL.shared, generator=generator) + gap * means[tasks], tasks


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.5])
def test_the_gradient_is_turned_around_exactly_and_the_value_is_not_changed(strength: float) -> None:
    values, weights = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4)
    turned = reverse_gradient(values, strength)
    assert torch.equal(turned, values)
    (turned * weights).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, -strength * weights)


def test_a_negative_strength_would_reverse_nothing_and_is_refused() -> None:
    with pytest.raises(ValueError, match=r"strength: got -0\.1"):
        reverse_gradient(torch.zeros(1), -0.1)


def test_the_discriminator_learns_at_full_strength_and_the_embedding_unlearns_at_its_own() -> None:
    judge = discriminator().eval()  # its statistics stay where they are
    shared, tasks = embeddings(12, gap=1.0)
    gradients = []
    for strength in (None, 0.25):
        judge.zero_grad()
        leaf = shared.clone().requires_grad_(True)
        if strength is None:
            nn.functional.cross_entropy(judge(leaf), tasks).backward()
        else:
            synergy_loss(judge, leaf, tasks, strength).backward()
        assert leaf.grad is not None
        gradients.append((leaf.grad.clone(), [parameter.grad.clone() for parameter in judge.parameters()]))
    (plain, learned), (turned, as_well) = gradients
    assert plain.abs().sum() > 0
    torch.testing.assert_close(turned, -0.25 * plain)
    for a, b in zip(learned, as_well, strict=True):
        torch.testing.assert_close(a, b)


def test_strength_grows_from_nothing_to_nearly_one() -> None:
    values = [ramp(step / 20) for step in range(21)]
    assert values[0] == 0
    assert values == sorted(values)
    assert 0.98 < values[10] < values[20] < 1
    with pytest.raises(ValueError, match="progress"):
        ramp(1.5)


def test_the_discriminator_tells_tokens_apart_by_their_place() -> None:
    judge = discriminator()
    shared, _ = embeddings(2, gap=0.0)
    assert not torch.allclose(judge(shared), judge(shared.flip(1)), atol=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_what_tells_the_task_cannot_be_hidden_by_making_it_small(scale: float) -> None:
    found = []
    for factor in (1.0, scale):
        judge = discriminator()
        shared = 5.0 + factor * embeddings(60, gap=1.0)[0]
        for _ in range(30):
            judge(shared)
        judge.eval()
        found.append(judge(shared))
    torch.testing.assert_close(found[0], found[1], atol=0.1, rtol=0.1)


def test_its_statistics_follow_batches_of_any_size_in_training_alone() -> None:
    judge, shared = discriminator(), embeddings(400, gap=0.0)[0] * 3 + 7
    for row in range(400):
        judge(shared[row : row + 1])
    assert (judge.mean - 7).abs().max() < 4 and 1 < judge.variance.mean() < 15
    before = judge.mean.clone()
    judge.eval()(shared[:1] + 100)
    assert torch.equal(judge.mean, before)


def test_its_layers_start_different() -> None:
    first, second = discriminator().layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_it_learns_to_name_the_task_when_the_embedding_shows_it() -> None:
    judge = discriminator()
    shared, tasks = embeddings(60, gap=1.0)
    optimizer = torch.optim.Adam(judge.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        synergy_loss(judge, shared, tasks, 0.0).backward()
        optimizer.step()
    assert (judge(shared).argmax(-1) == tasks).float().mean() > 0.95


def along_one_axis(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return embeddings that tell the task on one axis only: a linear layer can leave it out."""
    tasks = torch.arange(rows) % TASKS
    shared = torch.randn(rows, SIGNAL.num_tokens, SIGNAL.shared, generator=torch.Generator().manual_seed(seed))
    shared[..., 0] += 1.2 * (tasks[:, None] - 1)
    return shared, tasks


@pytest.mark.parametrize(("strength", "low", "high"), [(1.0, 0.2, 0.5), (0.0, 0.6, 1.0)])
def test_the_game_makes_an_embedding_forget_the_task_and_without_it_the_task_stays(
    strength: float, low: float, high: float
) -> None:
    torch.manual_seed(0)
    judge = TaskDiscriminator(SynergyConfig(hidden=16, num_layers=1, num_heads=2, feedforward=16), SIGNAL, TASKS)
    head = nn.Linear(SIGNAL.shared, SIGNAL.shared)
    optimizer = torch.optim.Adam([*judge.parameters(), *head.parameters()], 1e-2, betas=(0.0, 0.99))
    for step in range(200):
        shared, tasks = along_one_axis(48, step)
        optimizer.zero_grad()
        synergy_loss(judge, head(shared), tasks, strength * ramp(step / 200)).backward()
        optimizer.step()
    shared, tasks = along_one_axis(150, 1000)
    assert low < probe_accuracy(head(shared), tasks).accuracy < high


@pytest.mark.parametrize(
    ("shared", "tasks", "message"),
    [
        (torch.zeros(2, 4, 5), torch.zeros(2, dtype=torch.long), r"expected \[B, 4, 6\]"),
        (torch.zeros(0, 4, 6), torch.zeros(0, dtype=torch.long), "at least one row"),
        (torch.zeros(2, 4, 6), torch.zeros(2), "torch.int64"),
        (torch.zeros(2, 4, 6), torch.zeros(3, dtype=torch.long), "task_ids"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shared: Tensor, tasks: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synergy_loss(discriminator(), shared, tasks, 1.0)


def test_one_task_alone_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="num_tasks: got 1"):
        TaskDiscriminator(SIZES, SIGNAL, 1)


def test_a_probe_is_near_chance_on_noise_and_high_on_what_can_be_told_apart() -> None:
    noise, tasks = embeddings(180, gap=0.0)
    clear, _ = embeddings(180, gap=1.5)
    on_noise, on_clear = probe_accuracy(noise, tasks), probe_accuracy(clear, tasks)
    assert on_noise.chance == pytest.approx(1 / 3)
    assert abs(on_noise.accuracy - 1 / 3) < 0.12
    assert on_clear.accuracy > 0.9


def test_a_probe_compares_with_the_most_frequent_task_and_takes_any_scale() -> None:
    clear, _ = embeddings(90, gap=2.0)
    tasks = torch.tensor([7] * 60 + [2] * 30)  # names of tasks need not count from zero
    found = probe_accuracy(1e4 * clear + 1e5, tasks)
    assert found.majority == pytest.approx(2 / 3)
    assert found.chance == 0.5


def test_a_probe_depends_on_its_seed_alone_and_leaves_the_global_generator_and_the_gradients_alone() -> None:
    values, tasks = embeddings(60, gap=0.4)
    values.requires_grad_(True)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with torch.no_grad():
        first = probe_accuracy(values, tasks, seed=5)
    assert torch.equal(torch.rand(3), expected)
    assert probe_accuracy(values, tasks, seed=5) == first
    assert values.grad is None


@pytest.mark.parametrize(
    ("rows", "folds", "message"), [(3, 5, "folds"), (60, 1, "folds"), (0, 5, "expected two or more")]
)
def test_too_few_embeddings_for_the_folds_are_refused(rows: int, folds: int, message: str) -> None:
    values, tasks = embeddings(max(rows, 1), gap=1.0)
    with pytest.raises(ValueError, match=message):
        probe_accuracy(values, tasks, folds=folds)
