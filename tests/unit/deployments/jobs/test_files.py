"""Files by id, edited pictures, and OpenAI's own client for all of it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image as PillowImage

from tests.unit.deployments.conftest import MODEL, data_url, local_gateway, over_http, region
from tests.unit.deployments.jobs.running import Served, finished, served
from tests.unit.deployments.jobs.test_videos import mp4
from tests.unit.deployments.test_malformed import check
from vitron.media import decode_image, encode_png
from vitron.video import decode_clip

PNG = encode_png(np.full((12, 16, 3), 90, np.uint8))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("files")) as made:
        yield made


@pytest.fixture
def client(here: Served) -> Any:
    return here.gateway.client


@pytest.fixture(scope="module")
def sdk(here: Served) -> Iterator[openai.OpenAI]:
    with over_http(here.gateway) as address:
        yield openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def mask(width: int = 16, height: int = 12, *, alpha: int = 0) -> bytes:
    """A PNG whose left half has `alpha`."""
    pixels = np.full((height, width, 4), 255, np.uint8)
    pixels[:, : width // 2, 3] = alpha
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_files_go_through_their_life_with_the_openai_client(sdk: openai.OpenAI) -> None:
    file = sdk.files.create(file=("my photo.png", PNG), purpose="vision")
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(PNG), "my photo.png", "vision")
    assert file.expires_at and file.expires_at > file.created_at
    assert sdk.files.retrieve(file.id) == file
    assert sdk.files.content(file.id).read() == PNG
    assert file.id in [each.id for each in sdk.files.list()]
    soon = sdk.files.create(
        file=("a.mp4", mp4()), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert soon.expires_at == soon.created_at + 3600 or soon.expires_at == soon.created_at + 3601
    assert sdk.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(file.id)
    with pytest.raises(openai.NotFoundError):
        sdk.files.content(file.id)


def test_an_uploads_type_is_what_it_is_and_not_what_it_says(client: Any) -> None:
    kept = client.post("/v1/files", files={"file": ("../../etc/<x>.html", PNG, "text/html")}).json()
    served_as = client.get(f"/v1/files/{kept['id']}/content")
    assert served_as.headers["content-type"] == "image/png" and served_as.headers["x-content-type-options"] == "nosniff"
    assert "<" not in served_as.headers["content-disposition"] and "/" not in served_as.headers["content-disposition"]
    check(client.post("/v1/files", files={"file": ("a.png", b"<html>", "image/png")}), 415)
    check(client.post("/v1/files", files={"file": ("a.mp4", mp4()[:300], "video/mp4")}), 400)
    check(client.post("/v1/files", data={"purpose": "vision"}), 400)
    check(client.post("/v1/files", files={"file": ("a.png", PNG)}, data={"purpose": "fine-tune"}), 400)


def test_files_of_one_key_are_invisible_to_another(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("ann", "bob")))
    gateway = local_gateway(storage={"folder": str(tmp_path)}, api_key_file=str(keys))
    ann, bob = ({"Authorization": f"Bearer {name}"} for name in ("ann", "bob"))
    with gateway.client as client:
        file = client.post("/v1/files", files={"file": ("a.png", PNG)}, headers=ann).json()["id"]
        job = client.post("/v1/videos", json={"prompt": "film it"}, headers=ann).json()["id"]
        for path in (
            f"/v1/files/{file}",
            f"/v1/files/{file}/content",
            f"/v1/videos/{job}",
            f"/v1/videos/{job}/content",
        ):
            check(client.get(path, headers=bob), 404)
            check(client.get(path), 401)
        check(client.delete(f"/v1/files/{file}", headers=bob), 404)
        check(client.delete(f"/v1/videos/{job}", headers=bob), 404)
        body = {"prompt": "bring to life", "input_reference": {"file_id": file}}
        check(client.post("/v1/videos", json=body, headers=bob), 404)
        assert client.get("/v1/videos", headers=bob).json()["data"] == []
        assert client.get(f"/v1/videos/{job}", headers=ann).status_code == 200


def test_the_files_of_one_key_are_limited(tmp_path: Path) -> None:
    with local_gateway(storage={"folder": str(tmp_path), "max_files": 1}).client as client:
        assert client.post("/v1/files", files={"file": ("a.png", PNG)}).status_code == 200
        check(client.post("/v1/files", files={"file": ("a.png", PNG)}), 400)


def test_what_chats_made_is_not_counted_as_uploads(tmp_path: Path) -> None:
    with local_gateway(storage={"folder": str(tmp_path), "max_files": 1}).client as client:
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "film it"}]}
        assert client.post("/v1/chat/completions", json=chat).json()["choices"][0]["message"]["vitron"]["videos"]
        assert client.post("/v1/files", files={"file": ("a.png", PNG)}).status_code == 200


def test_the_openai_client_makes_a_video(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create_and_poll(prompt="film it", seconds="4", poll_interval_ms=20)
    assert (video.status, video.progress) == ("completed", 100)
    assert sdk.videos.download_content(video.id, variant="thumbnail").read()[8:12] == b"WEBP"
    assert decode_clip(sdk.videos.download_content(video.id).read()).frames.shape[0] == 8
    alive = sdk.videos.create_and_poll(
        prompt="bring to life", input_reference=("a.png", PNG, "image/png"), poll_interval_ms=20
    )
    assert alive.status == "completed"
    edited = sdk.videos.edit(prompt="repaint it", video=("a.mp4", mp4(), "video/mp4"))
    assert sdk.videos.poll(edited.id, poll_interval_ms=20).status == "completed"
    assert [each.id for each in sdk.videos.list(limit=2)][:2] == [edited.id, alive.id]
    assert sdk.videos.delete(video.id).deleted
    failed = sdk.videos.create_and_poll(prompt="create nothing", poll_interval_ms=20)
    assert failed.status == "failed" and failed.error is not None and failed.error.code == "nothing_made"


def test_the_openai_client_edits_a_picture(sdk: openai.OpenAI) -> None:
    answer = sdk.images.edit(model=MODEL, image=("a.png", PNG), prompt="recolour it", mask=("m.png", mask()), n=1)
    assert answer.data and answer.data[0].b64_json
    made = decode_image(base64.b64decode(answer.data[0].b64_json))
    assert (made[:, :8] == (0, 0, 255)).all() and (made[:, 8:] == 90).all()
    several = sdk.images.edit(model=MODEL, image=[("a.png", PNG)], prompt="recolour it")
    assert several.data and several.data[0].b64_json == answer.data[0].b64_json


@pytest.mark.parametrize("assistant", [True, False])
def test_a_picture_is_edited_by_the_assistant_or_the_specialist(client: Any, assistant: bool) -> None:
    drawn = [region("scribble", points=[[0, 0], [1, 1]])["region"]]
    body = {"image": data_url(90), "prompt": "recolour it", "regions": drawn, "assistant": assistant}
    answer = client.post("/v1/images/edits", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == "16x12" and len(answer.json()["data"]) == 1


def test_a_mask_keeps_its_holes_however_it_is_sent(client: Any) -> None:
    url = "data:image/png;base64," + base64.b64encode(mask()).decode()
    body = {"image": data_url(90), "prompt": "recolour it", "mask": url}
    form = client.post("/v1/images/edits", data={"prompt": "recolour it"}, files={"image": PNG, "mask": mask()})
    assert client.post("/v1/images/edits", json=body).json()["data"] == form.json()["data"]


def test_a_kept_file_is_edited_and_talked_about(client: Any) -> None:
    kept = client.post("/v1/files", files={"file": ("a.png", PNG)}).json()["id"]
    answer = client.post("/v1/images/edits", json={"image": {"file_id": kept}, "prompt": "recolour it"})
    assert answer.status_code == 200
    turn = [{"type": "file", "file": {"file_id": kept}}, {"type": "text", "text": "hello"}]
    chat = {"model": MODEL, "messages": [{"role": "user", "content": turn}]}
    said = client.post("/v1/chat/completions", json=chat).json()["choices"][0]["message"]["content"]
    assert "pictures [90]" in said


def test_a_finished_video_is_talked_about_by_its_id(client: Any) -> None:
    job = client.post("/v1/videos", json={"prompt": "film it", "seed": 50}).json()["id"]
    finished(client, job)
    turn = [{"type": "file", "file": {"file_id": job}}, {"type": "text", "text": "hello"}]
    chat = {"model": MODEL, "messages": [{"role": "user", "content": turn}]}
    answer = client.post("/v1/chat/completions", json=chat)
    assert answer.status_code == 200, answer.text
    assert "8 frames of" in answer.json()["choices"][0]["message"]["content"]


def test_what_a_chat_made_is_a_file(client: Any) -> None:
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "film it"}]}
    made = client.post("/v1/chat/completions", json=chat).json()["choices"][0]["message"]["vitron"]["videos"][0]
    content = client.get(made["url"])
    assert content.headers["content-type"] == "video/mp4" and content.content == base64.b64decode(made["b64_json"])


def test_an_assistant_that_makes_no_picture_is_quoted(client: Any) -> None:
    answer = client.post("/v1/images/edits", json={"image": data_url(), "prompt": "hello"})
    check(answer, 422)
    assert "Heard 1 turns" in answer.json()["error"]["message"] and answer.headers["x-should-retry"] == "false"


WRONG: dict[str, tuple[str, dict[str, Any], dict[str, Any], int]] = {
    "no prompt": ("/v1/videos", {"seconds": "1"}, {}, 400),
    "seconds no number": ("/v1/videos", {"prompt": "x", "seconds": "soon"}, {}, 400),
    "frames too many": ("/v1/videos", {"prompt": "x", "frames": "500"}, {}, 400),
    "one frame": ("/v1/videos", {"prompt": "x", "frames": "1"}, {}, 400),
    "fps too many": ("/v1/videos", {"prompt": "x", "fps": "500"}, {}, 400),
    "other size": ("/v1/videos", {"prompt": "x", "size": "720x1280"}, {}, 400),
    "other model": ("/v1/videos", {"prompt": "x", "model": "sora-2"}, {}, 404),
    "unknown field": ("/v1/videos", {"prompt": "x", "loop": "1"}, {}, 400),
    "file under another name": ("/v1/videos", {"prompt": "x"}, {"video": PNG}, 400),
    "reference no picture": ("/v1/videos", {"prompt": "x"}, {"input_reference": b"text"}, 415),
    "reference twice": ("/v1/videos", {"prompt": "x", "input_reference": "y"}, {"input_reference": PNG}, 400),
    "reference in brackets and more": ("/v1/videos", {"prompt": "x", "input_reference[what]": "y"}, {}, 400),
    "reference unknown": ("/v1/videos", {"prompt": "x", "input_reference[file_id]": "file-0"}, {}, 404),
    "reference inside": (
        "/v1/videos",
        {"prompt": "x", "input_reference[image_url]": "https://10.0.0.1/a.png"},
        {},
        400,
    ),
    "reference a path": ("/v1/videos", {"prompt": "x", "input_reference[file_id]": "../../etc/passwd"}, {}, 404),
    "strange name": ("/v1/videos", {"prompt": "x", "a[b][c]": "y"}, {}, 400),
    "no video": ("/v1/videos/edits", {"prompt": "x"}, {}, 400),
    "video a picture": ("/v1/videos/edits", {"prompt": "x"}, {"video": PNG}, 415),
    "video cut": ("/v1/videos/edits", {"prompt": "x"}, {"video": mp4()[:400]}, 415),
    "video of metadata": ("/v1/videos/edits", {"prompt": "x", "video": "https://169.254.169.254/a.mp4"}, {}, 400),
    "video of a file": ("/v1/videos/edits", {"prompt": "x", "video": "file:///etc/passwd"}, {}, 400),
    "region off the end": (
        "/v1/videos/edits",
        {"prompt": "x", "regions": json.dumps([{"kind": "box", "box": [0, 0, 1, 1], "video": 0, "frame": 6}])},
        {"video": mp4()},
        400,
    ),
    "region on another video": (
        "/v1/videos/edits",
        {"prompt": "x", "regions": json.dumps([{"kind": "box", "box": [0, 0, 1, 1], "video": 1}])},
        {"video": mp4()},
        400,
    ),
    "region on a picture": (
        "/v1/videos/edits",
        {"prompt": "x", "regions": json.dumps([{"kind": "box", "box": [0, 0, 1, 1], "image": 0}])},
        {"video": mp4()},
        400,
    ),
    "seconds beside frames and fps": (
        "/v1/videos",
        {"prompt": "x", "seconds": "1", "frames": "8", "fps": "8"},
        {},
        400,
    ),
    "id with a zero byte": ("/v1/videos", {"prompt": "x", "input_reference[file_id]": "a\0b"}, {}, 404),
    "option too long": ("/v1/videos", {"prompt": "x", "options": json.dumps({"a": "b" * 300})}, {}, 400),
    "region of nothing": ("/v1/videos/edits", {"prompt": "x", "regions": '[{"kind": "box"}]'}, {"video": mp4()}, 400),
    "regions no JSON": ("/v1/videos/edits", {"prompt": "x", "regions": "[{"}, {"video": mp4()}, 400),
    "nothing asked": ("/v1/videos/segmentations", {}, {"video": mp4()}, 400),
    "frame no number": ("/v1/videos/segmentations", {"prompt": "x", "frame": '"a"'}, {"video": mp4()}, 400),
    "mask format": ("/v1/videos/segmentations", {"prompt": "x", "mask_format": "bmp"}, {"video": mp4()}, 400),
    "no picture": ("/v1/images/edits", {"prompt": "x"}, {}, 400),
    "mask of another size": ("/v1/images/edits", {"prompt": "x"}, {"image": PNG, "mask": mask(8, 8)}, 400),
    "mask without holes": ("/v1/images/edits", {"prompt": "x"}, {"image": PNG, "mask": mask(alpha=255)}, 400),
    "mask without alpha": ("/v1/images/edits", {"prompt": "x"}, {"image": PNG, "mask": PNG}, 400),
    "mask no picture": ("/v1/images/edits", {"prompt": "x"}, {"image": PNG, "mask": b"x"}, 415),
    "n too many": ("/v1/images/edits", {"prompt": "x", "n": "99"}, {"image": PNG}, 400),
    "region on a video": (
        "/v1/images/edits",
        {"prompt": "x", "regions": '[{"kind": "box", "box": [0, 0, 1, 1], "video": 0}]'},
        {"image": PNG},
        400,
    ),
    "a picture of another size": ("/v1/images/edits", {"prompt": "x", "size": "1024x1024"}, {"image": PNG}, 400),
}


@pytest.mark.parametrize("charset", ["undefined", "none-such", "unicode_escape"])
def test_a_form_in_a_charset_that_cannot_be_read_is_refused(client: Any, charset: str) -> None:
    data = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\\x\r\n--x--\r\n'
    header = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    check(client.post("/v1/images/edits", content=data, headers=header), 400)


@pytest.mark.parametrize("path", ["/v1/files/a%00b", "/v1/files/a%00b/content", "/v1/videos/%00", "/v1/videos/x%FFy"])
def test_an_id_that_none_can_be_is_unknown(client: Any, path: str) -> None:
    check(client.get(path), 404)
    if not path.endswith("content"):
        check(client.delete(path), 404)
    assert client.get("/v1/files", params={"after": "a\0b"}).json()["data"] == []


@pytest.mark.parametrize("asked", ["bytes=" + "9" * 5000 + "-", "bytes=-" + "9" * 5000, "bytes=0-" + "9" * 5000])
def test_a_range_of_too_many_digits_is_none(client: Any, asked: str) -> None:
    kept = client.post("/v1/files", files={"file": ("a.png", PNG)}).json()["id"]
    answer = client.get(f"/v1/files/{kept}/content", headers={"range": asked})
    assert (answer.status_code, answer.content) == (200, PNG)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_form_is_refused_with_a_reason(client: Any, name: str) -> None:
    path, fields, files, status = WRONG[name]
    given = {key: ("f", data) for key, data in files.items()}
    answer = client.post(path, data=fields, files=given or None)
    check(answer, status)
    assert not answer.json()["error"]["message"].startswith("the server failed")
