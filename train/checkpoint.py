"""Checkpoints: what is served, and what a run needs to go on as if nothing had happened.

    manifest.json               base weights, resolved recipe, step, metrics
    <part>.safetensors          every trained part in fp32, averaged if the run averages: what is served
    <part>/                     instead of it, the adapter of a part that is trained by LoRA
    training/state.safetensors  parameters as they are, optimizers, average

The layout depends neither on the number of workers nor on how they share the model. Data order and noise follow from
step and seed alone, so no cursor beside the step and no state of random generators is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from train.divided import divided_as
from train.optimizers import Average
from train.recipe import Objective
from train.strategy import Strategy

TRAINING = "training"
"""Folder of a checkpoint that only its run reads."""
STATE = f"{TRAINING}/state.safetensors"
FIXED = ("recipe", "preset")
FIXED_SETTINGS = ("batch", "seed", "data")
"""What a run may not change on its way: the order of samples follows from it."""


class Held(NamedTuple):
    """What a checkpoint holds."""

    manifest: dict[str, Any]
    tensors: dict[str, Tensor]


def gather(objective: Objective, strategy: Strategy, average: Average, *, keep: bool) -> dict[str, Tensor]:
    """Return the whole training state on the CPU, divided tensors put together.

    Called by all workers, in step; tensors stay with those who `keep` them. Names are "parameter/<name>",
    "average/<name>", "optimizer/<name>/<quantity>", "buffer/<name>", and "frozen/<name>" for what a trained part is
    served with but no step changes.
    """
    state: dict[str, Tensor] = {}
    for name, whole in _everything(objective, strategy, average):
        if keep:
            state[name] = whole.detach().to("cpu", copy=True).contiguous()
    return state


def _everything(objective: Objective, strategy: Strategy, average: Average) -> Iterator[tuple[str, Tensor]]:
    named = strategy.optimizers.named
    for name, parameter in named:
        yield f"parameter/{name}", strategy.whole(parameter)
    for (name, _), value in zip(named, average.values, strict=False):
        yield f"average/{name}", strategy.whole(value)
    for name, value in strategy.optimizer_state():
        yield f"optimizer/{name}", value
    for part, module in objective.parts.items():
        if not is_trained(module):
            continue
        for name, buffer in module.named_buffers():
            yield f"buffer/{part}.{name}", strategy.whole(buffer)
        if not _has_adapter(module):
            for name, parameter in module.named_parameters():
                if not parameter.requires_grad:
                    yield f"frozen/{part}.{name}", strategy.whole(parameter)


def write(folder: Path, objective: Objective, state: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
    """Write a checkpoint from a gathered state into a folder that does not exist yet."""
    (folder / TRAINING).mkdir(parents=True)
    save_file({name: value for name, value in state.items() if not name.startswith("frozen/")}, folder / STATE)
    for part, module in objective.parts.items():
        if is_trained(module):
            _write_part(folder, part, module, state)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, default=str) + "\n")


def open_checkpoint(folder: Path, manifest: Mapping[str, Any]) -> Held:
    """Read a checkpoint from disk.

    Args:
        folder: of the checkpoint.
        manifest: of the run that goes on from it.

    Raises:
        ValueError: it is damaged, or of another recipe, or its run saw samples in another order.
    """
    try:
        held = Held(read_manifest(folder), load_file(folder / STATE))
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"checkpoint: {folder} is damaged: {error}") from error
    was, now = held.manifest["settings"], manifest["settings"]
    differ = [(n, held.manifest[n], manifest[n]) for n in FIXED if held.manifest[n] != manifest[n]]
    differ += [(n, was[n], now[n]) for n in FIXED_SETTINGS if was[n] != now[n]]
    for name, old, new in differ:
        raise ValueError(
            f"{name}: got {new!r}, but the run in {folder.parent} has {old!r}; another --name begins a run of its "
            f"own, and --start {folder.parent} begins it with these weights"
        )
    return held


def place(held: Held, objective: Objective, strategy: Strategy, average: Average) -> None:
    """Put parameters, buffers and the average of a checkpoint in place; before `Strategy.start`.

    Raises:
        ValueError: it belongs to a run that trains other parameters.
    """
    named, state = strategy.optimizers.named, held.tensors
    wanted = {f"parameter/{name}" for name, _ in named}
    found = {name for name in state if name.startswith("parameter/")}
    if wanted != found:
        odd = sorted(wanted ^ found)[0].removeprefix("parameter/")
        raise ValueError(f"checkpoint: it trains other parameters than this run, such as {odd}")
    with torch.no_grad():
        for name, parameter in named:
            value = state[f"parameter/{name}"]
            if value.shape != parameter.shape:
                raise ValueError(f"checkpoint: {name} is {list(value.shape)}, here it is {list(parameter.shape)}")
            parameter.copy_(divided_as(value, parameter))
        # A run that averages only from here on begins its average here.
        for (name, parameter), mean in zip(named, average.values, strict=False):
            mean.copy_(divided_as(state.get(f"average/{name}", state[f"parameter/{name}"]), parameter))
        for part, module in objective.parts.items():
            for name, buffer in module.named_buffers():
                if (key := f"buffer/{part}.{name}") in state:
                    buffer.copy_(state[key])


def quantities(held: Held) -> dict[str, Tensor]:
    """Return the optimizers' state of a checkpoint by "<name>/<quantity>"."""
    return {n.removeprefix("optimizer/"): v for n, v in held.tensors.items() if n.startswith("optimizer/")}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself."""
    return dict(json.loads((folder / "manifest.json").read_text()))


def is_trained(module: nn.Module) -> bool:
    """Tell whether any parameter of a part is trained: only such parts are written."""
    return any(parameter.requires_grad for parameter in module.parameters())


def _has_adapter(module: nn.Module) -> bool:
    return hasattr(module, "peft_config")  # importing peft takes seconds


def _write_part(folder: Path, part: str, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write a part with averaged parameters, or plain ones if there is no average."""

    def now(name: str) -> Tensor | None:
        kinds = ("average", "parameter", "buffer", "frozen")
        return next((state[key] for kind in kinds if (key := f"{kind}/{part}.{name}") in state), None)

    if _has_adapter(module):
        found = {name: value for name, _ in module.named_parameters() if (value := now(name)) is not None}
        assert callable(module.save_pretrained)
        module.save_pretrained(str(folder / part), state_dict=found, save_embedding_layers=False)
        return
    # Tied tensors are written once: named_parameters and named_buffers name each one once.
    names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
    kept = set(module.state_dict())
    tensors = {name: value for name in names if name in kept and (value := now(name)) is not None}
    save_file(tensors, folder / f"{part}.safetensors")
