"""The graph of `serve_config.yaml` on a real Ray cluster, over HTTP; parts are fakes, so no answer takes long."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import openai
import pytest
import ray

from deployments.app import SPECIALISTS, deployments_of
from deployments.args import AppArgs
from tests.unit.deployments.conftest import MODEL, chat_body, data_url, region, video_url
from tests.unit.deployments.test_malformed import BODIES, JSON, check

pytestmark = pytest.mark.cluster
CHAT = "/v1/chat/completions"
SAMPLE = [
    "cut JSON",
    "deep arrays",
    "unknown model",
    "tools",
    "decompression bomb",
    "URL of loopback",
    "RLE huge",
    "n too many",
]


def content(document: dict[str, Any]) -> str:
    return document["choices"][0]["message"]["content"]


def post(address: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(address + CHAT, json=body, timeout=120)


def test_health_names_every_part(graph: str) -> None:
    answer = httpx.get(graph + "/health")
    assert answer.status_code == 200
    parts = {*deployments_of(AppArgs()), *SPECIALISTS.values()}  # the fakes are all there
    assert answer.json()["parts"] == dict.fromkeys(parts, True)


def test_pictures_regions_signal_and_masks_cross_the_graph_and_not_the_gateway(graph: str) -> None:
    # The gateway's process refuses every envelope (`forbid_here`), so an answer proves that it met none.
    answer = post(graph, chat_body(data_url(10), data_url(90), "segment this", region(image=1)))
    assert answer.status_code == 200, answer.text
    vitron = answer.json()["choices"][0]["message"]["vitron"]
    assert vitron["error"] is None and vitron["masks"][0]["score"] == 0.5
    metrics = httpx.get(graph + "/metrics").text
    for source, target in (
        ("image_encoder", "region_encoder"),
        ("image_encoder", "language_model"),
        ("region_encoder", "language_model"),
        ("language_model", "seem"),
    ):
        assert f'source="{source}",target="{target}"' in metrics
    assert 'target="gateway"' not in metrics


def test_features_of_many_pictures_stay_in_order(graph: str) -> None:
    body = chat_body(*[data_url(value) for value in (10, 20, 30, 40)], region(image=3, box=[0, 0, 1, 1]), region())
    assert content(post(graph, body).json()) == "Heard 1 turns, pictures [10, 20, 30, 40], regions [1.0, 0.5]."


def test_the_openai_client_streams_through_the_proxy(graph: str) -> None:
    client = openai.OpenAI(base_url=f"{graph}/v1", api_key="none", max_retries=0)
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=chat_body("draw")["messages"], stream=True, seed=3)  # type: ignore[call-overload]
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "I will draw it."
    assert chunks[-1].choices[0].delta.vitron["images"]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=[])


@pytest.mark.parametrize("name", SAMPLE)
def test_a_malformed_request_is_refused_through_the_proxy(graph: str, name: str) -> None:
    path, body, status = BODIES[name]
    check(httpx.post(graph + path, content=body, headers=JSON, timeout=60), status)


def test_specialists_answer_without_the_llm(graph: str) -> None:
    made = httpx.post(graph + "/v1/images/generations", json={"prompt": "x", "seed": 4}, timeout=60)
    assert made.status_code == 200 and made.json()["data"]
    found = httpx.post(graph + "/v1/images/segmentations", json={"image": data_url(), "prompt": "x"}, timeout=60)
    assert found.status_code == 200 and found.json()["data"]


def live(graph: str) -> int:
    """Requests in the engine, asked of its replica."""
    from ray import serve

    handle = serve.get_deployment_handle("LanguageModel", "vitron")
    return int(handle.live.remote().result(timeout_s=30)["running"])


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(graph: str, stream: bool) -> None:
    # Within the time it would take to write the whole reply, or the test would prove nothing.
    body = chat_body("long", max_tokens=1024, stream=stream)
    if stream:
        with httpx.stream("POST", graph + CHAT, json=body, timeout=30) as answer:
            next(answer.iter_lines())
    else:
        with pytest.raises(httpx.TimeoutException):
            httpx.post(graph + CHAT, json=body, timeout=0.3)
    end = time.monotonic() + 10
    while live(graph):
        assert time.monotonic() < end
        time.sleep(0.02)


def kill(deployment: str) -> None:
    """End the process of one replica."""
    names = [a["name"] for a in ray.util.list_named_actors(all_namespaces=True) if f"#{deployment}#" in a["name"]]
    ray.kill(ray.get_actor(names[0], namespace="serve"), no_restart=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "deployment",
    ["ImageEncoder", "VideoEncoder", "RegionEncoder", "LanguageModel", "ImageGenerator", "Segmenter", "Gateway"],
)
def test_no_chat_is_lost_when_a_replica_dies(graph: str, deployment: str) -> None:
    statuses = asyncio.run(chats_around_a_kill(graph, deployment))
    assert statuses == [200] * 50


async def chats_around_a_kill(graph: str, deployment: str) -> list[int]:
    limits = httpx.Limits(max_connections=50)
    async with httpx.AsyncClient(timeout=150, limits=limits) as client:
        tasks = [asyncio.create_task(chat(client, graph, i, deployment == "Gateway")) for i in range(50)]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(kill, deployment)
        return list(await asyncio.gather(*tasks))


async def chat(client: httpx.AsyncClient, graph: str, index: int, retry: bool) -> int:
    """One chat; only the loss of the gateway itself is the client's to repeat, as OpenAI's client does."""
    word = ("segment this", "draw", "hello")[index % 3]
    body = chat_body(data_url(index), video_url((index, index)), word, region(), region(video=0, frame=1))
    for _ in range(30 if retry else 1):
        try:
            answer = await client.post(graph + CHAT, json=body)
        except httpx.TransportError:
            answer = httpx.Response(599)
        if answer.status_code == 200:
            vitron = answer.json()["choices"][0]["message"]["vitron"]
            return 200 if vitron["error"] is None else 299
        if not retry:
            print(answer.status_code, answer.text[:300])
        await asyncio.sleep(1)
    return answer.status_code
