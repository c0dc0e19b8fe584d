"""OpenAI's own client against the gateway over a real socket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.unit.deployments.conftest import MODEL, chat_body, data_url, local_gateway, over_http
from tests.unit.deployments.test_chat import wait_until


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, Any]]:
    gateway = local_gateway()
    with over_http(gateway) as address:
        yield address, gateway.handles.language_model.part._language.engine


@pytest.fixture
def client(served: tuple[str, Any]) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served[0]}/v1", api_key="none", max_retries=0)


def messages(text: str, *urls: str) -> Any:
    return chat_body(text, *urls)["messages"]


def test_a_chat_is_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=messages("segment it", data_url()), extra_body={"vitron": {"mask_format": "png"}}
    )
    assert answer.choices[0].message.content == "Here it is."
    assert answer.choices[0].message.vitron["mask_format"] == "png"
    assert answer.usage is not None and answer.usage.prompt_tokens > 0


def test_a_chat_is_streamed(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=messages("draw"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "I will draw it."
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].delta.vitron["images"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "other"}, openai.NotFoundError),
        ({"temperature": 7}, openai.BadRequestError),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError),
        ({"messages": messages("full")}, openai.RateLimitError),
    ],
)
def test_errors_are_the_clients_exceptions(client: openai.OpenAI, fields: dict[str, Any], error: Any) -> None:
    request = {"model": MODEL, "messages": messages("hi"), **fields}
    with pytest.raises(error) as caught:
        client.chat.completions.create(**request)
    assert caught.value.body["message"]


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).capabilities["image_size"] == "64x64"


def test_a_picture_is_generated(client: openai.OpenAI) -> None:
    answer = client.images.generate(model=MODEL, prompt="a red circle", n=2, size="64x64", response_format="b64_json")
    assert len(answer.data or []) == 2 and answer.data[0].b64_json


def test_a_client_that_leaves_a_stream_frees_its_slot(served: tuple[str, Any]) -> None:
    address, engine = served
    body = chat_body("long", max_tokens=1000, stream=True)
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body) as answer:
        next(answer.iter_lines())
        wait_until(lambda: bool(engine.live))
    wait_until(lambda: not engine.live)


def test_a_body_that_does_not_arrive_is_408() -> None:
    gateway = local_gateway(limits={"body_timeout_s": 0.1})

    def slow() -> Iterator[bytes]:
        yield b'{"model": '
        time.sleep(0.4)
        yield b'"x"}'

    with over_http(gateway) as address:
        headers = {"content-type": "application/json"}
        answer = httpx.post(f"{address}/v1/chat/completions", content=slow(), headers=headers)
    assert answer.status_code == 408
