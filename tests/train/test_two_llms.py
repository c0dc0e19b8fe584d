"""The LLM's recipes in two processes: a LoRA adapter on a stock LLM, and an LLM that learns as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.train import two_llms
from tests.train.test_two_processes import needs_deepspeed, torchrun
from tests.unit.train.language_presets import register, weights_folder
from tests.unit.train.runs import held
from train.session import train_here

pytestmark = pytest.mark.slow
ADAPTED, WHOLE = "adapted:decoder", "whole:image-grounding"
NEAR = 0.05
"""How far two runs may end from each other, as a share of the way that they went: AdamW makes much of rounding."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Weights to start from, the stock LLM, and each recipe's run in this process alone."""
    made = tmp_path_factory.mktemp("llms")
    weights_folder(made / "weights")
    with pytest.MonkeyPatch.context() as patch:
        register(patch, made / "stock")
        for name in (ADAPTED, WHOLE):
            alone = two_llms.run_of(made, f"{name.partition(':')[0]}-alone:{name}:ddp")
            train_here(alone, say=lambda line: None)
            begun = alone._replace(url=f"{alone.url}-begun", settings=alone.settings.changed({"lr": "0"}))
            train_here(begun, say=lambda line: None)
        yield made


def parameters(run: Path) -> dict[str, Tensor]:
    """What a run trained, without the optimizer's state."""
    return {name: value for name, value in held(run).items() if name.startswith("parameter/")}


def check(folder: Path, kind: str, name: str) -> None:
    """A run ended where the one of this process alone did, and its served parts have the same layout."""
    begun, alone, found = (parameters(folder / each) for each in (f"{kind}-alone-begun", f"{kind}-alone", name))
    assert begun.keys() == alone.keys() == found.keys()
    way = sum(float((alone[n] - begun[n]).square().sum()) for n in alone) ** 0.5
    apart = sum(float((alone[n] - found[n]).square().sum()) for n in alone) ** 0.5
    assert apart < NEAR * way
    ends = [max((folder / each).glob("step-*")) for each in (f"{kind}-alone", name)]
    served = [{path.name: load_file(path) for path in end.glob("*.safetensors")} for end in ends]
    assert served[0].keys() == served[1].keys() and served[0]
    for part, tensors in served[0].items():
        assert {n: (t.shape, t.dtype) for n, t in tensors.items()} == {
            n: (t.shape, t.dtype) for n, t in served[1][part].items()
        }


def test_two_processes_train_an_llm_as_one_does(folder: Path) -> None:
    torchrun(
        folder,
        *(f"adapted-ddp:{ADAPTED}:ddp", f"adapted-fsdp:{ADAPTED}:fsdp"),
        *(f"whole-ddp:{WHOLE}:ddp", f"whole-fsdp:{WHOLE}:fsdp"),
        module=two_llms.__name__,
    )
    for kind in ("adapted", "whole"):
        for strategy in ("ddp", "fsdp"):
            check(folder, kind, f"{kind}-{strategy}")


@needs_deepspeed
def test_deepspeed_trains_an_llm_as_one_process_does(folder: Path) -> None:
    torchrun(folder, *(f"{k}-zero:{r}:deepspeed" for k, r in (("adapted", ADAPTED), ("whole", WHOLE))),
             module=two_llms.__name__)  # fmt: skip
    for kind in ("adapted", "whole"):
        check(folder, kind, f"{kind}-zero")


def test_the_measure_of_nearness_sees_another_order_of_samples(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        register(patch, folder / "stock")
        other = two_llms.run_of(folder, f"other:{ADAPTED}:ddp")
        train_here(other._replace(settings=other.settings.changed({"seed": "1"})), say=lambda line: None)
    with pytest.raises(AssertionError):
        check(folder, "adapted", "other")
