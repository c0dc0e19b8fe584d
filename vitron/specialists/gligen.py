"""GLIGEN: the specialist for Image Generation, from words, boxes, a signal embedding, or any mixture.

It knows how a request becomes conditions of the denoiser and how latents become pictures. Concurrent `run`
calls share one denoise engine, so that requests of several threads are computed together.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextModel, PreTrainedTokenizerBase

from vitron.config import GligenConfig, VitronConfig
from vitron.diffusion.engine import DenoiseEngine
from vitron.diffusion.latents import LatentCodec, to_images
from vitron.diffusion.request import DenoiseRequest, DenoiseResult, StepEvent
from vitron.diffusion.thread import DenoiseThread, EventCallback
from vitron.specialists.base import (
    Cancelled,
    IsCancelled,
    OnProgress,
    Option,
    SpecialistError,
    SpecialistRequest,
    check_options,
)
from vitron.specialists.gligen_denoiser import GligenCondition, GligenDenoiser
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.text_condition import TextCondition
from vitron.types import Module, SpecialistOutput
from vitron.weights import Weights

OPTIONS: dict[str, tuple[float, float]] = {
    "steps": (1, 100),
    "guidance_scale": (0.0, 20.0),
    "num_images": (1, 4),
}
"""Inclusive ranges of a request's options."""

POLL_SECONDS = 0.1
"""How often a request that waits for its turn asks whether it is still wanted."""


@dataclass(frozen=True, kw_only=True)
class GligenOptions:
    """The options of one request, defaults filled in."""

    steps: int
    guidance_scale: float
    num_images: int


class _Message(NamedTuple):
    request_id: str
    event: StepEvent | DenoiseResult | BaseException


