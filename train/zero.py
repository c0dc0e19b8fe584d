"""DeepSpeed's ZeRO as a strategy, for full fine-tuning of what does not fit one device. An optional package.

Checkpoints do not use DeepSpeed's own format, which depends on the number of workers: parameters and AdamW's state are
put together from their parts, so that any strategy goes on from them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from train.optimizers import Optimizers
from train.precision import computes_bfloat16
from train.recipe import Job
from train.settings import Settings
from train.strategy import Stepped, reaching, single_numbers
from train.world import World

MOMENTS = ("exp_avg", "exp_avg_sq")
INSTALL = "DS_BUILD_OPS=0 pip install --no-build-isolation -c constraints.txt deepspeed (needs g++)"


class Zero:
    """ZeRO: optimizer state, at stage 2 gradients, at stage 3 parameters are divided among the workers.

    A loss that is not finite stops before the step. Of a gradient that is not finite though its loss is, DeepSpeed
    tells only after its step: the run then ends without a checkpoint of it.
    """

    together = True

    def __init__(self, job: Job, optimizers: Optimizers, settings: Settings, world: World) -> None:
        if job.occasional and settings.zero_stage != 1:
            # Stage 3 would wait for ever. Stage 2 adds up whatever gradients come at the same time, so that parameters
            # get those of others where workers have unlike micro-batches (docs/decisions.md; DeepSpeed 0.19.8).
            raise ValueError(
                f"zero_stage: got {settings.zero_stage}, expected 1: not every micro-batch runs "
                f"{', '.join(sorted(job.occasional))}, and later stages need all workers to run the same modules in "
                f"the same order"
            )
        try:
            import deepspeed
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"strategy: deepspeed is not installed: {INSTALL}") from error
        self._deepspeed = deepspeed
        deepspeed.utils.logger.setLevel(logging.WARNING)
        self.optimizers = optimizers
        self._objective, self._settings, self._world = job.objective, settings, world
        self._occasional = [job.objective.parts[name] for name in sorted(job.occasional)]
        self._engine: Any = None
        self._finite = True

    def start(self) -> None:
        """Divide the objective."""
        settings = self._settings
        config = {
            "train_micro_batch_size_per_gpu": settings.micro_batch,
            "gradient_accumulation_steps": settings.micro_batches // self._world.size,
            "gradient_clipping": settings.clip,
            "zero_optimization": {"stage": settings.zero_stage},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": settings.steps + 1,
        }
        if computes_bfloat16(settings.precision, self._world.device.type):
            # DeepSpeed turns an autocast from outside off in its forward pass.
            config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
        (adam,) = self.optimizers.all
        numbers = single_numbers(self._objective, "deepspeed")
        for number in numbers:
            number.data = number.data.view(1)  # DeepSpeed sends parameters as bytes, which a number is not
        self._engine, *_ = self._deepspeed.initialize(model=self._objective, optimizer=adam, config=config)
        for number in numbers:
            number.data = number.data.view(())
        self._make_state()

    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Run the objective, and let every part take part."""
        return reaching(self._engine(batch), self._occasional)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add to the gradients; DeepSpeed takes the mean over micro-batches and workers."""
        self._finite &= bool(loss.isfinite())
        self._engine.backward(loss)
        if not last:
            self._engine.step()  # only counts micro-batches

    def unshared(self, last: bool) -> AbstractContextManager[object]:
        """Return a context that changes nothing: DeepSpeed counts micro-batches itself."""
        return nullcontext()

    def step(self, step: int) -> Stepped:
        """Step, unless a loss was not finite in any worker."""
        finite = torch.tensor(float(self._finite), device=self._world.device)
        dist.all_reduce(finite, dist.ReduceOp.MIN)
        if not finite:
            return Stepped(math.nan, 0.0)
        factor = self.optimizers.set_rates(step)
        self._engine.step()
        return Stepped(float(self._engine.get_global_grad_norm()), factor)

    def whole(self, tensor: Tensor) -> Tensor:
        """Put a parameter together; buffers are never divided."""
        if not isinstance(tensor, nn.Parameter):
            return tensor
        if tensor.requires_grad:
            whole: Tensor = self._deepspeed.utils.safe_get_full_fp32_param(tensor)
            return whole
        if not hasattr(tensor, "ds_id"):
            return tensor
        with self._deepspeed.zero.GatheredParameters([tensor]):
            return tensor.detach().clone()

    def optimizer_state(self) -> Iterator[tuple[str, Tensor]]:
        """Put AdamW's state together."""
        steps = [state["step"] for state in self._adam.state.values() if "step" in state]
        for name, parameter in self.optimizers.named:
            yield f"{name}/step", steps[0]
            for key in MOMENTS:
                yield f"{name}/{key}", self._deepspeed.utils.safe_get_full_optimizer_state(parameter, key)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Divide a saved state of AdamW.

        Raises:
            ValueError: the run used Muon before.
        """
        if muon := next((key for key in state if key.endswith("/momentum")), None):
            raise ValueError(
                f"muon_lr: got {self._settings.muon_lr}, but {muon.removesuffix('/momentum')} was trained by Muon in "
                f"the checkpoint; a run's Muon cannot be switched on or off on the way"
            )
        for name, parameter in self.optimizers.named:
            for key in MOMENTS:
                # A parameter that no loss has reached yet has no moments elsewhere.
                if (value := state.get(f"{name}/{key}")) is not None:
                    self._set_moment(parameter, value.to(self._world.device), key)
        # All parameters have taken the same number of steps.
        for held in self._adam.state.values():
            held["step"] = max(value for key, value in state.items() if key.endswith("/step")).clone()

    def outside(self) -> AbstractContextManager[object]:
        """Return a context that changes nothing: every module gathers its own parameters."""
        return nullcontext()

    def _set_moment(self, parameter: nn.Parameter, value: Tensor, key: str) -> None:
        utils = self._deepspeed.utils
        if self._settings.zero_stage < 3:
            utils.safe_set_full_optimizer_state(parameter, value, key)
            return
        # Its function for whole values fails at stage 3 where workers do not divide the number of elements.
        size = parameter.ds_tensor.numel()  # type: ignore[attr-defined]  # DeepSpeed adds it
        padded = value.new_zeros(size * self._world.size)
        padded[: value.numel()] = value.flatten()
        utils.safe_set_local_optimizer_state(parameter, padded[size * self._world.rank :][:size], key)

    def _make_state(self) -> None:
        """Make AdamW's state, which would come at the first step: too late to load one.

        At stages 1 and 2 DeepSpeed 0.19.8 also looks for the state of all groups when the first one has taken its step.
        """
        zero = self._engine.optimizer
        third = self._settings.zero_stage == 3
        for part in zero.fp32_partitioned_groups_flat if third else zero.single_partition_of_fp32_groups:
            moments = {key: torch.zeros_like(part) for key in MOMENTS}
            self._adam.state[part] = {"step": torch.tensor(0.0), **moments}
        if not third:
            zero._lazy_init_hp_params_optimizer_state()

    @property
    def _adam(self) -> torch.optim.Optimizer:
        return self.optimizers.all[0]
