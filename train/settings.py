"""The numbers of a run: what a recipe proposes and a user may change. Written into every checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Strategy = Literal["ddp", "fsdp", "deepspeed"]
Precision = Literal["auto", "fp32", "bf16"]


LEAST_SHARE, WHOLE_FROM = 0.1, 10.0
"""Of the held-out samples a budget measures ten times its share of the steps, a tenth at least."""
LEAST_MEASURED = 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        steps: optimizer steps of the whole run.
        batch: samples of one step over all workers; it stays the same whatever their number.
        micro_batch: samples of one forward pass. A step is `batch / micro_batch` of them, numbered through the whole
            run; the number of workers decides only who computes which.
        seed: of initial weights, of the order of samples, and of the noise of every micro-batch.
        data: what the LLM's steps see instead of their own mixtures: `NAME[:TASK]@FOLDER=WEIGHT,...` for data sets
            (docs/data.md), `TASK=WEIGHT` for tasks of the Shapes world.
        lr: AdamW's peak rate; a part's own rate is this times its factor in `Recipe.rates`.
        muon_lr: Muon's peak rate for inner matrices; 0: AdamW trains them too.
        betas, weight_decay: AdamW's; vectors and embeddings are not decayed.
        warmup: steps to the peak rate.
        floor: fraction of the peak where the cosine ends.
        clip: largest gradient norm over all parts.
        ema: decay of an average of the weights (0: none); the average is what is served.
        precision: "auto" is bf16 autocast where the hardware computes it. Weights and optimizer are fp32 always.
        strategy: how several workers share the model: "ddp" repeats it, "fsdp" and "deepspeed" divide it.
        zero_stage: DeepSpeed's ZeRO: 1 divides the optimizer, 2 gradients too, 3 parameters too.
        loader_workers: processes that prepare micro-batches ahead; 0: in the training process.
        log_seconds, save_seconds: intervals of progress lines and checkpoints.
        save_steps: checkpoints after so many steps instead (0: by time).
        validate_steps: steps between validations (0: only at the end).
        held_out: share of a recipe's held-out samples that a validation measures, above 0 and at most 1.
        keep: checkpoints kept beside the best one.
        cache: folder on this machine for what runs compute once and share, such as latents; safe to delete.
    """

    steps: int
    batch: int
    micro_batch: int
    seed: int = 0
    data: str = ""
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
    zero_stage: int = 3
    loader_workers: int = 0
    log_seconds: float = 20.0
    save_seconds: float = 240.0
    save_steps: int = 0
    validate_steps: int = 0
    held_out: float = 1.0
    keep: int = 2
    cache: str = "~/.cache/vitron"

    def __post_init__(self) -> None:
        """Refuse numbers that no run can have."""
        for name in ("steps", "batch", "micro_batch", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 1 or more")
        if self.batch % self.micro_batch:
            raise ValueError(f"micro_batch: got {self.micro_batch}, expected a divisor of batch ({self.batch})")
        for name in ("lr", "muon_lr", "weight_decay", "warmup", "log_seconds", "save_seconds", "save_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema: got {self.ema}, expected a number in [0, 1)")
        if not 0.0 < self.held_out <= 1.0:
            raise ValueError(f"held_out: got {self.held_out}, expected a number above 0, at most 1")
        if len(self.betas) != 2:
            raise ValueError(f"betas: got {self.betas}, expected two numbers, as 0.9,0.98")
        for name, allowed in (("strategy", get_args(Strategy)), ("precision", get_args(Precision))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(allowed)}")
        if self.zero_stage not in (1, 2, 3):
            raise ValueError(f"zero_stage: got {self.zero_stage}, expected 1, 2 or 3")
        if self.strategy == "deepspeed" and (self.muon_lr or self.ema):
            raise ValueError(
                f"strategy: got 'deepspeed' with muon_lr {self.muon_lr} and ema {self.ema}, expected both 0: "
                f"ZeRO divides AdamW's state in whole vectors"
            )

    @property
    def micro_batches(self) -> int:
        """Forward passes of one step, over all workers."""
        return self.batch // self.micro_batch

    def check_workers(self, workers: int) -> None:
        """Refuse a number of workers that cannot share a step.

        Raises:
            ValueError: there are more workers than micro-batches in a step, or, where the model is divided, not every
                worker would take part in every forward pass.
        """
        if workers > self.micro_batches:
            raise ValueError(
                f"workers: got {workers}, expected at most {self.micro_batches}, the micro-batches of a step; "
                f"a smaller micro_batch allows more"
            )
        if self.strategy != "ddp" and self.micro_batches % workers:
            raise ValueError(
                f"workers: got {workers} with {self.strategy}, expected a divisor of {self.micro_batches}, the "
                f"micro-batches of a step: every worker takes part in every forward pass"
            )

    def scaled(self, budget: float) -> Settings:
        """Return the settings with `budget` times the steps (at least one), and a warm-up that still fits.

        A small budget measures a part of the held-out samples as well: else a rehearsal would do little but measure.
        """
        if budget <= 0:
            raise ValueError(f"budget: got {budget}, expected a number above 0")
        steps = max(1, round(self.steps * budget))
        part = min(self.held_out, max(LEAST_SHARE, WHOLE_FROM * budget))
        return dataclasses.replace(self, steps=steps, warmup=min(self.warmup, max(1, steps // 5)), held_out=part)

    def measured(self, count: int) -> int:
        """Return how many of `count` held-out samples are measured."""
        return min(count, max(LEAST_MEASURED, round(count * self.held_out)))

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
