"""Samples -> the tensors of a micro-batch, on the CPU. Knows prompts, pictures and invocations, no losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from train.data.layout import lay_out, messages
from train.data.sample import Sample
from vitron.config import VitronConfig
from vitron.diffusion.latents import to_pixels
from vitron.encoders.image import ImageEncoder, stretch
from vitron.encoders.region import make_region_encoder
from vitron.invocation import parse_reply
from vitron.prompt import IGNORE, PromptWriter
from vitron.routing import route, specialist_of
from vitron.specialists.base import SpecialistRequest
from vitron.specialists.objectives import SegmentationBatch, segmentation_batch
from vitron.types import Grounding, Invocation, Message, Module

MODULES = tuple(Module)
"""The modules by number: what the discriminator of step 3 tells apart."""
_TEACHES = {"gligen": "image", "seem": "mask"}
"""Specialist -> what of a sample's target its own loss needs."""


class GenerationBatch(NamedTuple):
    """What pictures are drawn from, and what they should show.

    Attributes:
        instructions: R texts.
        layouts: labelled boxes of each; empty: none is planned.
        pixels: `[R, 3, S, S]` in [-1, 1].
    """

    instructions: tuple[str, ...]
    layouts: tuple[tuple[Grounding, ...], ...]
    pixels: Tensor


@dataclass(frozen=True, kw_only=True)
class Calls:
    """What the invocations of one specialist mean.

    Attributes:
        rows: `[R]`, which of the batch's rows with signal tokens they are.
        texts: R full descriptions of what is meant.
        taught: what the specialist should give for the first of them; None: its own loss is not asked for.
    """

    rows: Tensor
    texts: tuple[str, ...]
    taught: GenerationBatch | SegmentationBatch | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A right-padded batch.

    Attributes:
        ids, labels: `[B, T]`.
        pixels: pictures in reading order, then the frames of clips, `[P + F, 3, S, S]`; None without any.
        lengths: frames of each clip; their sum is F.
        owners, weights, geometry: of R regions in reading order: which of `pixels` they are on `[R]`, and what
            `RegionEncoder.prepare` gives; None without any.
        modules: `[S]`, the module that each row with signal tokens invokes, by its place in `MODULES`.
        calls: by the specialist's name.
        progress: how far the run is, in [0, 1).
    """

    ids: Tensor
    labels: Tensor
    pixels: Tensor | None
    lengths: tuple[int, ...]
    owners: Tensor | None
    weights: Tensor | None
    geometry: Tensor | None
    modules: Tensor
    calls: dict[str, Calls]
    progress: float = 0.0

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; what specialists are taught goes there when they are."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


class Collator:
    """Makes batches. Holds no weights, so that loader processes can have one each."""

    def __init__(self, config: VitronConfig, tokenizer: PreTrainedTokenizerBase, *, taught: int = 0) -> None:
        """Set one up.

        Args:
            config: of the model.
            tokenizer: of the LLM.
            taught: most rows of each specialist that also get what its own loss needs.
        """
        self.config, self.taught = config, taught
        self.writer = PromptWriter(
            tokenizer=tokenizer,
            num_image_tokens=config.num_image_tokens,
            num_signal_tokens=config.signal.num_tokens,
            video=config.video,
        )
        with torch.device("meta"):  # only what they do to pictures and masks is needed
            self._image, self._region = ImageEncoder(config.clip), make_region_encoder(config)

    def __call__(self, samples: Sequence[Sample], progress: float = 0.0) -> Batch:
        """Write prompts, pad them, and lay pictures and regions out in reading order."""
        conversations = [messages(sample) for sample in samples]
        ids, labels = self._prompts(conversations)
        media = lay_out(conversations, self.config.video.max_frames)
        weights = geometry = None
        if media.masks:
            weights, geometry = self._region.prepare(media.masks)
        invoked = [_invocation(sample, turns) for sample, turns in zip(samples, conversations, strict=True)]
        modules = [MODULES.index(each.invocation.module) for each in invoked if each]
        return Batch(
            ids=ids,
            labels=labels,
            pixels=self._image.preprocess(media.pictures) if media.pictures else None,
            lengths=media.lengths,
            owners=torch.tensor(media.owners) if media.owners else None,
            weights=weights,
            geometry=geometry,
            modules=torch.tensor(modules, dtype=torch.long),
            calls=self._calls([each for each in invoked if each]),
            progress=progress,
        )

    def _prompts(self, conversations: Sequence[Sequence[Message]]) -> tuple[Tensor, Tensor]:
        prompts = [self.writer.write(turns, answer=False) for turns in conversations]
        length = max(len(prompt.input_ids) for prompt in prompts)
        ids = torch.full((len(prompts), length), self.writer.tokenizer.pad_token_id)
        labels = torch.full((len(prompts), length), IGNORE)
        for row, prompt in enumerate(prompts):
            size = len(prompt.input_ids)
            ids[row, :size], labels[row, :size] = torch.tensor(prompt.input_ids), torch.tensor(prompt.labels)
        return ids, labels

    def _calls(self, invoked: Sequence[_Invoked]) -> dict[str, Calls]:
        """Group by specialist."""
        found: dict[str, list[int]] = {}
        for row, each in enumerate(invoked):
            found.setdefault(specialist_of(each.invocation), []).append(row)
        calls = {}
        for name, rows in found.items():
            # First those that a specialist can be taught by: conversations of one's own may lack a picture or mask.
            ready = [row for row in rows if _TEACHES.get(name) in invoked[row].sample.target]
            rows = [*ready, *(row for row in rows if row not in ready)]
            calls[name] = Calls(
                rows=torch.tensor(rows),
                texts=tuple(invoked[row].sample.condition_text or "" for row in rows),
                taught=self._taught(name, [invoked[row] for row in ready[: self.taught]]),
            )
        return calls

    def _taught(self, name: str, invoked: Sequence[_Invoked]) -> GenerationBatch | SegmentationBatch | None:
        if not invoked:
            return None
        requests = [each.request() for each in invoked]
        if name == "gligen":
            side = self.config.gligen.image_size
            wanted = [stretch(each.sample.target["image"], side) for each in invoked]
            return GenerationBatch(
                instructions=tuple(request.instruction for request in requests),
                layouts=tuple(request.regions for request in requests),
                pixels=to_pixels(wanted),
            )
        if name == "seem":
            return segmentation_batch(requests, [each.sample.target["mask"] for each in invoked], self.config.seem)
        return None


class _Invoked(NamedTuple):
    """A sample that ends in an invocation."""

    sample: Sample
    turns: Sequence[Message]
    invocation: Invocation

    def request(self) -> SpecialistRequest:
        """Return what the specialist gets, as when it is served."""
        return route(self.invocation, self.turns[:-1], None, "hybrid")[1]


def _invocation(sample: Sample, turns: Sequence[Message]) -> _Invoked | None:
    if not sample.turns[-1].invokes:
        return None
    invocation = parse_reply(sample.turns[-1].text).invocation
    assert invocation is not None, sample.id
    return _Invoked(sample, turns, invocation)
