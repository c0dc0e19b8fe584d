"""The results table."""

from __future__ import annotations

from dataclasses import replace

from vitron.evaluation.table import Row, merge_rows, read_rows, to_markdown, update_rows

ROW = Row(
    task="rec",
    split="test",
    message="hybrid",
    metric="acc_at_0_5",
    value=0.5,
    n=10,
    seed=0,
    weights="abc",
)


def test_rows_survive_the_file(tmp_path):
    path = tmp_path / "results" / "tiny.json"
    assert read_rows(path) == []
    update_rows(path, [ROW])
    assert read_rows(path) == [ROW]


def test_a_later_row_replaces_the_same_measurement_only(tmp_path):
    better = replace(ROW, value=0.7, n=20)
    other = replace(ROW, split="compositional")
    assert merge_rows([ROW, other], [better]) == [other, better]
    older_weights = replace(ROW, weights="old")
    assert merge_rows([older_weights], [ROW]) == [ROW, older_weights]


def test_markdown_has_a_column_for_each_message():
    text = to_markdown([ROW, replace(ROW, message="text", value=0.25, n=8)])
    assert "| task | split | metric | n | hybrid | text |" in text
    assert "| rec | test | acc_at_0_5 | 10/8 | 0.500 | 0.250 |" in text


def test_weights_are_not_mixed_in_one_table():
    text = to_markdown([ROW, replace(ROW, weights="old")])
    assert text.count("| task |") == 2
