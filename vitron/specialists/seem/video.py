"""SEEM on clips as a specialist: requests in, tracks out.

The weights of the picture segmenter are used as they are; what clips need beside them is in `VideoMemory`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from vitron.config import SeemConfig, SignalConfig, VitronConfig
from vitron.regions import to_mask
from vitron.specialists.base import Cancelled, IsCancelled, OnProgress, SpecialistError, SpecialistRequest
from vitron.specialists.output_projection import OutputProjection
from vitron.specialists.seem.memory import MemoryReader
from vitron.specialists.seem.model import to_square
from vitron.specialists.seem.network import SeemNetwork, upsample
from vitron.specialists.seem.pixel_decoder import PixelFeatures
from vitron.specialists.seem.pointing import find_shown, follow_shown, most_passes
from vitron.specialists.seem.prompts import Prompts
from vitron.specialists.seem.scan import MAX_TRAILS, Found, Question, find
from vitron.specialists.seem.track_words import TrackWords, measure
from vitron.specialists.seem.tracking import FrameFeatures, Tracker, Trail
from vitron.specialists.seem.video_request import check_request, pointers
from vitron.types import BoolMask, Clip, DrawnRegion, Image, Module, SpecialistOutput, Track
from vitron.weights import Weights

NAME = "seem_video"
DEFAULT_THRESHOLD = 0.5


class VideoMemory(nn.Module):
    """What is learned for clips: recognising a remembered object, and the words that speak of motion."""

    def __init__(self, config: SeemConfig) -> None:
        super().__init__()
        self.reader = MemoryReader(config.hidden, config.memory_width)
        self.words = TrackWords(int(config.text["hidden_size"]), config.hidden, config.memory_width)


class _Progress:
    """Counts frames, reports them, and asks whether to go on."""

    def __init__(self, total: int, on_progress: OnProgress | None, cancelled: IsCancelled | None) -> None:
        self._total, self._done = total, 0
        self._report, self._cancelled = on_progress, cancelled

    def tick(self) -> None:
        """A frame is done."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled
        self._done = min(self._done + 1, self._total - 1)
        if self._report is not None:
            self._report(self._done, self._total)

    def end(self) -> None:
        """All is done, perhaps in fewer frames than were foreseen."""
        if self._report is not None:
            self._report(self._total, self._total)


