"""The LLM as an assistant: conversations in, text, invocation and signal embedding out.

Joins the prompt writer, the language model, the continuous-batching engine and the reply parser. It knows no
specialist and no transport; the same object answers in a notebook and in a serving replica.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from vitron.config import VitronConfig
from vitron.encoders.video_projector import ClipFeatures, VideoProjector, load_video_projector
from vitron.guide import InvocationGuide, possible_modules
from vitron.invocation import InvocationError, parse_reply, visible_text
from vitron.llm.core import LanguageModel
from vitron.llm.engine import Engine, EngineConfig, GenerationRequest, GenerationResult, SamplingParams
from vitron.prompt import PromptWriter
from vitron.types import Invocation, Message, Module
from vitron.weights import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Answer(NamedTuple):
    """A finished reply of the LLM.

    Attributes:
        text: what the user reads.
        invocation: which specialist is asked, if any.
        signal: v `[n, d_v]` in float32, with an invocation only.
        error: why an invocation in the text cannot be carried out; the text is kept.
        raw: everything the LLM wrote, tags included.
    """

    text: str
    invocation: Invocation | None
    signal: Tensor | None
    error: str | None
    raw: str


_ROOM = 64


@dataclass(frozen=True, kw_only=True)
class Language:
    """A language model ready to answer.

    Attributes:
        config: the whole model's configuration.
        tokenizer: with placeholders and signal tokens.
        model: in evaluation mode.
        writer: of prompts.
        engine: over `model.llama`.
        video: what clips need beside the model; None: these weights know no video.
    """

    config: VitronConfig
    tokenizer: PreTrainedTokenizerBase
    model: LanguageModel
    writer: PromptWriter
    engine: Engine
    video: VideoProjector | None = None

    @cached_property
    def _guides(self) -> dict[tuple[tuple[Module, ...], bool, int], InvocationGuide]:
        return {}

    def guide(self, messages: Sequence[Message], max_tokens: int, required: Module | None = None) -> InvocationGuide:
        """Return what keeps the invocations of a conversation whole, and to what is there, or to the required module.

        A model without a stock LLM's words knows "<" from invocations alone.
        """
        modules = possible_modules(messages) if required is None else (required,)
        room = max_tokens - max_tokens % _ROOM  # in steps, so that clients' numbers make few guides
        key = modules, required is not None, room
        if key not in self._guides:
            self._guides[key] = InvocationGuide(
                self.tokenizer,
                self.model.signal_ids,
                strict=self.config.language.pretrained is None,
                modules=modules,
                required=required is not None,
                max_tokens=room,
            )
        return self._guides[key]

    @torch.inference_mode()
    def start(
        self,
        messages: Sequence[Message],
        image_features: Sequence[Tensor],
        region_tokens: Sequence[Tensor],
        params: SamplingParams,
        request_id: str | None = None,
        *,
        clip_features: Sequence[ClipFeatures] = (),
        required: Module | None = None,
    ) -> GenerationRequest:
        """Write the prompt and splice the features in; the request is not submitted yet.

        Args:
            image_features: `[N, D]` for every picture of the conversation, in reading order.
            region_tokens: `[2, width]` for every region, in reading order.
            clip_features: of every clip, in reading order: of the frames that `vitron.prompt.seen_frames` names.
            required: what the reply invokes in any case; None: the model decides.

        Raises:
            ValueError: the conversation is malformed, features do not fit its placeholders, or it has a clip and these
                weights know no video.
        """
        self.check_clips(messages)
        ids = self.writer.write(messages, answer=True).input_ids
        device = self.model.embedding.weight.device
        features, regions = _stack(image_features, device), _stack(region_tokens, device)
        clips = self._clips(clip_features, device) if clip_features else None
        embeds = self.model.embed(torch.tensor(ids, device=device), features, regions, clips)
        return GenerationRequest(
            request_id=request_id or uuid.uuid4().hex,
            inputs_embeds=embeds,
            params=params,
            capture_token_ids=frozenset(self.model.signal_ids),
            prefix_key=self._key(ids, image_features, region_tokens, clip_features),
            guide=self.guide(messages, params.max_tokens, required),
        )

    def check_clips(self, messages: Sequence[Message]) -> None:
        """Raise ValueError if a conversation has a clip and these weights know no video."""
        if self.video is None and any(message.clips for message in messages):
            raise ValueError(
                "clips: these weights know no video, expected a conversation without clips, or weights with a "
                "video_projector"
            )

    def _clips(self, features: Sequence[ClipFeatures], device: torch.device) -> Tensor:
        assert self.video is not None
        means = torch.stack([clip.mean for clip in features]).to(device)
        frames = torch.cat([clip.frames for clip in features]).to(device)
        embedded: Tensor = self.video(means, frames, [len(clip.frames) for clip in features], self.model.projector)
        return embedded

    def answer(self, result: GenerationResult) -> Answer:
        """Parse what was generated; an invocation that cannot be carried out becomes `error`, never an exception."""
        raw = self.decode(result.token_ids)
        try:
            parsed = parse_reply(raw)
            signal = self._signal(result) if parsed.invocation else None
        except InvocationError as error:
            return Answer(visible_text(raw), None, None, str(error), raw)
        return Answer(parsed.text, parsed.invocation, signal, None, raw)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, tags included, without the end-of-sequence token."""
        kept = [i for i in ids if i != self.tokenizer.eos_token_id]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, spaces_between_special_tokens=False))

    @torch.inference_mode()
    def _signal(self, result: GenerationResult) -> Tensor:
        wanted = set(self.model.signal_ids)
        produced = [i for i in result.token_ids if i in wanted]
        if produced != self.model.signal_ids:
            raise InvocationError(
                f"the invocation has {len(produced)} signal tokens, expected {len(self.model.signal_ids)} in order",
                self.decode(result.token_ids),
            )
        return self.model.signal(result.hidden).joined.float().cpu()

    def _key(
        self,
        ids: list[int],
        features: Sequence[Tensor],
        regions: Sequence[Tensor],
        clips: Sequence[ClipFeatures],
    ) -> tuple[Hashable, ...]:
        """Name every prompt position: token ids for text, a hash of the features for what is spliced in."""
        images = iter([(_digest(f), j) for f in features for j in range(self.config.num_image_tokens)])
        marks = iter([(_digest(r), j) for r in regions for j in range(len(r))])
        per_frame = self.config.video.tokens_per_frame
        videos = iter(
            [
                (digest, j)
                for clip in clips
                for digest in [_digest(clip.mean) + _digest(clip.frames)]
                for j in range(self.config.num_image_tokens + len(clip.frames) * per_frame)
            ]
        )
        sources = {self.model.image_id: images, self.model.region_id: marks, self.model.video_id: videos}
        return tuple(next(sources[i]) if i in sources else i for i in ids)


