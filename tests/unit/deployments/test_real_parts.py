"""The served path over the real encoders and the real LLM, untrained: it must say what the library says."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch

from deployments.args import AppArgs
from deployments.colocated import colocated
from deployments.gateway import make_gateway
from tests.serve.fakes import FakeLoaders
from tests.unit.deployments.conftest import Local, TestClient, chat_body, data_url, region, video_url
from vitron.encoders.image import ImageEncoder
from vitron.encoders.region import RegionEncoder
from vitron.encoders.video import VideoEncoder
from vitron.encoders.video_projector import make_video_projector
from vitron.language import Language, make_language
from vitron.llm.core import LanguageModel
from vitron.llm.engine import SamplingParams
from vitron.model import Vitron
from vitron.presets import preset
from vitron.prompt import user_message
from vitron.regions import to_mask
from vitron.types import DrawnRegion
from vitron.video import decode_clip
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
        self._video = make_video_projector(CONFIG).eval()

    def image_encoder(self, args: AppArgs) -> Any:
        return self._image

    def video_encoder(self, args: AppArgs) -> Any:
        return VideoEncoder(self._image, CONFIG.video)

    def region_encoder(self, args: AppArgs) -> Any:
        return self._region

    def language(self, args: AppArgs) -> Language:
        return make_language(CONFIG, self.tokenizer, self._model, video=self._video)

    def vitron(self) -> Vitron:
        """The same parts in one object."""
        language = self.language(AppArgs())
        return Vitron(config=CONFIG, image_encoder=self._image, region_encoder=self._region, language=language)


@pytest.fixture(scope="module")
def loaders() -> UntrainedLoaders:
    if not (ASSETS / "tiny" / "tokenizer").exists():
        pytest.skip("the tokenizer of the tiny preset is missing")
    return UntrainedLoaders()


@pytest.fixture(scope="module")
def gateway(loaders: UntrainedLoaders) -> Any:
    made = serve(loaders)
    with made.client:
        yield made


def serve(loaders: UntrainedLoaders) -> Local:
    """Return a gateway over these parts."""
    args = AppArgs(batch_wait_s=0)
    handles = colocated(args, loaders, ("gligen", "seem"))

    async def readiness() -> dict[str, bool]:
        return {}

    app = make_gateway(args, handles, put=lambda image: image, readiness=readiness)
    return Local(TestClient(app, client=("127.0.0.1", 1)), handles)  # type: ignore[arg-type]


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


def test_text_about_videos_is_that_of_the_library(gateway: Local, loaders: UntrainedLoaders) -> None:
    urls = [video_url([5 * index for index in range(20)]), video_url((200, 10, 90))]
    clips = [decode_clip(base64.b64decode(url.partition(",")[2])) for url in urls]
    drawn = [
        DrawnRegion(kind="box", box=(0.0, 0.0, 0.5, 1.0), clip=1, frame=2),
        DrawnRegion(kind="box", box=(0.2, 0.0, 0.5, 1.0), clip=0, frame=18),
        DrawnRegion(kind="box", box=(0.0, 0.0, 0.5, 1.0), image=0),
    ]
    image = np.full((12, 16, 3), 60, np.uint8)
    message = user_message([*clips, image, "what is this", *drawn])
    reply = loaders.vitron().reply([message], params=SamplingParams(max_tokens=12))
    marks = [
        region(video=1, frame=2, box=[0, 0, 0.5, 1]),
        region(video=0, frame=18, box=[0.2, 0, 0.5, 1]),
        region(image=0, box=[0, 0, 0.5, 1]),
    ]
    body = chat_body(*urls, data_url(60), "what is this", *marks, max_tokens=12)
    answer = gateway.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["choices"][0]["message"]["content"] == reply.text
    assert document["usage"]["prompt_tokens"] == reply.prompt_tokens
    seen = document["choices"][0]["message"]["vitron"]["seen_frames"]
    assert seen == [list(numbers) for numbers in reply.seen_frames] and 18 in seen[0]


def test_clips_are_refused_by_weights_that_know_no_video(loaders: UntrainedLoaders) -> None:
    class Blind(UntrainedLoaders):
        def __init__(self) -> None:
            self.__dict__.update(loaders.__dict__)
            self._video = None  # type: ignore[assignment]

    made = serve(Blind())
    with made.client:
        answer = made.client.post("/v1/chat/completions", json=chat_body(video_url(), "what is this"))
    assert answer.status_code == 400
    assert "know no video" in answer.json()["error"]["message"]


def test_a_conversation_beyond_the_context_is_400(gateway: Local) -> None:
    answer = gateway.client.post("/v1/chat/completions", json=chat_body("word " * 3000))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
