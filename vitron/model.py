"""`Vitron`: the whole assistant in one process.

The same parts answer in the served graph; this class is the notebook, the test oracle and the baseline for it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from vitron.config import VitronConfig
from vitron.encoders.image import ImageEncoder, load_image_encoder
from vitron.encoders.region import RegionEncoder, load_region_encoder
from vitron.encoders.video import VideoEncoder
from vitron.encoders.video_projector import ClipFeatures
from vitron.language import Answer, Language, load_language
from vitron.llm.engine import GenerationResult, SamplingParams
from vitron.presets import preset
from vitron.prompt import carry_produced, seen_frames
from vitron.regions import to_mask
from vitron.routing import RoutingError, route
from vitron.specialists.base import Option, Specialist, SpecialistError, SpecialistRequest
from vitron.specialists.table import load_specialist, loadable
from vitron.types import Clip, DrawnRegion, Image, Message, MessageMode, Reply, SpecialistOutput
from vitron.weights import open_weights

logger = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """The media of a conversation as the LLM takes them, each in reading order.

    Attributes:
        images: `[N, D]` of every picture.
        regions: `[2, width]` of every region, on pictures and on clips.
        clips: of every clip.
    """

    images: list[Tensor]
    regions: list[Tensor]
    clips: list[ClipFeatures]


@dataclass(frozen=True, kw_only=True)
class Vitron:
    """Encoders, LLM and specialists in one process.

    Attributes:
        config: of the preset.
        image_encoder, region_encoder, language: the front and the core.
        specialists: by name.
    """

    config: VitronConfig
    image_encoder: ImageEncoder
    region_encoder: RegionEncoder
    language: Language
    specialists: Mapping[str, Specialist] = field(default_factory=dict)

    @classmethod
    def from_preset(cls, name: str = "tiny", weights: str | Path | None = None) -> Vitron:
        """Load every part of a preset that the weights hold; `weights` is a folder, None the embedded ones."""
        config, folder = preset(name), open_weights(name, weights)
        return cls(
            config=config,
            image_encoder=load_image_encoder(config, folder),
            region_encoder=load_region_encoder(config, folder),
            language=load_language(config, folder),
            specialists={each: load_specialist(each, config, folder) for each in loadable(config, folder)},
        )

    def reply(
        self,
        messages: Sequence[Message],
        *,
        seed: int = 0,
        message: MessageMode = "hybrid",
        params: SamplingParams | None = None,
        options: Mapping[str, Option] | None = None,
    ) -> Reply:
        """Answer one conversation; see `reply_batch`."""
        return self.reply_batch([messages], seeds=[seed], message=message, params=params, options=options)[0]

    def reply_batch(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int] | None = None,
        message: MessageMode = "hybrid",
        params: SamplingParams | None = None,
        options: Mapping[str, Option] | None = None,
        carry_out: bool = True,
    ) -> list[Reply]:
        """Answer several conversations together; each reply equals that of answering it alone.

        Args:
            conversations: each ends with a user's turn; pictures and clips that the assistant made stand in its own
                turns (`vitron.prompt.assistant_message`).
            seeds: one per conversation, for sampling and for specialists; 0 if not given.
            message: which half of the hybrid message reaches the specialists.
            params: sampling; greedy if not given.
            options: for the specialist ("steps", "guidance_scale", ...).
            carry_out: whether specialists do what is invoked; False: replies have invocations and no outputs.

        Raises:
            ValueError: a conversation is malformed. What goes wrong after that (an invocation that cannot be parsed,
                a specialist that fails) is in `Reply.error`.
        """
        conversations = [carry_produced(messages) for messages in conversations]
        seeds = list(seeds) if seeds is not None else [0] * len(conversations)
        results = self.generate(conversations, params or SamplingParams(), seeds)
        answers = [self.language.answer(result) for result in results]
        seen = [tuple(seen_frames(messages, self.config.video.max_frames)) for messages in conversations]
        jobs = [
            _job(answer, messages, message, seed, options, self.specialists.keys(), numbers)
            if carry_out
            else _Job(error=answer.error)
            for answer, messages, seed, numbers in zip(answers, conversations, seeds, seen, strict=True)
        ]
        outputs = self._run(jobs)
        return [_reply(*parts) for parts in zip(results, answers, outputs, seen, strict=True)]

    def generate(
        self, conversations: Sequence[Sequence[Message]], params: SamplingParams, seeds: Sequence[int]
    ) -> list[GenerationResult]:
        """Run the encoders and the LLM only."""
        requests = []
        for messages, seed in zip(map(carry_produced, conversations), seeds, strict=True):
            self.language.check_clips(messages)
            media = self.encode_media(messages)
            request = self.language.start(
                messages, media.images, media.regions, replace(params, seed=seed), clip_features=media.clips
            )
            requests.append(request)
        return self.language.engine.generate(requests)

    def encode(self, messages: Sequence[Message]) -> tuple[list[Tensor], list[Tensor]]:
        """Return images and regions of `encode_media`: all that a conversation without clips needs."""
        media = self.encode_media(messages)
        return media.images, media.regions

    def encode_media(self, messages: Sequence[Message]) -> Encoded:
        """Encode pictures, clips and regions of a conversation.

        Raises:
            ValueError: a region is on a picture, clip or frame that is not there.
        """
        images = [image for message in messages for image in message.images]
        clips = [clip for message in messages for clip in message.clips]
        features = list(self.image_encoder.encode(images)) if images else []
        encoder = VideoEncoder(self.image_encoder, self.config.video)
        seen = seen_frames(messages, self.config.video.max_frames)
        patches = [encoder.patches(clip, numbers) for clip, numbers in zip(clips, seen, strict=True)]
        regions: list[Tensor] = []
        for region in (region for message in messages for region in message.regions):
            source = _source(region, images, features, clips, list(zip(seen, patches, strict=True)))
            mask = to_mask(region, *source.picture.shape[:2])
            regions += list(self.region_encoder.encode(source.features, [mask]))
        return Encoded(features, regions, [encoder.pool(each) for each in patches])

    def _run(self, jobs: Sequence[_Job]) -> list[_Job]:
        """Run specialists, those of one kind together; failures become errors of their own reply alone."""
        done = list(jobs)
        for name, specialist in self.specialists.items():
            mine = [i for i, job in enumerate(jobs) if job.name == name and job.request]
            requests = [job.request for job in jobs if job.name == name and job.request]
            for i, job in zip(mine, _attempt(specialist, requests), strict=True):
                done[i] = job
        return done


class _Source(NamedTuple):
    picture: Image
    features: Tensor


def _source(
    region: DrawnRegion,
    images: Sequence[Image],
    features: Sequence[Tensor],
    clips: Sequence[Clip],
    seen: Sequence[tuple[tuple[int, ...], Tensor]],
) -> _Source:
    """Find the picture, or the frame of a clip, that a region is drawn on; `seen` are frame numbers and patches."""
    if region.clip is not None:  # That the frame is there, `seen_frames` has checked.
        clip, (numbers, patches) = clips[region.clip], seen[region.clip]
        return _Source(clip.frames[clip.numbers.index(region.frame)], patches[numbers.index(region.frame)])
    if not 0 <= region.image < len(images):
        raise ValueError(f"region.image: got {region.image}, expected 0 to {len(images) - 1}")
    return _Source(images[region.image], features[region.image])


@dataclass(frozen=True, kw_only=True)
class _Job:
    name: str = ""
    request: SpecialistRequest | None = None
    output: SpecialistOutput | None = None
    error: str | None = None


def _job(
    answer: Answer,
    messages: Sequence[Message],
    mode: MessageMode,
    seed: int,
    options: Mapping[str, Option] | None,
    known: Collection[str],
    seen: Sequence[Sequence[int]] = (),
) -> _Job:
    if answer.invocation is None:
        return _Job(error=answer.error)
    try:
        name, request = route(answer.invocation, messages, answer.signal, mode, seed, options, seen)
    except RoutingError as error:
        return _Job(error=str(error))
    if name not in known:
        return _Job(error=f"specialist: {name!r} is not loaded, expected one of {sorted(known)}")
    return _Job(name=name, request=request)


def _attempt(specialist: Specialist, requests: Sequence[SpecialistRequest]) -> list[_Job]:
    if not requests:
        return []
    try:
        return [_Job(output=output) for output in specialist.run_batch(requests)]
    except (ValueError, SpecialistError) as error:
        if len(requests) == 1:
            logger.info("specialist failed: %s", error)
            return [_Job(error=str(error))]
    return [job for request in requests for job in _attempt(specialist, [request])]


def _reply(result: GenerationResult, answer: Answer, job: _Job, seen: tuple[tuple[int, ...], ...]) -> Reply:
    return Reply(
        text=answer.text,
        invocation=answer.invocation,
        output=job.output,
        error=job.error,
        finish_reason=result.finish_reason,
        prompt_tokens=result.prompt_tokens,
        completion_tokens=len(result.token_ids),
        raw_text=answer.raw,
        seen_frames=seen,
    )
