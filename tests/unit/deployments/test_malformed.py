"""What strangers send: every request here must be refused with a status of 400 to 499 and an OpenAI error body."""

from __future__ import annotations

import base64
import io
import json
import zlib
from typing import Any

import pytest
from PIL import Image as PillowImage

from tests.unit.deployments.conftest import MODEL, Local, chat_body, data_url, local_gateway, region, video_url

CHAT = "/v1/chat/completions"
GENERATE = "/v1/images/generations"
SEGMENT = "/v1/images/segmentations"
JSON = {"content-type": "application/json"}


def png(width: int, height: int) -> bytes:
    """A PNG header that announces any size, with almost no data behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def url_of(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64," + base64.b64encode(data).decode()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    PillowImage.effect_noise((64, 64), 90).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def mp4(frames: int = 4) -> bytes:
    return base64.b64decode(video_url(range(0, 10 * frames, 10)).partition(",")[2])


def with_video(url: str) -> bytes:
    return with_part({"type": "video_url", "video_url": {"url": url}})


def on_video(**fields: Any) -> bytes:
    return json.dumps(chat_body(video_url(), data_url(), region(**fields))).encode()


def many_frames(count: int) -> bytes:
    marks = [region(video=0, frame=frame) for frame in range(count)]
    return json.dumps(chat_body(video_url(range(count)), *marks)).encode()


def messages(*items: Any) -> bytes:
    return json.dumps({"model": MODEL, "messages": list(items)}).encode()


def with_part(part: Any) -> bytes:
    return json.dumps(chat_body(part)).encode()


def with_region(**fields: Any) -> bytes:
    return json.dumps(chat_body(data_url(), {"type": "region", "region": fields})).encode()


def with_fields(**fields: Any) -> bytes:
    return json.dumps(chat_body("hi", **fields)).encode()


def generate(**fields: Any) -> bytes:
    return json.dumps({"prompt": "x", **fields}).encode()


def segment(**fields: Any) -> bytes:
    return json.dumps({"image": data_url(), "prompt": "x", **fields}).encode()


USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "x"}
BODIES: dict[str, tuple[str, bytes, int]] = {
    # The document itself
    "empty body": (CHAT, b"", 400),
    "not JSON": (CHAT, b"hello", 400),
    "cut JSON": (CHAT, b'{"model": "vit', 400),
    "two documents": (CHAT, b"{}{}", 400),
    "an array": (CHAT, b"[]", 400),
    "a string": (CHAT, b'"hi"', 400),
    "null": (CHAT, b"null", 400),
    "not UTF-8": (CHAT, b'{"model": "\xff\xfe"}', 400),
    "UTF-16": (CHAT, '{"model": "x"}'.encode("utf-16"), 400),
    "NaN": (CHAT, b'{"model": "vitron-tiny", "temperature": NaN}', 400),
    "Infinity": (CHAT, b'{"model": "vitron-tiny", "temperature": -Infinity}', 400),
    "a number too large": (CHAT, b'{"model": "vitron-tiny", "seed": ' + b"9" * 5000 + b"}", 400),
    "an exponent too large": (
        CHAT,
        with_fields(temperature=5).replace(b": 5", b": 1e999"),
        400,
    ),
    "a repeated key": (CHAT, b'{"model": "a", "model": "b"}', 400),
    "deep arrays": (CHAT, b"[" * 100_000, 400),
    "deep objects": (CHAT, b'{"a":' * 50_000, 400),
    "deep but closed": (CHAT, b'{"model":' + b"[" * 30 + b"]" * 30 + b"}", 400),
    # Top-level fields of a chat
    "no model": (CHAT, json.dumps({"messages": [USER]}).encode(), 400),
    "model not text": (CHAT, json.dumps({"model": 7, "messages": [USER]}).encode(), 400),
    "unknown model": (CHAT, json.dumps({"model": "gpt-9", "messages": [USER]}).encode(), 404),
    "no messages": (CHAT, json.dumps({"model": MODEL}).encode(), 400),
    "empty messages": (CHAT, messages(), 400),
    "messages not a list": (CHAT, json.dumps({"model": MODEL, "messages": "hi"}).encode(), 400),
    "unknown field": (CHAT, with_fields(temprature=1), 400),
    "temperature above": (CHAT, with_fields(temperature=2.1), 400),
    "temperature below": (CHAT, with_fields(temperature=-0.1), 400),
    "temperature as text": (CHAT, with_fields(temperature="1"), 400),
    "temperature as bool": (CHAT, with_fields(temperature=True), 400),
    "top_p zero": (CHAT, with_fields(top_p=0), 400),
    "top_p above": (CHAT, with_fields(top_p=1.5), 400),
    "max_tokens zero": (CHAT, with_fields(max_tokens=0), 400),
    "max_tokens huge": (CHAT, with_fields(max_tokens=10**9), 400),
    "max_tokens fraction": (CHAT, with_fields(max_tokens=1.5), 400),
    "max_tokens twice": (CHAT, with_fields(max_tokens=5, max_completion_tokens=6), 400),
    "seed negative": (CHAT, with_fields(seed=-1), 400),
    "seed too large": (CHAT, with_fields(seed=2**63), 400),
    "n above one": (CHAT, with_fields(n=2), 400),
    "n huge": (CHAT, with_fields(n=10**12), 400),
    "n zero": (CHAT, with_fields(n=0), 400),
    "stop too many": (CHAT, with_fields(stop=["a"] * 5), 400),
    "stop empty": (CHAT, with_fields(stop=""), 400),
    "stop of numbers": (CHAT, with_fields(stop=[1]), 400),
    "stream as text": (CHAT, with_fields(stream="yes"), 400),
    "stream_options wrong": (CHAT, with_fields(stream=True, stream_options={"usage": True}), 400),
    "tools": (CHAT, with_fields(tools=[{"type": "function"}]), 400),
    "tool_choice": (CHAT, with_fields(tool_choice="required"), 400),
    "functions": (CHAT, with_fields(functions=[{"name": "f"}]), 400),
    "JSON mode": (CHAT, with_fields(response_format={"type": "json_object"}), 400),
    "logprobs": (CHAT, with_fields(logprobs=True), 400),
    "logit_bias": (CHAT, with_fields(logit_bias={"5": 1}), 400),
    "audio": (CHAT, with_fields(modalities=["text", "audio"]), 400),
    "presence_penalty": (CHAT, with_fields(presence_penalty=0.5), 400),
    # Messages
    "unknown role": (CHAT, messages({"role": "robot", "content": "hi"}), 400),
    "tool message": (CHAT, messages(USER, {"role": "tool", "content": "x", "tool_call_id": "y"}), 400),
    "no role": (CHAT, messages({"content": "hi"}), 400),
    "no content": (CHAT, messages({"role": "user"}), 400),
    "content null": (CHAT, messages({"role": "user", "content": None}), 400),
    "content a number": (CHAT, messages({"role": "user", "content": 5}), 400),
    "content empty": (CHAT, messages({"role": "user", "content": []}), 400),
    "message misspelt": (CHAT, messages({"role": "user", "contents": "hi"}), 400),
    "message not an object": (CHAT, messages("hi"), 400),
    "assistant first": (CHAT, messages({"role": "assistant", "content": "x"}, USER), 400),
    "assistant last": (CHAT, messages(USER, {"role": "assistant", "content": "x"}), 400),
    "system alone": (CHAT, messages({"role": "system", "content": "x"}), 400),
    "system late": (CHAT, messages(USER, {"role": "system", "content": "x"}, USER), 400),
    "assistant shows a picture": (
        CHAT,
        messages(USER, {"role": "assistant", "content": chat_body(data_url())["messages"][0]["content"]}, USER),
        400,
    ),
    "assistant calls a tool": (
        CHAT,
        messages(USER, {"role": "assistant", "content": "", "tool_calls": [{}]}, USER),
        400,
    ),
    "too many messages": (CHAT, messages(*[USER] * 300), 400),
    "too much text": (CHAT, messages({"role": "user", "content": "x" * 100_001}), 400),
    # Content parts
    "part without type": (CHAT, with_part({"text": "x"}), 400),
    "part of unknown type": (CHAT, with_part({"type": "input_audio", "input_audio": {"data": "x"}}), 400),
    "part misspelt": (CHAT, with_part({"type": "text", "txt": "x"}), 400),
    "text a number": (CHAT, with_part({"type": "text", "text": 1}), 400),
    "picture without URL": (CHAT, with_part({"type": "image_url", "image_url": {}}), 400),
    "picture as text": (CHAT, with_part({"type": "image_url", "image_url": data_url()}), 400),
    "detail unknown": (CHAT, with_part({"type": "image_url", "image_url": {"url": data_url(), "detail": "max"}}), 400),
    "too many pictures": (CHAT, json.dumps(chat_body(*[data_url()] * 9)).encode(), 400),
    # Pictures
    "data URL not base64": (CHAT, with_part("data:image/png,abc"), 400),
    "data URL with broken base64": (CHAT, with_part("data:image/png;base64,@@@"), 400),
    "data URL empty": (CHAT, with_part("data:image/png;base64,"), 400),
    "picture is text": (CHAT, with_part(url_of(b"hello world")), 415),
    "picture is SVG": (CHAT, with_part(url_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")), 415),
    "picture is TIFF": (CHAT, with_part(url_of(b"II*\0" + b"\0" * 64, "image/tiff")), 415),
    "picture is a PDF": (CHAT, with_part(url_of(b"%PDF-1.7\n" + b"\0" * 64)), 415),
    "picture cut": (CHAT, with_part(url_of(jpeg()[:300], "image/jpeg")), 400),
    "PNG cut": (CHAT, with_part(url_of(png(64, 64))), 400),
    "PNG header alone": (CHAT, with_part(url_of(png(64, 64)[:20])), 400),
    "PNG of no size": (CHAT, with_part(url_of(png(0, 64))), 415),
    "decompression bomb": (CHAT, with_part(url_of(png(60_000, 60_000))), 413),
    "absurd size": (CHAT, with_part(url_of(png(2**31 - 1, 2**31 - 1))), 413),
    # Videos
    "video without URL": (CHAT, with_part({"type": "video_url", "video_url": {}}), 400),
    "video as text": (CHAT, with_part({"type": "video_url", "video_url": video_url()}), 400),
    "video with detail": (
        CHAT,
        with_part({"type": "video_url", "video_url": {"url": video_url(), "detail": "low"}}),
        400,
    ),
    "too many videos": (CHAT, json.dumps(chat_body(*[video_url()] * 3)).encode(), 400),
    "video not base64": (CHAT, with_video("data:video/mp4;base64,@@@"), 400),
    "video empty": (CHAT, with_video("data:video/mp4;base64,"), 400),
    "video is text": (CHAT, with_video(url_of(b"hello world", "video/mp4")), 415),
    "video is a picture": (CHAT, with_video(data_url()), 415),
    "video is a playlist": (CHAT, with_video(url_of(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "video/mp4")), 415),
    "video is AVI": (CHAT, with_video(url_of(b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 64, "video/x-msvideo")), 415),
    "MP4 header alone": (CHAT, with_video(url_of(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "video/mp4")), 400),
    "MP4 cut": (CHAT, with_video(url_of(mp4()[:-200], "video/mp4")), 400),
    "WebM of garbage": (CHAT, with_video(url_of(b"\x1aE\xdf\xa3" + b"\xff" * 64, "video/webm")), 400),
    "GIF cut": (CHAT, with_video(url_of(b"GIF89a\x10\0\x10\0\x80\0\0", "image/gif")), 400),
    "video by http": (CHAT, with_video("http://example.org/a.mp4"), 400),
    "video of a file": (CHAT, with_video("file:///etc/passwd"), 400),
    "video of cloud metadata": (CHAT, with_video("https://169.254.169.254/latest"), 400),
    "region on no video": (CHAT, json.dumps(chat_body(data_url(), region(video=0))).encode(), 400),
    "region on another video": (CHAT, on_video(video=1), 400),
    "region on video -1": (CHAT, on_video(video=-1), 400),
    "region on a frame that is not there": (CHAT, on_video(video=0, frame=4), 400),
    "region on frame -1": (CHAT, on_video(video=0, frame=-1), 400),
    "region on half a frame": (CHAT, on_video(video=0, frame=1.5), 400),
    "frame without video": (CHAT, on_video(frame=1), 400),
    "region on picture and video": (CHAT, on_video(video=0, image=0), 400),
    "more frames drawn on than seen": (CHAT, many_frames(17), 400),
    # Files and turns
    "file without id": (CHAT, with_part({"type": "file", "file": {}}), 400),
    "file with data": (CHAT, with_part({"type": "file", "file": {"file_data": "x", "filename": "a.png"}}), 400),
    "file that is not there": (CHAT, with_part({"type": "file", "file": {"file_id": "file-none"}}), 404),
    "file outside": (CHAT, with_part({"type": "file", "file": {"file_id": "../../etc/passwd"}}), 404),
    "file id endless": (CHAT, with_part({"type": "file", "file": {"file_id": "x" * 300}}), 400),
    "too many files": (CHAT, json.dumps(chat_body(*[{"type": "file", "file": {"file_id": "x"}}] * 11)).encode(), 400),
    "answer with media without ids": (CHAT, messages(USER, {**ASSISTANT, "vitron": {"images": [{}]}}, USER), 400),
    "answer with neither id nor data": (
        CHAT,
        messages(USER, {**ASSISTANT, "vitron": {"images": [{"id": None}]}}, USER),
        400,
    ),
    "answer with broken data": (
        CHAT,
        messages(USER, {**ASSISTANT, "vitron": {"images": [{"id": None, "b64_json": "@"}]}}, USER),
        400,
    ),
    "answer with media no list": (CHAT, messages(USER, {**ASSISTANT, "vitron": {"videos": "x"}}, USER), 400),
    "answer with unknown media": (CHAT, messages(USER, {**ASSISTANT, "vitron": {"images": [{"id": "x"}]}}, USER), 404),
    "media made by the user": (CHAT, messages({**USER, "vitron": {"images": []}}), 400),
    "media form unknown": (CHAT, with_fields(vitron={"media": "path"}), 400),
    # Addresses
    "URL by http": (CHAT, with_part("http://example.org/a.png"), 400),
    "URL of a file": (CHAT, with_part({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}), 400),
    "URL by ftp": (CHAT, with_part({"type": "image_url", "image_url": {"url": "ftp://example.org/a"}}), 400),
    "URL without scheme": (CHAT, with_part({"type": "image_url", "image_url": {"url": "example.org/a"}}), 400),
    "URL empty": (CHAT, with_part({"type": "image_url", "image_url": {"url": ""}}), 400),
    "URL without host": (CHAT, with_part("https:///a.png"), 400),
    "URL of loopback": (CHAT, with_part("https://127.0.0.1/a.png"), 400),
    "URL of localhost": (CHAT, with_part("https://localhost/a.png"), 400),
    "URL of a private net": (CHAT, with_part("https://10.0.0.1/a.png"), 400),
    "URL of cloud metadata": (CHAT, with_part("https://169.254.169.254/latest"), 400),
    "URL of IPv6 loopback": (CHAT, with_part("https://[::1]/a.png"), 400),
    "URL in decimal": (CHAT, with_part("https://2130706433/a.png"), 400),
    "URL with a password": (CHAT, with_part("https://me:secret@example.org/a.png"), 400),
    "URL with a space": (CHAT, with_part("https://example.org/a b.png"), 400),
    "URL with a line break": (CHAT, with_part("https://example.org/a\r\nHost: x"), 400),
    "URL with a wrong port": (CHAT, with_part("https://example.org:99999/a.png"), 400),
    "URL too long": (CHAT, with_part("https://example.org/" + "a" * 5000), 400),
    # Regions
    "region without kind": (CHAT, with_region(box=[0, 0, 1, 1]), 400),
    "region of unknown kind": (CHAT, with_region(kind="circle", points=[[0, 0]]), 400),
    "region without box": (CHAT, with_region(kind="box"), 400),
    "box outside": (CHAT, with_region(kind="box", box=[0, 0, 1, 1.5]), 400),
    "box in pixels": (CHAT, with_region(kind="box", box=[10, 10, 40, 40]), 400),
    "box turned around": (CHAT, with_region(kind="box", box=[0.5, 0, 0.1, 1]), 400),
    "box of three": (CHAT, with_region(kind="box", box=[0, 0, 1]), 400),
    "box of text": (CHAT, with_region(kind="box", box="0,0,1,1"), 400),
    "point outside": (CHAT, with_region(kind="point", points=[[2, 0]]), 400),
    "point of one number": (CHAT, with_region(kind="point", points=[[0.5]]), 400),
    "no points": (CHAT, with_region(kind="point"), 400),
    "polygon of two": (CHAT, with_region(kind="polygon", points=[[0, 0], [1, 1]]), 400),
    "scribble of none": (CHAT, with_region(kind="scribble", points=[]), 400),
    "too many points": (CHAT, with_region(kind="polygon", points=[[0, 0]] * 5000), 400),
    "box and points": (CHAT, with_region(kind="box", box=[0, 0, 1, 1], points=[[0, 0]]), 400),
    "region on no picture": (CHAT, json.dumps(chat_body("hi", region())).encode(), 400),
    "region on another picture": (CHAT, with_region(kind="box", box=[0, 0, 1, 1], image=3), 400),
    "region on picture -1": (CHAT, with_region(kind="box", box=[0, 0, 1, 1], image=-1), 400),
    "region misspelt": (CHAT, with_region(kind="box", bbox=[0, 0, 1, 1]), 400),
    "too many regions": (CHAT, json.dumps(chat_body(data_url(), *[region()] * 65)).encode(), 400),
    "mask missing": (CHAT, with_region(kind="mask"), 400),
    "mask not base64": (CHAT, with_region(kind="mask", mask="@@"), 400),
    "mask not a PNG": (CHAT, with_region(kind="mask", mask=base64.b64encode(b"hello").decode()), 400),
    "mask a bomb": (CHAT, with_region(kind="mask", mask=base64.b64encode(png(60_000, 60_000)).decode()), 400),
    "RLE without size": (CHAT, with_region(kind="mask", mask={"counts": "0P3P3"}), 400),
    "RLE too short": (CHAT, with_region(kind="mask", mask={"size": [12, 16], "counts": "0"}), 400),
    "RLE too long": (CHAT, with_region(kind="mask", mask={"size": [2, 2], "counts": "0P3P3P3"}), 400),
    "RLE of garbage": (CHAT, with_region(kind="mask", mask={"size": [12, 16], "counts": "\u00e9\u0001~"}), 400),
    "RLE huge": (CHAT, with_region(kind="mask", mask={"size": [10**4, 10**4], "counts": "0"}), 400),
    "RLE negative": (CHAT, with_region(kind="mask", mask={"size": [-1, 5], "counts": "0"}), 400),
    "RLE empty": (CHAT, with_region(kind="mask", mask={"size": [2, 2], "counts": "4"}), 400),
    # The extension
    "extension misspelt": (CHAT, with_fields(vitron={"massage": "text"}), 400),
    "extension not an object": (CHAT, with_fields(vitron=[1]), 400),
    "message mode unknown": (CHAT, with_fields(vitron={"message": "both"}), 400),
    "mask format unknown": (CHAT, with_fields(vitron={"mask_format": "polygon"}), 400),
    "option of an object": (CHAT, with_fields(vitron={"options": {"steps": {}}}), 400),
    "too many options": (CHAT, with_fields(vitron={"options": {f"o{i}": 1 for i in range(17)}}), 400),
    # Generation
    "no prompt": (GENERATE, b"{}", 400),
    "prompt empty": (GENERATE, generate(prompt=""), 400),
    "prompt too long": (GENERATE, generate(prompt="x" * 5000), 400),
    "n too many": (GENERATE, generate(n=5), 400),
    "n enormous": (GENERATE, generate(n=10**15), 400),
    "size other": (GENERATE, generate(size="1024x1024"), 400),
    "size nonsense": (GENERATE, generate(size="-1x-1"), 400),
    "as URL": (GENERATE, generate(response_format="url"), 400),
    "streamed picture": (GENERATE, generate(stream=True), 400),
    "steps zero": (GENERATE, generate(steps=0), 400),
    "steps too many": (GENERATE, generate(steps=10_000), 400),
    "guidance too strong": (GENERATE, generate(guidance_scale=1e9), 400),
    "layout without label": (GENERATE, generate(layout=[{"box": [0, 0, 1, 1]}]), 400),
    "layout outside": (GENERATE, generate(layout=[{"label": "a", "box": [0, 0, 2, 2]}]), 400),
    "layout too long": (GENERATE, generate(layout=[{"label": "a", "box": [0, 0, 1, 1]}] * 65), 400),
    "use_llm is not a field": (GENERATE, generate(vitron={"use_llm": True}), 400),
    "generation by another model": (GENERATE, generate(model="dall-e-3"), 404),
    # Segmentation
    "no picture": (SEGMENT, b'{"prompt": "x"}', 400),
    "nothing asked": (SEGMENT, segment(prompt=" "), 400),
    "picture private": (SEGMENT, segment(image="https://192.168.1.1/a.png"), 400),
    "picture not a URL": (SEGMENT, segment(image="a.png"), 400),
    "boxes in pixels": (SEGMENT, segment(boxes=[[0, 0, 100, 100]]), 400),
    "points flat": (SEGMENT, segment(points=[0.5, 0.5]), 400),
    "threshold above": (SEGMENT, segment(threshold=1.5), 400),
    "region on picture 1": (SEGMENT, segment(regions=[{"kind": "box", "box": [0, 0, 1, 1], "image": 1}]), 400),
    "region wrong": (SEGMENT, segment(regions=[{"kind": "polygon", "points": [[0, 0]]}]), 400),
    "mask_format wrong": (SEGMENT, segment(mask_format="bitmap"), 400),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_malformed_body_is_refused_with_a_reason(gateway: Local, name: str) -> None:
    path, body, status = BODIES[name]
    check(gateway.client.post(path, content=body, headers=JSON), status)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", CHAT, {"content-type": "text/plain"}, 415),
        ("POST", CHAT, {}, 415),
        ("POST", CHAT, {"content-type": "application/x-www-form-urlencoded"}, 415),
        ("POST", GENERATE, {"content-type": "application/xml"}, 415),
        ("POST", SEGMENT, {"content-type": "multipart/form-data"}, 400),
        ("POST", SEGMENT, {"content-type": "multipart/form-data; boundary=x"}, 400),
        ("GET", CHAT, {}, 405),
        ("DELETE", GENERATE, {}, 405),
        ("POST", "/v1/models", JSON, 405),
        ("GET", "/v1/models/none", {}, 404),
        ("GET", "/v1/models/..%2f..%2fetc", {}, 404),
        ("POST", "/v1/completions", JSON, 404),
        ("GET", "/", {}, 404),
        ("GET", "/openapi.json", {}, 404),
        ("POST", CHAT, {**JSON, "content-length": str(2**40)}, 413),
    ],
)
def test_a_wrong_request_line_or_header_is_refused(
    gateway: Local, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    check(gateway.client.request(method, path, content=b"{}", headers=headers), status)


def test_a_body_is_refused_while_it_is_read() -> None:
    gateway = local_gateway(limits={"max_body_bytes": 1000})
    with gateway.client:
        answer = gateway.client.post(CHAT, content=iter([b"x" * 600] * 3), headers=JSON)
    check(answer, 413)


def test_a_clients_own_text_is_cut_in_the_message(gateway: Local) -> None:
    answer = gateway.client.post(CHAT, content=with_fields(temperature="x" * 10_000), headers=JSON)
    assert len(answer.json()["error"]["message"]) < 300


def check(answer: Any, status: int) -> None:
    """Assert status and shape of an error."""
    assert answer.status_code == status, answer.text[:300]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and error["type"] and error["code"]
    assert answer.headers["x-request-id"]