class _EngineHolder:
    """The engine's thread, started on first use. A copy starts its own: it may have other weights."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: DenoiseThread | None = None

    def __reduce__(self) -> tuple[type[_EngineHolder], tuple[()]]:
        return type(self), ()

    def get(self, owner: Gligen) -> DenoiseThread:
        with self._lock:
            if self._thread is None or not self._thread.healthy:
                self._thread = DenoiseThread(owner.make_engine())
            return self._thread

    def stop(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()


class Gligen(nn.Module):
    """Layout-conditioned latent diffusion as a `Specialist`.

    Attributes:
        denoiser, codec, text, projection: The parts; each is one file of weights.
    """

    module = Module.IMAGE_GENERATION

    def __init__(
        self,
        config: GligenConfig,
        *,
        denoiser: GligenDenoiser,
        codec: LatentCodec,
        text: TextCondition,
        projection: OutputProjection,
    ) -> None:
        super().__init__()
        self.config = config
        self.denoiser, self.codec = denoiser, codec
        self.text, self.projection = text, projection
        self._holder = _EngineHolder()
        self.eval()

    @classmethod
    def from_config(cls, config: GligenConfig, *, signal_width: int, tokenizer: PreTrainedTokenizerBase) -> Gligen:
        """Build one with random weights."""
        return cls(
            config,
            denoiser=GligenDenoiser.from_config(config),
            codec=LatentCodec.from_config(config.vae),
            text=TextCondition.from_config(config.text, tokenizer),
            projection=_projection(config, signal_width),
        )

    @classmethod
    def from_pipeline(
        cls,
        folder: str,
        config: GligenConfig,
        *,
        signal_width: int,
        revision: str = "main",
        dtype: torch.dtype = torch.float32,
    ) -> Gligen:
        """Load the stock parts of a diffusers GLIGEN pipeline; the output projection stays random.

        Args:
            folder: A folder or repository in the layout of `StableDiffusionGLIGENPipeline`. Its own
                configuration of UNet, VAE and text encoder is used in place of `config`'s.
            config: Everything else.
            signal_width: d_v.
            revision: Of a repository.
            dtype: Of the stock weights.
        """
        source = {"pretrained_model_name_or_path": folder, "revision": revision}
        unet = UNet2DConditionModel.from_pretrained(**source, subfolder="unet", torch_dtype=dtype)
        vae = AutoencoderKL.from_pretrained(**source, subfolder="vae", torch_dtype=dtype)
        encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", revision=revision, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(folder, subfolder="tokenizer", revision=revision)
        return cls(
            config,
            denoiser=GligenDenoiser(unet, max_objects=config.max_objects, fuser_fraction=config.fuser_fraction),
            codec=LatentCodec(vae),
            text=TextCondition(encoder, tokenizer),
            projection=_projection(config, signal_width),
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.denoiser.signal_segment.device

    def make_engine(self) -> DenoiseEngine[GligenCondition]:
        """Return an engine of its own over these weights."""
        return DenoiseEngine(
            self.denoiser,
            lambda: DPMSolverMultistepScheduler(**self.config.scheduler),
            max_rows=self.config.max_rows,
            device=self.device,
        )

    def close(self) -> None:
        """End the engine's thread; a later `run` starts another."""
        self._holder.stop()

    def run(
        self,
        request: SpecialistRequest,
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> SpecialistOutput:
        """Draw `num_images` pictures; see `Specialist.run`. May be called from several threads."""
        return self._run([request], on_progress, cancelled)[0]

    def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
        """Draw for several requests together; see `Specialist.run_batch`."""
        return self._run(requests, None, None) if requests else []

    def plan(self, request: SpecialistRequest) -> list[DenoiseRequest[GligenCondition]]:
        """Return the latents that a request needs, one per picture.

        Raises:
            ValueError: The request is wrong; the message names the field.
        """
        options = self._options(request.options)
        condition, unconditional = self._conditions(request)
        side = self.config.image_size // self.codec.downscale
        name = uuid.uuid4().hex
        return [
            DenoiseRequest(
                request_id=f"{name}-{index}",
                shape=(self.codec.channels, side, side),
                condition=condition,
                unconditional=unconditional,
                num_steps=options.steps,
                guidance_scale=options.guidance_scale,
                seed=(request.seed + index) % 2**63,
            )
            for index in range(options.num_images)
        ]

    @torch.no_grad()
    def decode(self, latents: Sequence[Tensor]) -> SpecialistOutput:
        """Return the pictures of finished latents."""
        dtype = self.denoiser.signal_segment.dtype
        pictures = [self.codec.decode(each[None].to(dtype))[0] for each in latents]
        return SpecialistOutput(images=tuple(to_images(torch.stack(pictures))))

    def _options(self, options: Mapping[str, Option]) -> GligenOptions:
        check_options(options, OPTIONS)
        for name in ("steps", "num_images"):
            value = options.get(name, 1)
            if int(value) != value:
                raise ValueError(f"options.{name}: got {value!r}, expected a whole number")
        return GligenOptions(
            steps=int(options.get("steps", self.config.num_steps)),
            guidance_scale=float(options.get("guidance_scale", self.config.guidance_scale)),
            num_images=int(options.get("num_images", 1)),
        )

    @torch.no_grad()
    def _conditions(self, request: SpecialistRequest) -> tuple[GligenCondition, GligenCondition]:
        """Return what the request's conditional and unconditional rows see."""
        self._check(request)
        # A box without a label shows what the text says.
        names = [region.label or request.instruction for region in request.regions]
        empty, said, *labels = self.text.encode(["", request.instruction, *names])
        signal = None
        if request.signal is not None:
            parameter = next(self.projection.parameters())
            signal = self.projection(request.signal.to(parameter)[None])[0].to(said.tokens.dtype)
        grounded = bool(labels)
        condition = GligenCondition(
            tokens=self.denoiser.join(said.tokens, signal),
            boxes=tuple(region.box for region in request.regions),
            phrases=torch.stack([label.pooled for label in labels]) if labels else None,
            grounded=grounded,
        )
        return condition, GligenCondition(tokens=empty.tokens, grounded=grounded)

    def _check(self, request: SpecialistRequest) -> None:
        if not request.instruction.strip() and request.signal is None:
            raise ValueError("instruction: got '' and no signal, expected at least one of them")
        if len(request.regions) > self.config.max_objects:
            raise ValueError(f"regions: got {len(request.regions)}, expected at most {self.config.max_objects}")
        if not 0 <= request.seed < 2**63:
            raise ValueError(f"seed: got {request.seed}, expected 0 to 2**63 - 1")
        width = self.projection.input.in_features
        if (signal := request.signal) is not None and (signal.ndim, signal.shape[-1]) != (2, width):
            raise ValueError(f"signal: got shape {tuple(signal.shape)}, expected [n, {width}]")

    def _run(
        self,
        requests: Sequence[SpecialistRequest],
        on_progress: OnProgress | None,
        cancelled: IsCancelled | None,
    ) -> list[SpecialistOutput]:
        plans = [self.plan(request) for request in requests]
        jobs = [job for plan in plans for job in plan]
        try:
            latents = self._denoise(jobs, on_progress, cancelled)
            outputs = [self.decode([latents[job.request_id] for job in plan]) for plan in plans]
        # RuntimeError is what torch raises for all that can go wrong in a forward, memory included.
        except (RuntimeError, FloatingPointError) as error:
            raise SpecialistError(self.module.value, str(error)) from error
        return outputs

    def _denoise(
        self,
        jobs: Sequence[DenoiseRequest[GligenCondition]],
        on_progress: OnProgress | None,
        cancelled: IsCancelled | None,
    ) -> dict[str, Tensor]:
        """Have the engine make all latents; progress and cancellation happen in the caller's thread."""
        thread = self._holder.get(self)
        inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        total, done = sum(job.num_steps for job in jobs), 0
        results: dict[str, Tensor] = {}
        submitted: list[str] = []
        try:
            for job in jobs:
                thread.submit(job, _forward_to(inbox, job.request_id))
                submitted.append(job.request_id)
            while len(results) < len(jobs):
                if cancelled is not None and cancelled():
                    raise Cancelled
                try:
                    message = inbox.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    continue
                if isinstance(message.event, BaseException):
                    raise message.event
                if isinstance(message.event, StepEvent):
                    done += 1
                    if on_progress is not None:
                        on_progress(done, total)
                else:
                    results[message.request_id] = _finite(message.event.latents)
        finally:
            for request_id in submitted:
                if request_id not in results:
                    thread.cancel(request_id)
        return results


def _projection(config: GligenConfig, signal_width: int) -> OutputProjection:
    return OutputProjection(signal_width, int(config.unet["cross_attention_dim"]), config.projection)


def _forward_to(inbox: queue.SimpleQueue[_Message], request_id: str) -> EventCallback:
    return lambda event: inbox.put(_Message(request_id, event))


def _finite(latents: Tensor | None) -> Tensor:
    if latents is None:
        raise Cancelled
    if not bool(torch.isfinite(latents).all()):
        raise FloatingPointError("the latents are not finite")
    return latents


def load_gligen(config: VitronConfig, weights: Weights) -> Gligen:
    """Return the image generator, from a stock pipeline if the preset names one."""
    settings, width = config.gligen, config.signal.width
    if settings.pretrained:
        stock = settings.pretrained
        gligen = Gligen.from_pipeline(stock.repository, settings, signal_width=width, revision=stock.revision)
    else:
        tokenizer = weights.tokenizer("clip_tokenizer")
        gligen = Gligen.from_config(settings, signal_width=width, tokenizer=tokenizer)
        weights.load("clip_text", gligen.text.encoder)
        weights.load("gligen_vae", gligen.codec)
        weights.load("gligen_unet", gligen.denoiser)
    weights.load("gligen_projection", gligen.projection)
    gligen.text.clear_cache()
    return gligen
