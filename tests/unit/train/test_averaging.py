"""The mean of what runs ended with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from train.__main__ import main
from train.averaging import average
from train.ship import chain
from vitron.weights import Weights


def run(folder: Path, base: Path | str = "tiny", **parts: dict[str, Tensor]) -> Weights:
    """A checkpoint of the given parts."""
    folder.mkdir(parents=True)
    for name, state in parts.items():
        save_file(state, folder / f"{name}.safetensors")
    manifest = {"base": str(base), "recipe": "grounded-qa", "preset": "tiny", "revision": f"of-{folder.name}"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Weights(folder)


def part(value: float, ids: int = 3) -> dict[str, Tensor]:
    return {"weight": torch.full((2, 3), value), "ids": torch.tensor([ids])}


def test_a_run_that_is_named_twice_counts_twice(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a", seem=part(1.0)), run(tmp_path / "b", seem=part(4.0))
    average([first, second, first], tmp_path / "out")
    found = load_file(tmp_path / "out/seem.safetensors")
    assert found["weight"].equal(torch.full((2, 3), 2.0)) and found["ids"].tolist() == [3]


def test_the_mean_of_equal_weights_is_these_weights(tmp_path: Path) -> None:
    state = {"weight": torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * 1e3}
    runs = [run(tmp_path / name, seem=state) for name in "abc"]
    average(runs, tmp_path / "out")
    assert load_file(tmp_path / "out/seem.safetensors")["weight"].equal(state["weight"])


def test_it_goes_on_from_the_first_run_and_says_what_it_is_the_mean_of(tmp_path: Path) -> None:
    began = run(tmp_path / "began", seem=part(0.0))
    first = run(tmp_path / "a", began.folder, language_model=part(1.0))
    second = run(tmp_path / "b", began.folder, language_model=part(2.0))
    assert (
        main(["average", "--start", str(first.folder), "--also", str(second.folder), "--out", str(tmp_path / "c")]) == 0
    )
    made = Weights(tmp_path / "c")
    assert made.manifest()["of"] == ["of-a", "of-b"] and made.revision == "average-of-of-a-of-b"
    assert [each.folder for each in chain(made)][:3] == [made.folder, first.folder, began.folder]
    assert made.find("seem.safetensors").parent == began.folder


def test_runs_that_do_not_fit_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    first = run(tmp_path / "a", seem=part(1.0))
    lora = run(tmp_path / "lora", seem=part(1.0))
    (lora.folder / "lora").mkdir()
    wrong = {
        "b trained": run(tmp_path / "b", gligen_vae=part(1.0)),
        "c/seem.safetensors has other": run(tmp_path / "c", seem={**part(1.0), "weight": torch.ones(3, 3)}),
        "d/seem.safetensors has other": run(tmp_path / "d", seem={**part(1.0), "more": torch.ones(1)}),
        "ids is no float": run(tmp_path / "e", seem=part(1.0, ids=4)),
        "adapters can't be averaged": lora,
        "holds no weights": run(tmp_path / "f"),
    }
    for message, other in wrong.items():
        with pytest.raises(ValueError, match=message):
            average([first, other], tmp_path / "out")
    with pytest.raises(ValueError, match="at least two"):
        average([first], tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_what_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = run(tmp_path / "a", seem=part(1.0)), run(tmp_path / "b", seem=part(2.0))
    folders = [str(first.folder), "--also", str(second.folder), "--out", str(second.folder)]
    assert main(["average", "--start", *folders]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["average", "--start", str(first.folder)]) == 2
    assert "--also and --out are needed" in capsys.readouterr().err
