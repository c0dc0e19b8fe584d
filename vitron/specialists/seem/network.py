"""The SEEM network: pixels and prompts in, masks and match logits out. Knows no requests and no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from vitron.config import SeemConfig
from vitron.specialists.seem.backbone import FocalNet
from vitron.specialists.seem.decoder import Decoder, Prediction
from vitron.specialists.seem.language import LanguageEncoder, similarity
from vitron.specialists.seem.pixel_decoder import PixelDecoder, PixelFeatures
from vitron.specialists.seem.prompts import Marks, Prompts, mean_positive, sample


class LayerOutput(NamedTuple):
    """What one decoder layer says of every query.

    Attributes:
        masks: logits `[rows, Q, h, w]`.
        match: logits `[rows, Q]`; the sigmoid is the probability that the query's object is one that the prompt means.
        captions: `[rows, Q, hidden]`, to be compared with the class embeddings of texts.
    """

    masks: Tensor
    match: Tensor
    captions: Tensor


class SeemNetwork(nn.Module):
    """Backbone, pixel decoder, language encoder and decoder."""

    def __init__(self, config: SeemConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.config = config
        self.backbone = FocalNet(config)
        self.pixel_decoder = PixelDecoder(config, self.backbone.channels)
        self.lang_encoder = LanguageEncoder(config, tokenizer)
        self.predictor = Decoder(config)

    def features(self, pixels: Tensor) -> PixelFeatures:
        """Read pictures, uint8 or float RGB 0-255 `[B, 3, S, S]`, once for all their prompts."""
        mean = pixels.new_tensor(self.config.mean, dtype=torch.float32)[:, None, None]
        std = pixels.new_tensor(self.config.std, dtype=torch.float32)[:, None, None]
        normed = ((pixels.float() - mean) / std).to(self.predictor.class_embed.dtype)
        out: PixelFeatures = self.pixel_decoder(self.backbone(normed))
        return out

    def forward(
        self, features: PixelFeatures, prompts: Prompts, reference: PixelFeatures | None = None
    ) -> list[LayerOutput]:
        """Predict before the first decoder layer and after each; `prompts.visual` points into `reference`."""
        source = features if reference is None else reference
        predictions = self.predictor(features, prompts, source)
        spatial = _marked(features, prompts.spatial)
        visual = _marked(source, prompts.visual)
        return [LayerOutput(p.masks, self._match(p, prompts, spatial, visual), p.captions) for p in predictions]

    def signal_targets(self, texts: Sequence[str]) -> Tensor:
        """What the signal tokens should be for descriptions of the target: `[B, num_queries, hidden]`."""
        return self.lang_encoder.fixed_states(texts, self.config.projection.num_queries)

    def _match(self, prediction: Prediction, prompts: Prompts, spatial: Tensor | None, visual: Tensor | None) -> Tensor:
        """Sum over the kinds of prompt that a row has: cosine with a class embedding, or mask logit at the marks."""
        head = self.predictor
        scale = self.lang_encoder.logit_scale.exp().float()
        captions = prediction.captions.float()
        match = torch.zeros_like(captions[..., 0])
        if prompts.text is not None:
            logits = scale * similarity(captions, prompts.text.classes.float()) + head.match_bias
            match = match + logits * prompts.text.valid.any(1, keepdim=True)
        if prompts.signal is not None and prompts.signal_given is not None:
            classes = head.signal_class(prompts.signal.mean(dim=1)).float()
            logits = scale * similarity(captions, classes) + head.match_bias
            match = match + logits * prompts.signal_given[:, None]
        if visual is not None and prompts.visual is not None:
            classes = head.visual_class(visual).float()
            rows = prompts.visual.rows
            logits = scale * similarity(captions[rows], classes) + head.match_bias
            match = match.index_add(0, rows, logits)
        if spatial is not None and prompts.spatial is not None:
            embeds = prediction.mask_embeds[prompts.spatial.rows].float()
            logits = (embeds * spatial[:, None].float()).sum(-1)
            match = match.index_add(0, prompts.spatial.rows, logits)
        return match


def _marked(features: PixelFeatures, marks: Marks | None) -> Tensor | None:
    """Mean mask feature `[n, hidden]` at the marks."""
    return None if marks is None else mean_positive(sample(features.mask_features, marks), marks)


def upsample(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Stretch mask logits `[M, h, w]` to `size`."""
    return functional.interpolate(masks[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]
