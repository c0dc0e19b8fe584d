"""Video jobs over HTTP: made, watched, fetched, changed, cancelled."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from deployments.args import AppArgs
from deployments.routes.videos import timing
from deployments.schema_media import VideoRequest
from tests.unit.deployments.conftest import data_url, local_gateway, region, video_url
from tests.unit.deployments.jobs.running import Served, finished, served, wait_for
from tests.unit.deployments.test_malformed import check
from vitron.media import encode_png
from vitron.presets import preset
from vitron.regions import rle_to_mask
from vitron.video import decode_clip, encode_mp4

VIDEOS = "/v1/videos"
SLOW = {"options": {"step_s": 0.3}}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("videos")) as made:
        yield made


@pytest.fixture
def client(here: Served) -> Any:
    return here.gateway.client


def mp4(count: int = 6, height: int = 32, width: int = 48) -> bytes:
    return encode_mp4(np.stack([np.full((height, width, 3), 30 * i, np.uint8) for i in range(count)]))


def create(client: Any, path: str = VIDEOS, **fields: Any) -> dict[str, Any]:
    answer = client.post(path, json=fields)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


def content(client: Any, job_id: str, variant: str = "video", **headers: str) -> Any:
    return client.get(f"{VIDEOS}/{job_id}/content", params={"variant": variant}, headers=headers)


def test_a_prompt_becomes_a_video(client: Any) -> None:
    answer = client.post(VIDEOS, json={"prompt": "film a red circle", "seed": 77})
    assert answer.headers["openai-poll-after-ms"]
    job = answer.json()
    assert (job["object"], job["status"], job["progress"], job["size"]) == ("video", "queued", 0, "64x64")
    done = finished(client, job["id"])
    assert done["status"] == "completed" and done["error"] is None and done["expires_at"] > done["completed_at"]
    assert (done["prompt"], done["size"], done["seconds"]) == ("film a red circle", "16x16", "1")
    made = content(client, job["id"])
    assert (made.status_code, made.headers["content-type"]) == (200, "video/mp4")
    assert made.content.index(b"moov") < made.content.index(b"mdat")
    assert np.abs(decode_clip(made.content).frames.astype(int) - 77).max() <= 3
    thumbnail = PillowImage.open(io.BytesIO(content(client, job["id"], "thumbnail").content))
    assert thumbnail.format == "WEBP"
    sheet = PillowImage.open(io.BytesIO(content(client, job["id"], "spritesheet").content))
    assert (sheet.format, sheet.size) == ("JPEG", (48, 48))
    check(content(client, job["id"], "tracks"), 404)
    check(content(client, job["id"], "poster"), 400)


def test_a_player_gets_the_bytes_it_asks_for(client: Any) -> None:
    job = create(client, prompt="film it")
    finished(client, job["id"])
    whole = content(client, job["id"])
    size = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes" and int(whole.headers["content-length"]) == size
    for asked, start, end in (("0-9", 0, 10), ("10-", 10, size), ("-7", size - 7, size), (f"5-{10 * size}", 5, size)):
        part = content(client, job["id"], range=f"bytes={asked}")
        assert (part.status_code, part.content) == (206, whole.content[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    assert content(client, job["id"], range="bytes=0-1,4-5").content == whole.content
    beyond = content(client, job["id"], range=f"bytes={size}-")
    check(beyond, 416)
    assert beyond.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("how", ["url", "object", "form", "file"])
def test_a_picture_comes_to_life_however_it_is_sent(client: Any, how: str) -> None:
    png = encode_png(np.full((12, 16, 3), 90, np.uint8))
    fields: dict[str, Any] = {"prompt": "bring to life"}
    if how == "form":
        answer = client.post(VIDEOS, data=fields, files={"input_reference": ("a.png", png, "image/png")})
    else:
        reference: Any = {"url": data_url(90), "object": {"image_url": data_url(90)}}.get(how)
        if how == "file":
            reference = {"file_id": client.post("/v1/files", files={"file": ("a.png", png)}).json()["id"]}
        answer = client.post(VIDEOS, json={**fields, "input_reference": reference})
    assert answer.status_code == 200, answer.text
    done = finished(client, answer.json()["id"])
    assert (done["status"], done["vitron"]["kind"]) == ("completed", "animation"), done
    assert decode_clip(content(client, done["id"]).content).frames.shape == (8, 12, 16, 3)


@pytest.mark.parametrize("how", ["url", "form", "file", "video", "bracket"])
def test_a_video_is_edited_however_it_is_sent(client: Any, how: str) -> None:
    data = mp4()
    drawn = [region("box", video=0, frame=2)["region"]]
    if how in ("form", "bracket"):
        fields: dict[str, Any] = {"prompt": "repaint it", "regions": json.dumps(drawn)}
        files: Any = {"video": ("a.mp4", data, "video/mp4")}
        if how == "bracket":
            kept = client.post("/v1/files", files=[("file", ("a.mp4", data))]).json()["id"]
            fields["video[id]"], files = kept, None
        answer = client.post(f"{VIDEOS}/edits", data=fields, files=files)
    else:
        video: Any = None
        if how == "url":
            video = video_url()
        elif how == "file":
            video = {"file_id": client.post("/v1/files", files={"file": ("a.mp4", data)}).json()["id"]}
        else:
            video = {"id": finished(client, create(client, prompt="film it", seed=20)["id"])["id"]}
        answer = client.post(f"{VIDEOS}/edits", json={"prompt": "repaint it", "video": video, "regions": drawn})
    assert answer.status_code == 200, answer.text
    done = finished(client, answer.json()["id"])
    assert done["status"] == "completed", done
    thumbnail = PillowImage.open(io.BytesIO(content(client, done["id"], "thumbnail").content))
    frames = decode_clip(content(client, done["id"]).content).frames
    # Of a clip that stands still, one picture is enough.
    assert thumbnail.n_frames == (1 if how == "video" else len(frames))
    middle = frames.shape[2] // 2
    assert (frames[:, :, 1 : middle - 1, 2] > 200).all() and (frames[0, :, middle + 2 :, 2] < 60).all()


def test_what_is_followed_is_told_frame_by_frame_and_shown(client: Any) -> None:
    job = create(
        client, f"{VIDEOS}/segmentations", video=video_url(), prompt="follow it", boxes=[[0, 0, 0.5, 1]], frame=1
    )
    done = finished(client, job["id"])
    assert done["status"] == "completed" and set(done["vitron"]["variants"]) == {
        *("video", "thumbnail", "spritesheet", "tracks")
    }
    found = content(client, job["id"], "tracks")
    assert found.headers["content-type"] == "application/json"
    tracks = found.json()
    assert (tracks["width"], tracks["height"], tracks["frames"]) == (48, 32, [0, 1, 2, 3])
    (track,) = tracks["data"]
    assert track["id"] == 7 and track["boxes"][0] is None and track["boxes"][1] == [0, 0, 0.5, 1]
    assert rle_to_mask(track["masks"][1])[:, :24].all()
    shown = decode_clip(content(client, job["id"]).content).frames
    assert shown[1, 16, 4, 0] > shown[1, 16, 40, 0] + 20 and abs(int(shown[0, 16, 4, 0]) - 40) < 8


def test_without_the_assistant_the_prompt_goes_to_the_specialist(client: Any) -> None:
    job = create(client, f"{VIDEOS}/segmentations", video=video_url(), prompt="nothing that it knows", assistant=False)
    assert finished(client, job["id"])["status"] == "completed"
    failing = create(client, prompt="fail", assistant=False)
    assert finished(client, failing["id"])["error"]["message"] == "fake: it would not"


def test_a_failed_job_is_told_with_status_200(client: Any) -> None:
    job = create(client, prompt="create something that it only talks about")
    done = finished(client, job["id"])
    assert done["status"] == "failed" and done["completed_at"] is None
    assert done["error"]["code"] == "nothing_made" and "Heard 1 turns" in done["error"]["message"]
    assert "assistant=false" in done["error"]["message"]
    check(content(client, job["id"]), 404)


def test_deleting_stops_the_work_within_two_seconds(here: Served, client: Any) -> None:
    job = create(client, prompt="film it", **SLOW)
    wait_for(lambda: client.get(f"{VIDEOS}/{job['id']}").json()["progress"] > 0)
    start = time.monotonic()
    answer = client.delete(f"{VIDEOS}/{job['id']}")
    assert answer.json() == {"id": job["id"], "object": "video.deleted", "deleted": True}
    time.sleep(max(0.0, start + 1 - time.monotonic()))
    steps = here.specialist("zeroscope").steps
    time.sleep(0.8)
    assert here.specialist("zeroscope").steps == steps
    check(client.get(f"{VIDEOS}/{job['id']}"), 404)
    assert client.delete(f"{VIDEOS}/{job['id']}").status_code == 200
    check(client.delete(f"{VIDEOS}/video_none"), 404)


def test_a_repeated_key_is_one_job(client: Any) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"prompt": "film it once"}
    first = client.post(VIDEOS, json=body, headers=headers).json()["id"]
    assert client.post(VIDEOS, json=body, headers=headers).json()["id"] == first
    form = client.post(VIDEOS, data=body, headers=headers)
    assert form.json()["id"] == first
    other = client.post(VIDEOS, json={"prompt": "film another"}, headers=headers)
    check(other, 400)
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    check(client.post(VIDEOS, json=body, headers={"Idempotency-Key": "x" * 300}), 400)


def test_lists_come_in_pages(tmp_path: Path) -> None:
    gateway = local_gateway(storage={"folder": str(tmp_path)})
    with gateway.client as client:
        ids = [create(client, prompt=f"film {i}")["id"] for i in range(5)]
        page = client.get(VIDEOS, params={"limit": 2}).json()
        assert [job["id"] for job in page["data"]] == ids[:2:-1] and page["has_more"]
        rest = client.get(VIDEOS, params={"after": page["last_id"], "limit": 9}).json()
        assert [job["id"] for job in rest["data"]] == ids[2::-1] and not rest["has_more"]
        ascending = client.get(VIDEOS, params={"order": "asc"}).json()
        assert [job["id"] for job in ascending["data"]] == ids
        for query in ({"limit": "0"}, {"limit": "x"}, {"limit": "1000"}, {"order": "up"}):
            check(client.get(VIDEOS, params=query), 400)


def test_too_many_unfinished_jobs_are_refused(tmp_path: Path) -> None:
    gateway = local_gateway(storage={"folder": str(tmp_path), "max_unfinished_jobs": 1})
    with gateway.client as client:
        create(client, prompt="film it")
        refused = client.post(VIDEOS, json={"prompt": "film it"})
        check(refused, 429)
        assert refused.json()["error"]["code"] == "too_many_jobs" and refused.headers["retry-after"]
        assert not list(tmp_path.glob("artifacts/jobs/*/input/*"))


def test_what_is_not_served_is_said_at_once(tmp_path: Path) -> None:
    gateway = local_gateway(specialists=("gligen", "seem"), storage={"folder": str(tmp_path)})
    with gateway.client as client:
        answer = client.post(VIDEOS, json={"prompt": "film it"})
    assert answer.status_code == 501 and answer.headers["x-should-retry"] == "false"
    assert "zeroscope" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "frames", "fps"),
    [
        ({}, 8, 8),
        ({"frames": 16}, 16, 8),
        ({"seconds": 2}, 16, 8),
        ({"seconds": 4}, 16, 4),
        ({"frames": 12, "seconds": 3}, 12, 4),
        ({"fps": 4, "frames": 8}, 8, 4),
    ],
)
def test_length_follows_seconds_frames_and_rate(fields: dict[str, Any], frames: int, fps: float) -> None:
    config = preset("tiny").zeroscope
    made = timing(VideoRequest(prompt="x", **fields), AppArgs())
    assert (made.frames, made.fps) == (frames if fields else config.num_frames, fps)


def test_a_picture_is_kept_as_it_came(here: Served, client: Any) -> None:
    """A photograph as PNG would be many times as large as the JPEG that it was."""
    buffer = io.BytesIO()
    PillowImage.effect_noise((160, 120), 90).convert("RGB").save(buffer, "JPEG", quality=60)
    answer = client.post(
        VIDEOS, data={"prompt": "bring to life"}, files={"input_reference": ("a.jpg", buffer.getvalue())}
    )
    folder = Path(here.args.storage.folder)
    kept = [path.read_bytes() for path in folder.rglob(f"{answer.json()['id']}/input/*")]
    assert kept == [buffer.getvalue()]
    assert finished(client, answer.json()["id"])["status"] == "completed"


def test_a_kept_picture_is_segmented(client: Any) -> None:
    png = encode_png(np.full((12, 16, 3), 90, np.uint8))
    kept = client.post("/v1/files", files={"file": ("a.png", png)}).json()["id"]
    answer = client.post("/v1/images/segmentations", json={"image": {"file_id": kept}, "prompt": "red"})
    assert answer.status_code == 200 and answer.json()["width"] == 16
    check(client.post("/v1/images/segmentations", json={"image": {"file_id": "file-0"}, "prompt": "red"}), 404)
