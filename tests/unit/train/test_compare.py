"""Results of weights against those of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.compare import changes, main
from vitron.evaluation.table import Row, write_rows


def row(metric: str, value: float, n: int = 100, weights: str = "old", task: str = "vqa") -> Row:
    return Row(task=task, split="test", message="hybrid", metric=metric, value=value, n=n, seed=0, weights=weights)


def written(path: Path, *rows: Row) -> str:
    write_rows(path, rows)
    return str(path)


def test_a_change_is_counted_in_standard_errors_of_both_samples() -> None:
    (found,) = changes([row("accuracy", 0.5)], [row("accuracy", 0.6, 300), row("new", 1.0)])
    pooled = 0.575
    assert found.gain == pytest.approx(0.1)
    assert found.errors == pytest.approx(0.1 / (pooled * (1 - pooled) * (1 / 100 + 1 / 300)) ** 0.5)


def test_less_of_a_distance_is_a_gain_and_what_is_no_share_has_no_error() -> None:
    near, words = changes([row("l1/add", 0.2), row("cider_d", 8.0)], [row("l1/add", 0.1), row("cider_d", 7.0)])
    assert near.gain == pytest.approx(0.1) and near.errors and near.errors > 0
    assert words.gain == -1 and words.errors is None


def test_a_frechet_distance_should_be_small() -> None:
    (found,) = changes([row("frechet_distance[x]", 90.0)], [row("frechet_distance[x]", 60.0)])
    assert found.gain == 30 and found.errors is None


@pytest.mark.parametrize("metric", ["cider_d", "clip_dir[x]", "frechet_distance[x]", "inception_score[x]", "loss/seem"])
def test_what_may_be_more_than_one_is_no_share_where_it_is_less(metric: str) -> None:
    (found,) = changes([row(metric, 0.4)], [row(metric, -0.1)])
    assert found.errors is None


def test_a_fall_beyond_noise_fails_and_is_shown_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = written(tmp_path / "old.json", row("a", 0.9), row("b", 0.9), row("c", 0.5))
    new = written(tmp_path / "new.json", row("a", 0.88), row("b", 0.7), row("c", 0.9))
    assert main([old, new]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].split()[-1] for line in shown[2:4]] == ["b", "a"]
    assert shown[4] == "3 metrics; better or equal: 1; worse by more than 2 standard errors: 1"
    assert main([old, new, "--errors", "5"]) == 0
    assert main([old, new, "--errors", "5", "--all"]) == 0
    assert "vqa test hybrid c | 0.500 | 100 | 0.900" in capsys.readouterr().out


def test_nothing_to_compare_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = written(tmp_path / "old.json", row("a", 0.9))
    assert main([old, str(tmp_path / "new.json")]) == 2 and "not found" in capsys.readouterr().err
    assert main([old, written(tmp_path / "new.json", row("z", 0.9))]) == 2
    assert "no metric in common" in capsys.readouterr().err
