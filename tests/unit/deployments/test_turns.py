"""Conversations about what was made in them (paper Fig. 11): ids, and media in the assistant's turns."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from deployments.extension import extension
from deployments.jobs.model import StorageFullError
from deployments.messages import Done
from deployments.schema import ChatExtension
from tests.unit.deployments.conftest import MODEL, Local, chat_body, data_url, local_gateway, over_http, region
from tests.unit.deployments.test_chat import URL, content
from vitron.media import decode_image
from vitron.types import SpecialistOutput
from vitron.video import decode_clip


def say(gateway: Local, history: list[Any], *parts: Any, **fields: Any) -> dict[str, Any]:
    """Send the next turn of a conversation, and add it and the answer to `history`."""
    turn = chat_body(*parts)["messages"][0]
    body = {"model": MODEL, "messages": [*history, turn], **fields}
    answer = gateway.client.post(URL, json=body)
    assert answer.status_code == 200, answer.text
    message = answer.json()["choices"][0]["message"]
    history += [turn, message]
    return answer.json()


def made(document: dict[str, Any], kind: str) -> dict[str, Any]:
    return document["choices"][0]["message"]["vitron"][kind][0]


def pixels(medium: dict[str, Any]) -> np.ndarray:
    return decode_image(base64.b64decode(medium["b64_json"]))


def test_the_session_of_the_paper(gateway: Local) -> None:
    history: list[Any] = []
    film = made(say(gateway, history, "film a red circle", seed=60), "videos")
    assert decode_clip(base64.b64decode(film["b64_json"])).frames.shape[0] == 8
    picture = made(say(gateway, history, data_url(200, 16, 16), "recolour it"), "images")
    assert (pixels(picture)[:, :8] == (0, 0, 255)).all() and (pixels(picture)[:, 8:] == 200).all()
    moving = made(say(gateway, history, "now bring to life what you made"), "videos")
    frames = decode_clip(base64.b64decode(moving["b64_json"])).frames
    assert frames.shape == (8, 16, 16, 3)
    # It is the edited picture that moves, not the one that was sent.
    assert frames[0, 4, 2, 2] > 180 and frames[0, 4, 2, 0] < 70 and frames[4, 4, 2, 0] > 140
    heard = say(gateway, history, "what have you seen?")
    assert content(heard).startswith("Heard 7 turns, pictures [200, 142]")
    assert "Videos ['8 frames of 60', '8 frames of 140']" in content(heard)


def test_regions_count_what_was_made_in_reading_order(gateway: Local) -> None:
    history: list[Any] = []
    say(gateway, history, "draw", seed=90)
    document = say(gateway, history, data_url(20), "this", region(image=0, box=[0, 0, 1, 1]))
    assert "pictures [90, 20], regions [1.0]" in content(document)
    on_film: list[Any] = []
    say(gateway, on_film, "film", seed=90)
    document = say(gateway, on_film, "this", region(video=0, frame=5))
    assert "under the regions [90]" in content(document)


def test_a_medium_is_named_by_its_id_alone(gateway: Local) -> None:
    made_id = made(say(gateway, [], "draw", seed=77, vitron={"media": "url"}), "images")["id"]
    part = {"type": "file", "file": {"file_id": made_id}}
    assert "pictures [77]" in content(say(gateway, [], part, "what is this?"))
    film_id = made(say(gateway, [], "film", seed=77, vitron={"media": "url"}), "videos")["id"]
    film = {"type": "file", "file": {"file_id": film_id}}
    assert "8 frames of" in content(say(gateway, [], film, "what is this?"))


def test_the_openai_client_sends_an_answer_back_as_it_is(gateway: Local) -> None:
    with over_http(gateway) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        messages: list[Any] = [{"role": "user", "content": "draw"}]
        answer = client.chat.completions.create(model=MODEL, messages=messages, seed=31)
        messages += [answer.choices[0].message, {"role": "user", "content": "what is this?"}]
        second = client.chat.completions.create(model=MODEL, messages=messages)
    assert "pictures [31]" in (second.choices[0].message.content or "")


def test_what_another_key_made_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("\n".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}" for name in ("alice", "bob")))
    gateway = local_gateway(api_key_file=str(path))
    with gateway.client as client:
        alice, bob = ({"authorization": f"Bearer {name}"} for name in ("alice", "bob"))
        answer = client.post(URL, json=chat_body("draw"), headers=alice).json()
        part = {"type": "file", "file": {"file_id": made(answer, "images")["id"]}}
        assert client.post(URL, json=chat_body(part), headers=alice).status_code == 200
        refused = client.post(URL, json=chat_body(part), headers=bob)
    assert refused.status_code == 404 and refused.json()["error"]["code"] == "file_not_found"


def test_a_medium_without_an_id_is_read_from_the_answer_itself(gateway: Local) -> None:
    history: list[Any] = []
    document = say(gateway, history, "draw", seed=33)
    made(document, "images")["id"] = None
    assert "pictures [33]" in content(say(gateway, history, "what is this?"))


@pytest.mark.parametrize("kind", ["images", "videos"])
def test_an_id_that_is_not_there_is_named(gateway: Local, kind: str) -> None:
    user = {"role": "user", "content": "hi"}
    answer = {"role": "assistant", "content": "x", "vitron": {kind: [{"id": "file-none"}]}}
    refused = gateway.client.post(URL, json={"model": MODEL, "messages": [user, answer, user]})
    assert refused.status_code == 404
    assert refused.json()["error"]["param"] == f"messages[1].vitron.{kind}[0].id"


def test_media_of_a_whole_conversation_are_limited() -> None:
    gateway = local_gateway(limits={"max_images": 2})
    with gateway.client:
        history: list[Any] = []
        for _ in range(2):
            say(gateway, history, "draw")
        turn = chat_body(data_url(), "hi")["messages"][0]
        refused = gateway.client.post(URL, json={"model": MODEL, "messages": [*history, turn]})
    assert refused.status_code == 400 and "pictures: got 3" in refused.json()["error"]["message"]


def test_what_cannot_be_kept_is_in_the_answer_all_the_same() -> None:
    class Full:
        async def save(self, owner: str, data: bytes, mime: str, name: str) -> str:
            raise StorageFullError("there is no room")

        async def read(self, owner: str, file_id: str) -> None:
            raise AssertionError

    done = Done(output=SpecialistOutput(images=(np.zeros((4, 4, 3), np.uint8),)))
    found = asyncio.run(extension(done, ChatExtension(media="url"), [], Full(), "alice"))
    (image,) = found["images"]
    assert image["id"] is None and image["b64_json"]
    assert "no room" in found["error"]
