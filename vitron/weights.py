"""Weights on disk: one safetensors file per part, stored in fp16 or 8 bits, beside the tokenizers.

A folder of weights holds `<part>.safetensors`, `tokenizer/`, `clip_tokenizer/` and `manifest.json` (the recipe, seed,
time and evaluation that made them). The embedded weights of a preset are in `vitron/assets/<preset>`.

A training checkpoint is such a folder too: it holds the parts that were trained, in fp32, and its manifest's "base"
names the weights that it started from, where all other parts and the tokenizers are found. The folder of a run works as
well: its file `latest` names the newest checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASSETS = Path(__file__).parent / "assets"
_SCALE = ".scale_of_8_bits"
_LEAST = 1024
"""Elements of the smallest tensor that is stored in 8 bits: less would save nothing."""


@dataclass(frozen=True)
class Weights:
    """A folder of weights."""

    folder: Path

    def load(self, part: str, module: nn.Module) -> None:
        """Load `<part>.safetensors` into `module` in place; every tensor must be there and none left over.

        Raises:
            FileNotFoundError: the file is missing; the message says how to make it.
            ValueError: its tensors do not fit the module.
        """
        path = self.find(f"{part}.safetensors")
        state = read_state(path)
        try:
            missing, unexpected = module.load_state_dict(state, strict=False)
        except RuntimeError as error:  # how torch reports tensors of another shape
            raise ValueError(f"{path}: {error}") from error
        absent = sorted(set(missing) - _tied(module))
        if absent or unexpected:
            raise ValueError(f"{path}: lacks {absent[:5]} and has unknown {sorted(unexpected)[:5]}")

    def find(self, name: str) -> Path:
        """Return the path of a file or folder here, or in the weights that these were trained from.

        Raises:
            FileNotFoundError: nobody has it; the message says how to make it.
        """
        seen: list[Path] = []
        folder: Path | None = self.folder
        while folder is not None and folder not in seen:
            if (folder / name).exists():
                return folder / name
            seen.append(folder)
            folder = Weights(folder).base
        raise FileNotFoundError(
            f"{self.folder / name} is missing: train it (docs/weights.md) or pass another weights folder"
        )

    def has(self, part: str) -> bool:
        """Tell whether a part can be loaded."""
        try:
            self.find(f"{part}.safetensors")
        except FileNotFoundError:
            return False
        return True

    @property
    def base(self) -> Path | None:
        """The folder of the weights that these were trained from; None if these are complete."""
        base = self.manifest().get("base")
        return (ASSETS / base if (ASSETS / base).exists() else Path(base)) if base else None

    def save(self, part: str, module: nn.Module) -> Path:
        """Write `module` as `<part>.safetensors` in fp16, tied tensors once."""
        tied = _tied(module)
        return self.write(part, {name: value for name, value in module.state_dict().items() if name not in tied})

    def write(self, part: str, state: Mapping[str, Tensor], bits: int = 16) -> Path:
        """Write tensors that share no memory as `<part>.safetensors`, readable by everybody.

        Args:
            part: its name.
            state: by name.
            bits: 16 stores fp16; 8 stores matrices and kernels as int8 with a scale for each output channel.

        Raises:
            ValueError: another number of bits.
        """
        if bits not in (8, 16):
            raise ValueError(f"bits: got {bits}, expected 8 or 16")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{part}.safetensors"
        stored: dict[str, Tensor] = {}
        for name, value in state.items():
            if not value.is_floating_point():
                stored[name] = value.contiguous()
            elif bits == 8 and value.ndim > 1 and value.numel() >= _LEAST:
                stored[name], stored[name + _SCALE] = _to_8_bits(value.float())
            else:
                stored[name] = value.half().contiguous()
        save_file(stored, path)
        path.chmod(0o644)  # a server may run as somebody else
        return path

    def tokenizer(self, name: str = "tokenizer") -> PreTrainedTokenizerBase:
        """Return a tokenizer of this folder."""
        path = self.find(name)
        # Imported here: parts without text start seconds sooner.
        from transformers import AutoTokenizer

        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path)
        return loaded

    def manifest(self) -> dict[str, Any]:
        """Return how these weights were made; {} when the folder does not say."""
        path = self.folder / "manifest.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    @property
    def name(self) -> str:
        """What people and manifests call these weights: a preset, or the path of their folder."""
        return self.folder.name if self.folder.parent == ASSETS else str(self.folder)

    @property
    def revision(self) -> str:
        """A short name of this version of the weights, for caches and result tables."""
        return str(self.manifest().get("revision", self.folder.name))


def open_weights(preset: str, folder: str | Path | None = None) -> Weights:
    """Return the weights in `folder` (or its newest checkpoint, if it is a run's), or the embedded ones of `preset`."""
    if not folder:
        return Weights(ASSETS / preset)
    latest = Path(folder) / "latest"
    return Weights(Path(folder) / latest.read_text().strip() if latest.is_file() else Path(folder))


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, floats as fp32 whatever they are stored as."""
    stored = load_file(path)
    state = {}
    for name, value in stored.items():
        if name.endswith(_SCALE):
            continue
        scale = stored.get(name + _SCALE)
        if scale is not None:
            state[name] = value.float() * scale.float().view(-1, *(1,) * (value.ndim - 1))
        else:
            state[name] = value.float() if value.is_floating_point() else value
    return state


def _to_8_bits(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix or kernel `[out, ...]` as int8, and the scale of each output channel `[out]`."""
    scale = value.flatten(1).abs().amax(dim=1).clamp(min=1e-8) / 127
    rounded = (value / scale.view(-1, *(1,) * (value.ndim - 1))).round().clamp(-127, 127)
    return rounded.to(torch.int8).contiguous(), scale


def _tied(module: nn.Module) -> set[str]:
    seen: dict[int, str] = {}
    tied = set()
    for name, value in module.state_dict(keep_vars=True).items():
        if id(value) in seen:
            tied.add(name)
        seen.setdefault(id(value), name)
    return tied
