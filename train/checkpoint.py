"""Checkpoints: what is served, and what a run needs to go on as if nothing had happened.

    manifest.json               base weights, resolved recipe, step, metrics
    <part>.safetensors          every trained part in fp32, averaged if the run averages: what is served
    <part>/                     instead of it, the adapter of a part that is trained by LoRA
    training/state.safetensors  parameters as they are, optimizers, average

The layout does not depend on the number of workers. Data order and noise follow from step and seed alone, so no
cursor beside the step and no state of random generators is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from train.optimizers import Average, Optimizers
from train.recipe import Objective

STATE = "training/state.safetensors"


def gather(objective: Objective, optimizers: Optimizers, average: Average) -> dict[str, Tensor]:
    """Return the whole training state in every process, sharded tensors put together.

    Names are "parameter/<name>", "average/<name>" and "optimizer/<name>/<quantity>".
    """
    state = {f"parameter/{name}": parameter.detach() for name, parameter in optimizers.named}
    names = [name for name, _ in optimizers.named]
    state |= {f"average/{name}": value for name, value in zip(names, average.values, strict=False)}
    state |= {f"optimizer/{name}": value for name, value in optimizers.state().items()}
    for part, module in objective.parts.items():
        if is_trained(module):
            state |= {f"buffer/{part}.{name}": value for name, value in module.named_buffers()}
    return {name: _whole(value).cpu().contiguous() for name, value in state.items()}


def write(folder: Path, objective: Objective, state: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
    """Write a checkpoint from a gathered state into an empty folder."""
    (folder / "training").mkdir(parents=True)
    save_file({name: value.clone() for name, value in state.items()}, folder / STATE)
    for part, module in objective.parts.items():
        if is_trained(module):
            _write_part(folder, part, module, state)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, default=str) + "\n")


def read(folder: Path, objective: Objective, optimizers: Optimizers, average: Average) -> dict[str, Any]:
    """Put a checkpoint back in place and return its manifest.

    Raises:
        ValueError: it belongs to a run that trains other parameters.
    """
    state = load_file(folder / STATE)
    wanted = {f"parameter/{name}" for name, _ in optimizers.named}
    held = {name for name in state if name.startswith("parameter/")}
    if wanted != held:
        odd = sorted(wanted ^ held)[0].removeprefix("parameter/")
        raise ValueError(f"checkpoint: {folder} trains other parameters than this run, such as {odd}")
    with torch.no_grad():
        for name, parameter in optimizers.named:
            parameter.copy_(_like(state[f"parameter/{name}"], parameter))
        for (name, parameter), value in zip(optimizers.named, average.values, strict=False):
            value.copy_(_like(state[f"average/{name}"], parameter))
        for part, module in objective.parts.items():
            for name, buffer in module.named_buffers():
                if (key := f"buffer/{part}.{name}") in state:
                    buffer.copy_(state[key])
    named = dict(optimizers.named)
    quantities = {n.removeprefix("optimizer/"): v for n, v in state.items() if n.startswith("optimizer/")}
    optimizers.load({key: _like(value, named[key.rsplit("/", 1)[0]]) for key, value in quantities.items()})
    return read_manifest(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself."""
    return dict(json.loads((folder / "manifest.json").read_text()))


def is_trained(module: nn.Module) -> bool:
    """Tell whether any parameter of a part is trained: only such parts are written."""
    return any(parameter.requires_grad for parameter in module.parameters())


def _write_part(folder: Path, part: str, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write a part with averaged parameters, or plain ones if there is no average."""

    def now(name: str) -> Tensor | None:
        full = f"{part}.{name}"
        return state.get(f"average/{full}", state.get(f"parameter/{full}", state.get(f"buffer/{full}")))

    if hasattr(module, "peft_config"):  # importing peft takes seconds
        found = {name: value for name, _ in module.named_parameters() if (value := now(name)) is not None}
        assert callable(module.save_pretrained)
        module.save_pretrained(str(folder / part), state_dict=found, save_embedding_layers=False)
        return
    # Tied tensors are written once: named_parameters and named_buffers name each one once.
    whole = dict(module.named_parameters()) | dict(module.named_buffers())
    kept = set(module.state_dict())
    tensors = {n: v if (v := now(n)) is not None else _whole(t.detach()).cpu() for n, t in whole.items() if n in kept}
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, folder / f"{part}.safetensors")


def _whole(value: Tensor) -> Tensor:
    """Put a sharded tensor together (a `DTensor`: importing its class takes seconds)."""
    whole: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return whole


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return `value` where and as `parameter` is: on its device, sharded as it is (scalars stay whole)."""
    value = value.to(parameter.device) if value.ndim else value
    if hasattr(parameter, "full_tensor") and value.shape == parameter.shape and value.ndim:
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value