class Detokenizer:
    """Turns token ids into text as they come, never splitting a character."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._ids: list[int] = []
        self._text = ""

    def feed(self, token_id: int) -> str:
        """Return the text that the token adds ("" while a character is incomplete)."""
        self._ids.append(token_id)
        text = self._language.decode(self._ids)
        if text.endswith("\ufffd"):
            return ""
        added, self._text = text[len(self._text) :], text
        return added


def make_language(
    config: VitronConfig,
    tokenizer: PreTrainedTokenizerBase,
    model: LanguageModel,
    engine: EngineConfig | None = None,
    video: VideoProjector | None = None,
) -> Language:
    """Return a ready assistant around a loaded model."""
    eos = tokenizer.eos_token_id
    if not isinstance(eos, int):
        raise ValueError("tokenizer: eos_token_id is not set")
    model.eval()
    return Language(
        config=config,
        tokenizer=tokenizer,
        model=model,
        writer=PromptWriter(
            tokenizer=tokenizer,
            num_image_tokens=config.num_image_tokens,
            num_signal_tokens=config.signal.num_tokens,
            video=config.video,
        ),
        engine=Engine(model.llama, engine or EngineConfig(), eos_token_id=eos, num_valid_tokens=len(tokenizer)),
        video=video,
    )


def load_language(
    config: VitronConfig,
    weights: Weights,
    engine: EngineConfig | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Language:
    """Return the core LLM, ready to answer, on `device` in `dtype`.

    With a stock checkpoint the LLM is loaded from it and the adapter in `<weights>/lora` is merged in;
    `language_model.safetensors` then holds projector and signal head alone. Clips need the part `video_projector`;
    without it the assistant refuses them.
    """
    tokenizer = weights.tokenizer()
    if config.language.pretrained:
        model = _stock_language(config, weights)
    else:
        model = LanguageModel(config, tokenizer)
        weights.load("language_model", model)
    length = EngineConfig(max_length=int(config.language.llama["max_position_embeddings"]))
    # Before the engine is made: its cache lives where the weights are, in their precision.
    video = load_video_projector(config, weights)
    if video is not None:
        video = video.to(device=device, dtype=dtype)
    return make_language(config, tokenizer, model.to(device=device, dtype=dtype), engine or length, video)


def _stock_language(config: VitronConfig, weights: Weights) -> LanguageModel:
    # peft takes seconds to import and is only needed for adapters.
    from vitron.llm.lora import merge_lora

    tokenizer, stock = weights.tokenizer(), config.language.pretrained
    assert stock is not None
    llama = LlamaForCausalLM.from_pretrained(stock.repository, revision=stock.revision, dtype=torch.bfloat16)
    llama.resize_token_embeddings(len(tokenizer))
    model = LanguageModel(config, tokenizer, merge_lora(llama, weights.find("lora")))
    weights.load("language_heads", nn.ModuleDict({"projector": model.projector, "signal_head": model.signal_head}))
    return model


def _stack(tensors: Sequence[Tensor], device: torch.device) -> Tensor | None:
    return torch.stack(list(tensors)).to(device) if tensors else None


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
