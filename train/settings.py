"""The numbers of a run: what a recipe proposes and a user may change. Written into every checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Strategy = Literal["ddp", "fsdp", "deepspeed"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        steps: optimizer steps of the whole run.
        batch: samples of one step over all workers; it stays the same whatever their number.
        micro_batch: samples of one forward pass. A step is `batch / micro_batch` of them, numbered through the whole
            run; the number of workers decides only who computes which.
        seed: of initial weights, of the order of samples, and of the noise of every micro-batch.
        lr: AdamW's peak rate; a part's own rate is this times its factor in `Recipe.rates`.
        muon_lr: Muon's peak rate for inner matrices; 0: AdamW trains them too.
        betas, weight_decay: AdamW's; vectors and embeddings are not decayed.
        warmup: steps to the peak rate.
        floor: fraction of the peak where the cosine ends.
        clip: largest gradient norm over all parts.
        ema: decay of an average of the weights (0: none); the average is what is served.
        precision: "auto" is bf16 autocast where the hardware computes it. Weights and optimizer are fp32 always.
        strategy: how several workers share the model.
        loader_workers: processes that prepare micro-batches ahead; 0: in the training process.
        log_seconds, save_seconds: intervals of progress lines and checkpoints.
        save_steps: checkpoints after so many steps instead (0: by time).
        validate_steps: steps between validations (0: only at the end).
        keep: checkpoints kept beside the best one.
    """

    steps: int
    batch: int
    micro_batch: int
    seed: int = 0
    lr: float = 1e-3
    muon_lr: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: int = 60
    floor: float = 0.02
    clip: float = 1.0
    ema: float = 0.0
    precision: Precision = "auto"
    strategy: Strategy = "ddp"
    loader_workers: int = 0
    log_seconds: float = 20.0
    save_seconds: float = 240.0
    save_steps: int = 0
    validate_steps: int = 0
    keep: int = 2

    def __post_init__(self) -> None:
        """Refuse numbers that no run can have."""
        for name in ("steps", "batch", "micro_batch", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 1 or more")
        if self.batch % self.micro_batch:
            raise ValueError(f"micro_batch: got {self.micro_batch}, expected a divisor of batch ({self.batch})")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema: got {self.ema}, expected a number in [0, 1)")
        for name, allowed in (("strategy", get_args(Strategy)), ("precision", get_args(Precision))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(allowed)}")

    @property
    def micro_batches(self) -> int:
        """Forward passes of one step, over all workers."""
        return self.batch // self.micro_batch

    def scaled(self, budget: float) -> Settings:
        """Return the settings with `budget` times the steps (at least one), and a warm-up that still fits."""
        if budget <= 0:
            raise ValueError(f"budget: got {budget}, expected a number above 0")
        steps = max(1, round(self.steps * budget))
        return dataclasses.replace(self, steps=steps, warmup=min(self.warmup, max(1, steps // 5)))

    def changed(self, texts: Mapping[str, str]) -> Settings:
        """Return the settings with fields set from text, as the command line gives them.

        Raises:
            ValueError: an unknown field, or a text that is no value of it.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values: dict[str, Any] = {}
        for name, text in texts.items():
            if name not in fields:
                raise ValueError(f"set: no field {name!r}, expected one of {', '.join(fields)}")
            values[name] = _parse(name, text, fields[name])
        return dataclasses.replace(self, **values)


def _parse(name: str, text: str, like: Any) -> Any:
    try:
        if isinstance(like, tuple):
            return tuple(float(part) for part in text.split(","))
        return type(like)(text)
    except ValueError:
        raise ValueError(f"{name}: got {text!r}, expected a value like {like!r}") from None
