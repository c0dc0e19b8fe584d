"""Videos and conversations about what was made, through the graph on a real Ray cluster; parts are fakes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.serve.fake_specialists import STEPS
from tests.unit.deployments.conftest import MODEL, chat_body, data_url, region, video_url
from tests.unit.deployments.test_malformed import BODIES, JSON, check

pytestmark = pytest.mark.cluster
CHAT = "/v1/chat/completions"
SAMPLE = ["video is text", "MP4 cut", "video of cloud metadata", "region on a frame that is not there", "file outside"]


def post(graph: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(graph + CHAT, json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]


def test_a_video_and_regions_on_it_cross_the_graph_and_not_the_gateway(graph: str) -> None:
    # The gateway's process refuses every envelope (`forbid_here`), so an answer proves that it met none.
    marks = [region(video=1, frame=frame, box=[0, 0, 1, 1]) for frame in (3, 0)]
    message = post(graph, chat_body(video_url((30, 30)), data_url(10), video_url(), "this", *marks, region(image=0)))
    assert "pictures [10], regions [1.0, 1.0, 0.5]" in message["content"]
    assert "Videos ['2 frames of 30', '4 frames of 100'], under the regions [160, 40, 10]" in message["content"]
    assert message["vitron"]["seen_frames"] == [[0, 1], [0, 1, 2, 3]]
    # After tests under load there may be several gateways, and each tells of its own requests.
    metrics = "".join(httpx.get(graph + "/metrics").text for _ in range(16))
    for target in ("language_model", "region_encoder"):
        assert f'source="video_encoder",target="{target}"' in metrics
    assert 'target="gateway"' not in metrics


@pytest.mark.parametrize("name", SAMPLE)
def test_a_malformed_video_is_refused_through_the_proxy(graph: str, name: str) -> None:
    path, body, status = BODIES[name]
    check(httpx.post(graph + path, content=body, headers=JSON, timeout=60), status)


def test_a_request_wakes_a_specialist_that_sleeps(graph: str) -> None:
    message = post(graph, chat_body(video_url([100] * 20), "follow it"))
    (track,) = message["vitron"]["tracks"]
    assert track["frames"] == list(range(20)) and track["boxes"][1] == [0, 0, 0.5, 1]
    parts = httpx.get(graph + "/health").json()["parts"]
    assert parts["VideoSegmenter"] and parts["VideoEditor"]


def test_progress_is_streamed_through_the_proxy(graph: str) -> None:
    body = chat_body("draw", stream=True, vitron={"options": {"step_s": 0.5}})
    with httpx.stream("POST", graph + CHAT, json=body, timeout=120) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    deltas = [json.loads(line)["choices"][0]["delta"].get("vitron") or {} for line in lines]
    told = [delta["progress"]["done"] for delta in deltas if "progress" in delta]
    assert len(told) >= 2 and told == sorted(set(told)) and told[-1] <= STEPS
    assert deltas[-1]["images"]


def test_the_session_of_the_paper(graph: str) -> None:
    """Text to video, an edit of a picture, and then the picture that was made moves (Fig. 11)."""
    history: list[Any] = []

    def say(*parts: Any) -> dict[str, Any]:
        turn = chat_body(*parts)["messages"][0]
        message = post(graph, {"model": MODEL, "messages": [*history, turn], "seed": 60})
        history.extend([turn, message])
        return message

    assert say("film a red circle")["vitron"]["videos"][0]["num_frames"] == 8
    assert say(data_url(200, 16, 16), "recolour it")["vitron"]["images"]
    assert say("now bring to life what you made")["vitron"]["videos"][0]["num_frames"] == 8
    heard = say("what have you seen?")["content"]
    # Half of the picture that was sent became blue, and that one was shown to the LLM.
    assert heard.startswith("Heard 7 turns, pictures [200, 142]") and "8 frames of" in heard
