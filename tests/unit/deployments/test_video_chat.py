"""Chats about videos through the gateway with fake parts: what is seen, what is made, how far it is."""

from __future__ import annotations

import base64
import io
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.serve.fake_specialists import STEPS
from tests.unit.deployments.conftest import Local, chat_body, data_url, local_gateway, region, video_url
from tests.unit.deployments.test_chat import URL, ask, content, events, wait_until
from vitron.regions import rle_to_mask
from vitron.video import decode_clip, encode_mp4

VALUES = (40, 80, 120, 160)


def vitron(document: dict[str, Any]) -> dict[str, Any]:
    return document["choices"][0]["message"]["vitron"]


def gif_url(values: tuple[int, ...]) -> str:
    frames = [PillowImage.fromarray(np.full((12, 16, 3), value, np.uint8)) for value in values]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=125)
    return "data:image/gif;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_a_video_reaches_the_llm_and_its_frames_are_named(gateway: Local) -> None:
    document = ask(gateway, video_url(VALUES), "what happens?")
    assert "Videos ['4 frames of 100']" in content(document)
    assert vitron(document)["seen_frames"] == [[0, 1, 2, 3]]


def test_of_a_long_video_frames_spread_evenly_are_seen(gateway: Local) -> None:
    document = ask(gateway, video_url([5 * index for index in range(31)]), "what happens?")
    assert vitron(document)["seen_frames"] == [[2 * index for index in range(16)]]
    assert "16 frames of 75" in content(document)


def test_a_gif_is_a_video_too(gateway: Local) -> None:
    part = {"type": "video_url", "video_url": {"url": gif_url((10, 90))}}
    assert "2 frames of 50" in content(ask(gateway, part, "what happens?"))


def test_pictures_and_videos_come_together(gateway: Local) -> None:
    document = ask(gateway, video_url((30, 30)), data_url(10), video_url(VALUES), "compare")
    assert "pictures [10]" in content(document)
    assert "Videos ['2 frames of 30', '4 frames of 100']" in content(document)
    assert vitron(document)["seen_frames"] == [[0, 1], [0, 1, 2, 3]]


def test_regions_on_frames_show_what_is_under_them_there(gateway: Local) -> None:
    marks = [region(video=0, frame=frame, box=[0, 0, 1, 1]) for frame in (3, 0, 3)]
    document = ask(gateway, video_url(VALUES), data_url(10), "this", *marks, region(image=0))
    assert "regions [1.0, 1.0, 1.0, 0.5]" in content(document)
    assert "under the regions [160, 40, 160, 10]" in content(document)


def test_a_frame_that_is_drawn_on_is_seen_however_long_the_video_is() -> None:
    gateway = local_gateway(limits={"max_clip_frames": 5})
    with gateway.client:
        marked = region(video=0, frame=11, box=[0, 0, 1, 1])
        document = ask(gateway, video_url([6 * index for index in range(40)]), "this", marked)
    (seen,) = vitron(document)["seen_frames"]
    assert 11 in seen and len(seen) == 5
    assert "under the regions [65]" in content(document)


def test_regions_of_the_extension_may_be_on_frames(gateway: Local) -> None:
    late = {"regions": [region(video=0, frame=2, box=[0, 0, 1, 1])["region"]]}
    assert "under the regions [120]" in content(ask(gateway, video_url(VALUES), "this", vitron=late))


def test_the_same_video_is_encoded_once() -> None:
    gateway = local_gateway()
    with gateway.client:
        for _ in range(3):
            ask(gateway, video_url(VALUES), "hi")
    assert gateway.handles.video_encoder.part._encoder.encoded == len(VALUES)


def test_a_cache_of_none_keeps_none() -> None:
    gateway = local_gateway(video_cache=0)
    with gateway.client:
        for _ in range(2):
            ask(gateway, video_url(VALUES), "hi")
    assert gateway.handles.video_encoder.part._encoder.encoded == 2 * len(VALUES)


def test_edges_of_videos_are_counted() -> None:
    gateway = local_gateway()
    with gateway.client:
        ask(gateway, video_url(VALUES), "this", region(video=0, frame=1))
        text = gateway.client.get("/metrics").text
    for target, name in (
        ("language_model", "clip mean"),
        ("language_model", "clip frames"),
        ("region_encoder", "frame features"),
    ):
        assert f'vitron_edge_bytes_total{{name="{name}",source="video_encoder",target="{target}"}}' in text


