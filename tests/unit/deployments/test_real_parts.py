"""The served path over the real encoders and the real LLM, untrained: it must say what the library says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from deployments.args import AppArgs
from deployments.colocated import colocated
from deployments.gateway import make_gateway
from tests.serve.fakes import FakeLoaders
from tests.unit.deployments.conftest import Local, TestClient, chat_body, data_url, region
from vitron.encoders.image import ImageEncoder
from vitron.encoders.region import RegionEncoder
from vitron.language import Language, make_language
from vitron.llm.core import LanguageModel
from vitron.llm.engine import SamplingParams
from vitron.presets import preset
from vitron.prompt import user_message
from vitron.regions import to_mask
from vitron.types import DrawnRegion
from vitron.weights import ASSETS, open_weights

CONFIG = preset("tiny")


class UntrainedLoaders(FakeLoaders):
    """Real classes with random weights; the specialists stay fakes."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self._image = ImageEncoder(CONFIG.clip).eval()
        self._region = RegionEncoder(
            CONFIG.region, feature_width=CONFIG.clip.width, grid=CONFIG.clip.grid, width=CONFIG.language.width
        ).eval()
        self.tokenizer = open_weights("tiny").tokenizer()
        self._model = LanguageModel(CONFIG, self.tokenizer).eval()

    def image_encoder(self, args: AppArgs) -> Any:
        return self._image

    def region_encoder(self, args: AppArgs) -> Any:
        return self._region

    def language(self, args: AppArgs) -> Language:
        return make_language(CONFIG, self.tokenizer, self._model)


@pytest.fixture(scope="module")
def loaders() -> UntrainedLoaders:
    if not (ASSETS / "tiny" / "tokenizer").exists():
        pytest.skip("the tokenizer of the tiny preset is missing")
    return UntrainedLoaders()


@pytest.fixture(scope="module")
def gateway(loaders: UntrainedLoaders) -> Any:
    args = AppArgs(batch_wait_s=0)
    handles = colocated(args, loaders, ("gligen", "seem"))

    async def readiness() -> dict[str, bool]:
        return {}

    app = make_gateway(args, handles, put=lambda image: image, readiness=readiness)
    with TestClient(app, client=("127.0.0.1", 1)) as client:  # type: ignore[arg-type]
        yield Local(client, handles)


@pytest.mark.parametrize("pictures", [0, 1, 2])
@torch.inference_mode()
def test_the_served_text_is_that_of_the_library(gateway: Local, loaders: UntrainedLoaders, pictures: int) -> None:
    images = [np.full((12, 16, 3), 60 * (index + 1), np.uint8) for index in range(pictures)]
    drawn = [DrawnRegion(kind="box", box=(0.0, 0.0, 0.5, 1.0), image=pictures - 1)] if pictures else []
    message = user_message([*images, "what is this", *drawn])
    features = list(loaders._image.encode(images)) if images else []
    tokens = [loaders._region.encode(features[r.image], [to_mask(r, 12, 16)])[0] for r in drawn]
    language = loaders.language(AppArgs())
    request = language.start([message], features, tokens, SamplingParams(max_tokens=12))
    (result,) = language.engine.generate([request])

    parts: list[Any] = [*[data_url(60 * (index + 1)) for index in range(pictures)], "what is this"]
    if pictures:
        parts.append(region(image=pictures - 1))
    answer = gateway.client.post("/v1/chat/completions", json=chat_body(*parts, max_tokens=12))
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["choices"][0]["message"]["content"] == language.answer(result).text
    assert document["usage"]["prompt_tokens"] == result.prompt_tokens
    assert document["usage"]["completion_tokens"] == len(result.token_ids)


def test_a_conversation_beyond_the_context_is_400(gateway: Local) -> None:
    answer = gateway.client.post("/v1/chat/completions", json=chat_body("word " * 3000))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
