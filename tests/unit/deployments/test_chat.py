"""Chats through the gateway with fake parts: what clients send, what they get, what the parts see."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import numpy as np
import pytest

from tests.unit.deployments.conftest import MODEL, Local, chat_body, data_url, local_gateway, region
from vitron.media import decode_image
from vitron.regions import mask_to_png, mask_to_rle, rle_to_mask

URL = "/v1/chat/completions"


def ask(gateway: Local, *parts: Any, **fields: Any) -> dict[str, Any]:
    answer = gateway.client.post(URL, json=chat_body(*parts, **fields))
    assert answer.status_code == 200, answer.text
    return answer.json()


def content(document: dict[str, Any]) -> str:
    return document["choices"][0]["message"]["content"]


def events(gateway: Local, *parts: Any, **fields: Any) -> list[Any]:
    answer = gateway.client.post(URL, json=chat_body(*parts, stream=True, **fields))
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_text_alone_is_answered_without_pictures(gateway: Local) -> None:
    document = ask(gateway, "hello")
    assert content(document) == "Heard 1 turns, pictures [], regions []."
    assert document["choices"][0]["message"]["vitron"]["invocation"] is None
    assert document["usage"]["total_tokens"] == sum(
        document["usage"][name] for name in ("prompt_tokens", "completion_tokens")
    )


def test_pictures_and_regions_reach_the_llm_in_reading_order(gateway: Local) -> None:
    document = ask(gateway, data_url(10), data_url(90), "this", region(box=[0, 0, 1, 1], image=1), region(image=0))
    assert content(document) == "Heard 1 turns, pictures [10, 90], regions [1.0, 0.5]."


@pytest.mark.parametrize("form", ["rle", "png", "data url"])
def test_a_mask_is_accepted_in_every_form(gateway: Local, form: str) -> None:
    mask = np.zeros((6, 8), np.bool_)
    mask[:3] = True
    png = base64.b64encode(mask_to_png(mask)).decode()
    value = {"rle": mask_to_rle(mask), "png": png, "data url": f"data:image/png;base64,{png}"}[form]
    document = ask(gateway, data_url(10), region("mask", mask=value))
    assert "regions [0.5]" in content(document)


def test_regions_of_the_extension_are_the_same_as_content_parts(gateway: Local) -> None:
    item = region()["region"]
    by_part = ask(gateway, data_url(10), "this", region())
    by_extension = ask(gateway, data_url(10), "this", vitron={"regions": [item]})
    assert content(by_part) == content(by_extension)


def test_several_turns_and_system_messages_are_joined(gateway: Local) -> None:
    body = chat_body("last")
    body["messages"] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer", "vitron": {"masks": []}},
        {"role": "user", "content": "second"},
        {"role": "user", "content": "third"},
    ]
    answer = gateway.client.post(URL, json=body)
    assert content(answer.json()).startswith("Heard 4 turns")


def test_a_segmentation_comes_back_as_coco_rle(gateway: Local) -> None:
    vitron = ask(gateway, data_url(), "segment it")["choices"][0]["message"]["vitron"]
    assert vitron["invocation"]["module"] == "Image Segmentation"
    assert vitron["mask_format"] == "rle"
    mask = rle_to_mask(vitron["masks"][0]["mask"])
    assert mask.shape == (12, 16) and mask[:, :8].all() and not mask[:, 8:].any()


def test_masks_come_as_png_when_asked_for(gateway: Local) -> None:
    vitron = ask(gateway, data_url(), "segment it", vitron={"mask_format": "png"})["choices"][0]["message"]["vitron"]
    image = decode_image(base64.b64decode(vitron["masks"][0]["mask"]))
    assert image[0, 0, 0] == 255 and image[0, 15, 0] == 0


@pytest.mark.parametrize(("mode", "score"), [("hybrid", 0.5), ("signal", 0.5), ("text", 1.0)])
def test_the_message_switch_decides_whether_the_signal_arrives(gateway: Local, mode: str, score: float) -> None:
    vitron = ask(gateway, data_url(), "segment it", vitron={"message": mode})["choices"][0]["message"]["vitron"]
    assert vitron["masks"][0]["score"] == score


def test_a_generated_picture_follows_the_seed(gateway: Local) -> None:
    vitron = ask(gateway, "draw", seed=7)["choices"][0]["message"]["vitron"]
    image = decode_image(base64.b64decode(vitron["images"][0]["b64_json"]))
    assert (image == 7).all()


@pytest.mark.parametrize(
    ("word", "reason"),
    [("fail", "it would not"), ("broken", "unknown module"), ("segment", "needs a picture")],
)
def test_what_goes_wrong_after_the_text_is_told_and_the_text_kept(gateway: Local, word: str, reason: str) -> None:
    message = ask(gateway, word)["choices"][0]["message"]
    assert message["content"]
    assert reason in message["vitron"]["error"]


def test_a_wrong_option_is_told_by_name(gateway: Local) -> None:
    vitron = ask(gateway, "draw", vitron={"options": {"stepz": 3}})["choices"][0]["message"]["vitron"]
    assert "stepz" in vitron["error"]


def test_a_stream_spells_the_same_answer_and_ends_with_usage(gateway: Local) -> None:
    whole = ask(gateway, data_url(), "segment it")
    chunks = events(gateway, data_url(), "segment it", stream_options={"include_usage": True})
    assert chunks[-1] == "[DONE]"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-2])
    assert text == content(whole)
    assert chunks[-2]["usage"] == whole["usage"] and chunks[-2]["choices"] == []
    last = chunks[-3]["choices"][0]
    assert last["finish_reason"] == "stop"
    assert last["delta"]["vitron"] == whole["choices"][0]["message"]["vitron"]


def test_no_tag_and_no_half_character_shows_in_a_stream(gateway: Local) -> None:
    chunks = events(gateway, "umlaut")
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1])
    assert text == "Grüße 😀 <b>not a tag</b>"
    drawn = events(gateway, "draw")
    assert "Module" not in "".join(c["choices"][0]["delta"].get("content", "") for c in drawn[:-1])


@pytest.mark.parametrize("stop", ["will", ["zzz", "will"]])
def test_a_stop_word_ends_the_text_and_invokes_nothing(gateway: Local, stop: Any) -> None:
    document = ask(gateway, "draw", stop=stop)
    assert content(document) == "I "
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["choices"][0]["message"]["vitron"]["invocation"] is None


def test_a_stop_word_that_does_not_come_changes_nothing(gateway: Local) -> None:
    assert content(ask(gateway, "umlaut", stop=["tagged", "</c>"])) == content(ask(gateway, "umlaut"))


def test_max_tokens_ends_the_reply_with_length(gateway: Local) -> None:
    document = ask(gateway, "long", max_tokens=9)
    assert document["choices"][0]["finish_reason"] == "length"
    assert document["usage"]["completion_tokens"] == 9


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_engine_is_429_with_retry_after(gateway: Local, stream: bool) -> None:
    answer = gateway.client.post(URL, json=chat_body("full", stream=stream))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"


def test_a_prompt_that_is_too_long_is_400(gateway: Local) -> None:
    answer = gateway.client.post(URL, json=chat_body("huge"))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_a_typed_placeholder_is_only_text(gateway: Local) -> None:
    assert "pictures []" in content(ask(gateway, "what does <image> mean? <region> <signal_0>"))


def test_a_request_id_is_echoed_or_made(gateway: Local) -> None:
    given = gateway.client.post(URL, json=chat_body("hi"), headers={"x-request-id": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1" and given.json()["id"] == "chatcmpl-abc-1"
    made = gateway.client.post(URL, json=chat_body("hi"), headers={"x-request-id": "a b;"})
    assert made.headers["x-request-id"].startswith("req-")


def test_a_request_that_takes_too_long_is_408_and_frees_its_slot() -> None:
    gateway = local_gateway(limits={"request_timeout_s": 0.05})
    with gateway.client:
        answer = gateway.client.post(URL, json=chat_body("long", max_tokens=1000))
        engine = gateway.handles.language_model.part._language.engine
        wait_until(lambda: not engine.live)
    assert answer.status_code == 408


def test_silence_in_a_stream_is_filled_with_comments() -> None:
    gateway = local_gateway(limits={"heartbeat_s": 0.02})
    engine = gateway.handles.language_model.part._language.engine
    engine.step_s = 0.1
    with gateway.client:
        answer = gateway.client.post(URL, json=chat_body("hello", stream=True, max_tokens=3))
    assert ": working\n\n" in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")


def test_a_busy_gateway_refuses_chats_but_not_monitoring() -> None:
    gateway = local_gateway(limits={"max_active": 1})
    with gateway.client:
        slow = threading.Thread(target=lambda: gateway.client.post(URL, json=chat_body("long", max_tokens=900)))
        slow.start()
        engine = gateway.handles.language_model.part._language.engine
        wait_until(lambda: bool(engine.live))
        assert gateway.client.post(URL, json=chat_body("hi")).status_code == 429
        assert gateway.client.get("/health").status_code == 200
        assert gateway.client.get("/metrics").status_code == 200
        slow.join()


def test_the_same_picture_is_encoded_once() -> None:
    gateway = local_gateway()
    with gateway.client:
        for _ in range(3):
            ask(gateway, data_url(55), data_url(55), "hi")
    assert gateway.handles.image_encoder.part._encoder.encoded == 1


def test_edges_are_counted_by_source_and_target() -> None:
    gateway = local_gateway()
    with gateway.client:
        ask(gateway, data_url(), "segment it", region())
        text = gateway.client.get("/metrics").text
    for source, target, name in (
        ("image_encoder", "region_encoder", "image features"),
        ("image_encoder", "language_model", "image features"),
        ("region_encoder", "language_model", "region tokens"),
        ("language_model", "seem", "signal"),
    ):
        assert f'vitron_edge_bytes_total{{name="{name}",source="{source}",target="{target}"}}' in text
    assert 'vitron_http_requests_total{method="POST",route="/v1/chat/completions",status="200"} 1.0' in text
    assert MODEL not in text


def wait_until(condition: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