def test_a_track_has_ids_boxes_and_masks_for_each_frame(gateway: Local) -> None:
    made = vitron(ask(gateway, video_url(VALUES), "follow it"))
    assert made["invocation"]["module"] == "Video Segmentation" and made["error"] is None
    (track,) = made["tracks"]
    assert (track["id"], track["label"], track["frames"]) == (7, "it", [0, 1, 2, 3])
    assert track["boxes"] == [None, *[[0, 0, 0.5, 1]] * 3]
    assert track["masks"][0] is None and rle_to_mask(track["masks"][1]).mean() == 0.5


def test_a_video_that_was_made_comes_as_mp4(gateway: Local) -> None:
    made = vitron(ask(gateway, "film it", seed=90))["videos"][0]
    assert (made["width"], made["height"], made["num_frames"], made["fps"]) == (16, 16, 8, 8.0)
    clip = decode_clip(base64.b64decode(made["b64_json"]))
    assert clip.frames.shape == (8, 16, 16, 3) and abs(int(clip.frames[0, 0, 0, 0]) - 90) < 4
    assert made["url"] == f"/v1/files/{made['id']}/content"


def test_media_may_be_left_out_of_the_answer(gateway: Local) -> None:
    made = vitron(ask(gateway, "film it", vitron={"media": "url"}))["videos"][0]
    assert made["id"] and made["url"] and "b64_json" not in made


def test_an_edited_video_has_all_its_frames(gateway: Local) -> None:
    made = vitron(ask(gateway, video_url([100] * 20), "repaint it"))["videos"][0]
    assert made["num_frames"] == 20


def test_a_picture_is_brought_to_life(gateway: Local) -> None:
    made = vitron(ask(gateway, data_url(50, 16, 16), "bring to life"))
    assert made["videos"][0]["num_frames"] == 8


@pytest.mark.parametrize("word", ["follow", "repaint", "bring to life", "recolour"])
def test_what_needs_a_medium_says_so_and_the_text_is_kept(gateway: Local, word: str) -> None:
    message = ask(gateway, f"{word} it")["choices"][0]["message"]
    assert message["content"] and "the conversation has none" in message["vitron"]["error"]


def test_a_specialist_that_is_not_served_is_an_error_beside_the_text() -> None:
    gateway = local_gateway(specialists=("gligen", "seem"))
    with gateway.client:
        message = ask(gateway, "film it")["choices"][0]["message"]
    assert message["content"] == "A clip."
    assert "'zeroscope'" in message["vitron"]["error"] and "gligen" in message["vitron"]["error"]


def test_progress_is_streamed_while_a_specialist_works(gateway: Local) -> None:
    chunks = events(gateway, "draw", vitron={"options": {"step_s": 0.3}})
    deltas = [chunk["choices"][0]["delta"].get("vitron") for chunk in chunks[:-1]]
    told = [delta["progress"] for delta in deltas if delta and "progress" in delta]
    assert [each["total"] for each in told] == [STEPS] * len(told) and len(told) >= 2
    done = [each["done"] for each in told]
    assert done == sorted(set(done)) and done[-1] <= STEPS
    assert deltas[-1]["images"] and "progress" not in deltas[-1]


def test_work_for_a_client_that_left_stops_at_the_next_step() -> None:
    gateway = local_gateway(limits={"request_timeout_s": 0.5})
    specialist = gateway.handles.specialists["gligen"].part._specialist
    with gateway.client:
        answer = gateway.client.post(URL, json=chat_body("draw", vitron={"options": {"step_s": 0.4}}))
        assert answer.status_code == 408
        steps = specialist.steps
        threading.Event().wait(1.0)
    assert specialist.steps <= steps + 1 < STEPS


def test_a_slow_video_gives_signs_of_life(gateway: Local) -> None:
    answer = gateway.client.post(URL, json=chat_body("draw", stream=True, vitron={"options": {"step_s": 0.2}}))
    assert '"progress":{"done":' in answer.text
    wait_until(lambda: not gateway.handles.language_model.part._language.engine.live)


def test_large_frames_cost_frames_and_not_memory() -> None:
    gateway = local_gateway(limits={"max_clip_bytes": 3 * 32 * 48 * 3})
    with gateway.client:
        document = ask(gateway, video_url([10 * index for index in range(20)]), "what happens?")
    assert vitron(document)["seen_frames"] == [[0, 10, 19]]


def test_a_video_may_be_larger_than_a_picture_and_no_larger_than_its_limit() -> None:
    data = encode_mp4(np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8))
    gateway = local_gateway(limits={"max_image_bytes": 2000, "max_video_bytes": len(data)})
    url = "data:video/mp4;base64," + base64.b64encode(data).decode()
    with gateway.client:
        assert len(data) > 2000
        ask(gateway, url, "hi")
        longer = "data:video/mp4;base64," + base64.b64encode(data + b"\0" * 64).decode()
        assert gateway.client.post(URL, json=chat_body(longer)).status_code == 413
