"""The parts of the LLM's recipes, built and loaded for a preset, by the names of the files they are served from.

A preset without LoRA trains its own LLM in full (`language_model`). With LoRA the stock LLM stays as it is and is
served with an adapter (`lora`) beside projector and signal head (`language_heads`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from train.recipe import Build, start
from train.recipes.teachers import ConditionTeacher, Teacher
from train.recipes.tokenizers import coordinate_words
from vitron.config import I2VGenConfig, Pretrained, VideoDiffusionConfig, VitronConfig
from vitron.encoders.image import ImageEncoder, load_image_encoder
from vitron.encoders.region import RegionEncoder, make_region_encoder
from vitron.encoders.video_projector import PART as VIDEO
from vitron.encoders.video_projector import VideoProjector, make_video_projector
from vitron.llm.core import LanguageModel, order_coordinates
from vitron.specialists.gligen import Gligen
from vitron.specialists.seem.model import Seem
from vitron.specialists.text_condition import TextCondition
from vitron.specialists.video_diffusion import condition_projection

FRONT = ("region_encoder", VIDEO)
"""Parts that embed what is seen, beside the projector."""


@dataclass(frozen=True, kw_only=True)
class Learns:
    """What a step trains of the language side.

    The tiny LLM has no pre-training that could be kept: it learns as a whole in every step, at `whole` times the rate,
    and what stands in front of it at `front_whole` times. The other fields are the paper's, for presets with LoRA.

    Attributes:
        llm: nothing, the rows of new tokens alone, or the adapters as well.
        front: whether projector, region encoder and video projector learn.
        signal_head: whether the signal head learns.
        whole, front_whole: factors on the rates of a preset without LoRA.
    """

    llm: Literal["nothing", "tokens", "adapters"]
    front: bool
    signal_head: bool
    whole: float = 1.0
    front_whole: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LanguageSide:
    """The LLM with what stands in front of it.

    Attributes:
        parts: what is trained or used, by file.
        model: the LLM; its weights are in `parts`.
        image, region, video: encoders and what clips need, in `parts` as well.
        tokenizer: the LLM's.
    """

    parts: dict[str, nn.Module]
    model: LanguageModel
    image: ImageEncoder
    region: RegionEncoder
    video: VideoProjector
    tokenizer: PreTrainedTokenizerBase


def language_rates(config: VitronConfig, learns: Learns) -> dict[str, float]:
    """Return the factors on the rates of the language side's parts; the vision tower never learns (paper §3.1).

    Where it learned along, it lost what shapes look like (docs/decisions.md).
    """
    if not config.language.lora_rank:
        front = dict.fromkeys(FRONT, learns.front_whole)
        return {"clip_vision": 0.0, "language_model": learns.whole, **front}
    return {
        "clip_vision": 0.0,
        "lora": float(learns.llm != "nothing"),
        "language_heads": float(learns.front or learns.signal_head),
        **dict.fromkeys(FRONT, float(learns.front)),
    }


def open_language_side(build: Build, learns: Learns, new: set[str]) -> LanguageSide:
    """Build and load it; names of parts that no weights were found for are added to `new`.

    What is frozen within a part is frozen here; whole parts are frozen by their rates.
    """
    config, weights = build.config, build.weights
    image = load_image_encoder(config, weights)
    region, video = make_region_encoder(config), make_video_projector(config)
    for name, part in zip(FRONT, (region, video), strict=True):
        start(part, name, weights, new)
    tokenizer = weights.tokenizer()
    if config.language.lora_rank:
        model, parts = _adapted(build, tokenizer, learns, new)
    else:
        model = LanguageModel(config, tokenizer)
        order_coordinates(model, tokenizer, coordinate_words())
        start(model, "language_model", weights, new)
        parts = {"language_model": model}
    video.see_changes(model.projector)
    if video.field is not None:
        video.field.requires_grad_(False)  # `motion_field` trains it
    parts = {"clip_vision": image, **parts, **dict(zip(FRONT, (region, video), strict=True))}
    return LanguageSide(parts=parts, model=model, image=image, region=region, video=video, tokenizer=tokenizer)


def _adapted(
    build: Build, tokenizer: PreTrainedTokenizerBase, learns: Learns, new: set[str]
) -> tuple[LanguageModel, dict[str, nn.Module]]:
    # peft takes seconds to import and is only needed for adapters.
    from vitron.llm.lora import add_lora, continue_lora

    stock = build.config.language.pretrained
    if stock is None:
        raise ValueError("language.pretrained: got None with a lora_rank, expected the LLM that is adapted")
    # Frozen weights in half the memory where the hardware computes it; adapters are float32 in any case.
    dtype = torch.bfloat16 if build.device.type == "cuda" else torch.float32
    llama = LlamaForCausalLM.from_pretrained(stock.repository, revision=stock.revision, dtype=dtype)
    embeddings = llama.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    known = embeddings.num_embeddings
    llama.resize_token_embeddings(len(tokenizer))
    llama.gradient_checkpointing_enable({"use_reentrant": False})
    model = LanguageModel(build.config, tokenizer, llama)
    try:
        adapter = continue_lora(llama, build.weights.find("lora"))
    except FileNotFoundError:
        adapter = add_lora(llama, build.config.language, list(range(known, len(tokenizer))))
        new.add("lora")
    if learns.llm == "tokens":
        for name, parameter in adapter.named_parameters():
            parameter.requires_grad_("trainable_tokens" in name)
    heads = nn.ModuleDict({"projector": model.projector, "signal_head": model.signal_head})
    start(heads, "language_heads", build.weights, new)
    model.projector.requires_grad_(learns.front)
    model.signal_head.requires_grad_(learns.signal_head)
    return model, {"lora": adapter, "language_heads": heads}


def open_generator(build: Build, new: set[str]) -> tuple[Gligen, dict[str, nn.Module]]:
    """Return the image generator and its parts; all but the output projection must be there."""
    config, weights = build.config, build.weights
    if stock := config.gligen.pretrained:
        gligen = Gligen.from_pipeline(
            stock.repository, config.gligen, signal_width=config.signal.width, revision=stock.revision
        )
    else:
        clip_tokenizer = weights.tokenizer("clip_tokenizer")
        gligen = Gligen.from_config(config.gligen, signal_width=config.signal.width, tokenizer=clip_tokenizer)
        weights.load("clip_text", gligen.text.encoder)
        weights.load("gligen_vae", gligen.codec)
        weights.load("gligen_unet", gligen.denoiser)
    start(gligen.projection, "gligen_projection", weights, new)
    return gligen, {
        "clip_text": gligen.text.encoder,
        "gligen_vae": gligen.codec,
        "gligen_unet": gligen.denoiser,
        "gligen_projection": gligen.projection,
    }


def open_video_generators(
    build: Build, gligen: Gligen, new: set[str]
) -> tuple[dict[str, nn.Module], dict[str, Teacher]]:
    """Return the output projections of the video generators, and what teaches them.

    Stock pipelines bring a condition encoder of their own; without one it is the image generator's.
    """
    config = build.config
    parts: dict[str, nn.Module] = {}
    teachers: dict[str, Teacher] = {}
    for name, settings in (("zeroscope", config.zeroscope), ("i2vgen", config.i2vgen)):
        projection = condition_projection(settings, config.signal.width)
        start(projection, f"{name}_projection", build.weights, new)
        parts[f"{name}_projection"] = projection
        text = _stock_text(settings, settings.pretrained).to(build.device) if settings.pretrained else gligen.text
        teachers[name] = ConditionTeacher(text, projection)
    return parts, teachers


def _stock_text(settings: VideoDiffusionConfig, stock: Pretrained) -> TextCondition:
    """Load the condition encoder of a pipeline alone."""
    layer = settings.text_layer if isinstance(settings, I2VGenConfig) else -1
    return TextCondition.from_pipeline(stock.repository, revision=stock.revision, layer=layer)


def open_segmenter(build: Build, new: set[str]) -> tuple[Seem, dict[str, nn.Module]]:
    """Return the segmenter and its parts; all but the output projection must be there."""
    seem = Seem(build.config.seem, build.config.signal, build.weights.tokenizer("clip_tokenizer"))
    build.weights.load("seem", seem.network)
    start(seem.projection, "seem_projection", build.weights, new)
    return seem.eval(), {"seem": seem.network, "seem_projection": seem.projection}