class SeemVideo(nn.Module):
    """Segments in every frame of a clip what a request means; objects keep their ids while they are hidden.

    Each object that is drawn on (on any frame) gives one track, two drawings on one object one track; without drawings
    each object that the LLM's boxes name; else text, signal or reference picture give the track that fits best.
    Options: `multiple` 1 gives every track that fits at least `threshold` (0.5) times as well as the best, best first.

    Args:
        config: sizes.
        signal: of the signal embedding.
        tokenizer: of the language encoder; it adds begin and end tokens.
    """

    module = Module.VIDEO_SEGMENTATION

    def __init__(self, config: SeemConfig, signal: SignalConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.config, self.signal = config, signal
        self.network = SeemNetwork(config, tokenizer)
        self.projection = OutputProjection(signal.width, config.hidden, config.projection)
        self.memory = VideoMemory(config)

    @torch.inference_mode()
    def run(
        self,
        request: SpecialistRequest,
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> SpecialistOutput:
        """Segment one clip; see `Specialist.run`. A step is a frame, of which there are more than the clip has."""
        clip = check_request(request, self.signal)
        pointed = pointers(request, clip)

        def check() -> None:
            if cancelled is not None and cancelled():
                raise Cancelled

        check()
        frames = FrameFeatures(len(clip.frames), lambda index: self._read(clip.frames[index]))
        question = self._question(request)
        shown = find_shown(self._tracker, frames, pointed, check) if pointed else []
        most = most_passes(shown) if shown else 1 + MAX_TRAILS
        progress = _Progress(most * (len(clip.frames) + 1), on_progress, cancelled)
        if shown:
            labels, trails = follow_shown(self._tracker, frames, shown, progress.tick)
        else:
            trails = self._find(frames, question, request, progress.tick)
            labels = [""] * len(trails)
        progress.end()
        named = [label or request.instruction.strip() for label in labels]
        return SpecialistOutput(
            tracks=tuple(
                _track(i, trail, clip, name) for i, (trail, name) in enumerate(zip(trails, named, strict=True), 1)
            )
        )

    def run_batch(self, requests: Sequence[SpecialistRequest]) -> list[SpecialistOutput]:
        """Segment several clips one after another: their frames differ in number, and each waits for the one before."""
        return [self.run(request) for request in requests]

    def signal_tokens(self, signals: Tensor) -> Tensor:
        """Project signal embeddings `[B, n, d_v]` to grounding tokens `[B, num_queries, hidden]`."""
        tokens: Tensor = self.projection(signals)
        return tokens

    def _read(self, image: Image) -> PixelFeatures:
        return self.network.features(to_square(image, self.config.image_size).to(self._device))

    def _question(self, request: SpecialistRequest) -> Question:
        """Return what holds for every frame: text, signal, and what the reference picture shows."""
        text = self.network.lang_encoder([request.instruction]) if request.instruction.strip() else None
        signal, given, visual, reference = None, None, None, None
        if request.signal is not None:
            signal = self.signal_tokens(request.signal[None].to(self.network.predictor.class_embed))
            given = torch.ones(1, dtype=torch.bool, device=self._device)
        if request.reference is not None and request.reference_drawn is not None:
            reference = self._read(request.reference)
            visual = self._tracker.marks([self._map(request.reference_drawn)], self.config.max_spatial)
        return Question(Prompts(1, text, signal, given, visual=visual), reference)

    def _map(self, region: DrawnRegion) -> BoolMask:
        return to_mask(region, self.config.image_size, self.config.image_size)

    def _find(
        self, frames: FrameFeatures, question: Question, request: SpecialistRequest, tick: Callable[[], None]
    ) -> list[Trail]:
        """Follow what fits, and return the track that fits best, or all that fit well enough."""
        found = find(self._tracker, frames, question, tick)
        if not found:
            raise SpecialistError(NAME, "no frame shows anything that could be segmented")
        if not request.options.get("multiple", 0):
            return [found[int(self.fit(question, request.instruction, found).argmax())].trail]
        fits = _looks(found).sigmoid()
        least = float(request.options.get("threshold", DEFAULT_THRESHOLD)) * float(fits.max())
        order = fits.argsort(descending=True, stable=True).tolist()
        return [found[i].trail for i in order if float(fits[i]) >= least]

    def fit(self, question: Question, instruction: str, found: Sequence[Found]) -> Tensor:
        """Return logits `[K]` of being what is meant: how well the looks fit on average, and the motion.

        Motion decides between objects and says nothing of one alone.
        """
        looks = _looks(found)
        words, tracks = self.memory.words, np.stack([measure(_cells(each.trail)) for each in found])
        measured = torch.from_numpy(tracks)[None].to(self._device)
        if instruction.strip():
            ids, lengths = self.network.lang_encoder.tokenize([instruction])
            valid = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            embedded = self.network.lang_encoder.lang_encoder.token_embedding(ids)
            looks = looks + _against_best(words(words.text(embedded, valid), measured)[0])
        if question.prompts.signal is not None:
            signal = question.prompts.signal
            valid = torch.ones_like(signal[..., 0], dtype=torch.bool)
            looks = looks + _against_best(words(words.signal(signal, valid), measured)[0])
        return looks

    @property
    def _tracker(self) -> Tracker:
        return Tracker(self.network, self.memory.reader, self.config)

    @property
    def _device(self) -> torch.device:
        return self.network.predictor.class_embed.device


def _looks(found: Sequence[Found]) -> Tensor:
    """Return how well looks fit on average over the frames in which an object is seen: logits `[K]`."""
    return torch.stack([each.match[each.match > -torch.inf].mean() for each in found])


def _against_best(logits: Tensor) -> Tensor:
    """Shift logits so that the best is 0."""
    return logits - logits.amax()


def _cells(trail: Trail) -> list[BoolMask | None]:
    return [None if mask is None else (mask > 0).cpu().numpy() for mask in trail.masks]


def _track(number: int, trail: Trail, clip: Clip, label: str) -> Track:
    """Stretch a trail's masks over the frames."""
    size = (clip.frames.shape[1], clip.frames.shape[2])
    masks = np.zeros((len(clip.frames), *size), np.bool_)
    for t, mask in enumerate(trail.masks):
        if mask is not None:
            masks[t] = (upsample(mask[None], size)[0] > 0).cpu().numpy()
    return Track(id=number, masks=masks, numbers=clip.numbers, scores=tuple(trail.scores), label=label)


def load_seem_video(config: VitronConfig, weights: Weights) -> SeemVideo:
    """Return the segmenter of clips: the picture segmenter's weights, and `seem_video.safetensors`."""
    seem = SeemVideo(config.seem, config.signal, weights.tokenizer("clip_tokenizer"))
    weights.load("seem", seem.network)
    weights.load("seem_projection", seem.projection)
    weights.load("seem_video", seem.memory)
    seem.eval()
    return seem
