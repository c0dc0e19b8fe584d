"""The shipped graph with the shipped weights: right answers over HTTP, equal to those of the in-process assistant.

Runs after the tests with fake parts (files run in order), whose application it replaces.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import openai
import pytest
import skimage.data
from PIL import Image
from ray.serve.context import _get_global_client

from deployments.config_file import read_config
from tests.serve.conftest import CONFIG, wait_running
from train.data.sample import Sample
from train.data.shapes import clip_dialogues, oracle
from train.data.shapes.clip_match import match_animated, match_generated
from train.data.shapes.dialogues import build
from train.data.shapes.motion_paths import STILL
from train.data.shapes.render import render
from train.data.shapes.scene import Scene, scene_at
from vitron.evaluation.segmentation import giou, overlap
from vitron.media import encode_png
from vitron.model import Vitron
from vitron.prompt import assistant_message, user_message
from vitron.regions import rle_to_mask
from vitron.types import DrawnRegion, Message
from vitron.video import decode_clip, encode_mp4

pytestmark = [pytest.mark.cluster, pytest.mark.weights]
MODEL = "vitron-tiny"
COUNT = 6
LONELY = {6: "large green circle", 13: "small blue square", 14: "large pink ring"}
"""Scenes of one object, and what is added to each."""


@pytest.fixture(scope="module")
def vitron() -> Vitron:
    return Vitron.from_preset("tiny")


@pytest.fixture(scope="module", params=["split", "colocated"])
def client(
    request: pytest.FixtureRequest, cluster: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[openai.OpenAI]:
    config = read_config(CONFIG)
    application = config.applications[0]
    storage = {**application.args["storage"], "folder": str(tmp_path_factory.mktemp("storage"))}
    application.args = {**application.args, "placement": request.param, "storage": storage}
    if request.param == "colocated":
        application.deployments = [d for d in application.deployments if d.name == "Gateway"]
    serve_client = _get_global_client()
    assert serve_client is not None
    serve_client.deploy_apps(config)
    wait_running("vitron")
    yield openai.OpenAI(base_url=f"http://127.0.0.1:{cluster}/v1", api_key="none", max_retries=0, timeout=120)


def data_url(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()


def content(message: Message) -> list[dict[str, object]]:
    """Return a turn as OpenAI content parts; pictures first, as Shapes samples have them."""
    parts: list[dict[str, object]] = [
        {"type": "image_url", "image_url": {"url": data_url(image)}} for image in message.images
    ]
    pieces = message.text.replace("<image>\n", "").split("<region>")
    for index, piece in enumerate(pieces):
        if index:
            parts.append({"type": "region", "region": region_json(message.regions[index - 1])})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts


def region_json(region: DrawnRegion) -> dict[str, object]:
    assert region.box is not None
    return {"kind": "box", "box": list(region.box), "image": region.image}


def question(task: str, index: int) -> tuple[Message, Sample]:
    """Return a held-out request as a turn; marks become boxes, which HTTP carries exactly."""
    sample = build(task, "test", index)
    regions = [DrawnRegion(kind="box", box=box_of(mask), image=image) for image, mask in sample.marks]
    parts: list[str | np.ndarray | DrawnRegion] = list(sample.images)
    pieces = sample.turns[0].text.replace("<image>\n", "").split("<region>")
    for number, piece in enumerate(pieces):
        if number:
            parts.append(regions[number - 1])
        parts.append(piece)
    return user_message(parts), sample


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return (
        round(columns.min() / width, 4),
        round(rows.min() / height, 4),
        round((columns.max() + 1) / width, 4),
        round((rows.max() + 1) / height, 4),
    )


def ask(client: openai.OpenAI, turn: Message, **extra: object) -> openai.types.chat.ChatCompletionMessage:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": content(turn)}],  # type: ignore[list-item,misc]
        seed=7,
        extra_body={"vitron": extra} if extra else None,
    )
    return answer.choices[0].message


def extension(message: object) -> dict[str, object]:
    return message.model_extra["vitron"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", ["vqa", "region_caption", "rec", "caption", "chat"])
def test_answers_equal_the_in_process_assistant(client: openai.OpenAI, vitron: Vitron, task: str) -> None:
    for index in range(COUNT):
        message, _ = question(task, index)
        assert ask(client, message).content == vitron.reply([message], seed=7).text


def test_text_before_the_picture_is_answered_as_text_after_it(client: openai.OpenAI) -> None:
    for index in range(COUNT):
        message, _ = question("vqa", index)
        parts = content(message)
        answers = {
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": order}])  # type: ignore[list-item,misc]
            .choices[0]
            .message.content
            for order in (parts, parts[::-1])
        }
        assert len(answers) == 1, answers


def test_streamed_text_is_the_plain_text(client: openai.OpenAI) -> None:
    message, _ = question("caption", 3)
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": content(message)}],  # type: ignore[list-item,misc]
        stream=True,
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == ask(client, message).content
    assert len([piece for piece in pieces if piece]) > 1


@pytest.mark.parametrize("task", ["segment_text", "segment_mark", "segment_reference"])
def test_masks_equal_the_in_process_ones_and_overlap_the_object(
    client: openai.OpenAI, vitron: Vitron, task: str
) -> None:
    scores = []
    for index in range(COUNT):
        message, sample = question(task, index)
        got = extension(ask(client, message))
        expected = vitron.reply([message], seed=7)
        assert expected.output is not None, expected
        masks = [rle_to_mask(item["mask"]) for item in got["masks"]]  # type: ignore[attr-defined]
        assert len(masks) == len(expected.output.detections)
        for mask, detection in zip(masks, expected.output.detections, strict=True):
            assert (mask != detection.mask).mean() < 1e-3
        scores.append(overlap(masks[0], sample.target["mask"]))
    assert giou(scores) > 0.5, scores


@pytest.mark.parametrize("mode", ["hybrid", "text", "signal"])
def test_pictures_equal_the_in_process_ones_for_one_seed(client: openai.OpenAI, vitron: Vitron, mode: str) -> None:
    message, _ = question("generate", 1)
    got = extension(ask(client, message, message=mode))
    expected = vitron.reply([message], seed=7, message=mode)  # type: ignore[arg-type]
    assert expected.output is not None
    picture = made_picture(got)
    assert np.abs(picture.astype(int) - expected.output.images[0].astype(int)).max() <= 2


def made_picture(said: dict[str, object]) -> np.ndarray:
    data = base64.b64decode(said["images"][0]["b64_json"])  # type: ignore[index]
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def made_clip(said: dict[str, object]) -> np.ndarray:
    return decode_clip(base64.b64decode(said["videos"][0]["b64_json"])).frames  # type: ignore[index]


def test_the_images_endpoint_draws_with_the_openai_client(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        model=MODEL, prompt="a large red circle on a white background", n=2, extra_body={"seed": 3}
    )
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(item.b64_json or "")))) for item in answer.data or []]
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 2
    assert (pictures[0] != pictures[1]).any()


def film(task: str, index: int) -> tuple[Message, str]:
    """Return a held-out request about a clip as a turn, and the clip as a URL; what HTTP carries is what is asked."""
    sample = clip_dialogues.build(task, "test", index)
    assert not sample.marks and len(sample.clips) == 1
    data = encode_mp4(sample.clips[0])
    message = user_message([decode_clip(data), sample.turns[0].text.replace("<video>\n", "")])
    return message, "data:video/mp4;base64," + base64.b64encode(data).decode()


def ask_about(client: openai.OpenAI, message: Message, url: str) -> openai.types.chat.ChatCompletionMessage:
    words = message.text.replace("<video>\n", "")
    parts = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": words}]
    turns = [{"role": "user", "content": parts}]
    return client.chat.completions.create(model=MODEL, messages=turns, seed=7).choices[0].message  # type: ignore[call-overload]


@pytest.mark.parametrize("task", ["video_qa", "video_caption", "video_grounding"])
def test_answers_about_clips_equal_the_in_process_assistant(client: openai.OpenAI, vitron: Vitron, task: str) -> None:
    if vitron.language.video is None:
        pytest.skip("the shipped weights know no video")
    for index in range(COUNT):
        message, url = film(task, index)
        expected = vitron.reply([message], seed=7)
        got = ask_about(client, message, url)
        assert got.content == expected.text
        assert extension(got)["seen_frames"] == [list(numbers) for numbers in expected.seen_frames]


def test_weights_without_video_refuse_it_by_name(client: openai.OpenAI, vitron: Vitron) -> None:
    if vitron.language.video is not None:
        pytest.skip("the shipped weights know video")
    message, url = film("video_qa", 0)
    with pytest.raises(openai.BadRequestError, match="know no video"):
        ask_about(client, message, url)


def test_a_picture_that_was_made_is_seen_in_the_next_turn(client: openai.OpenAI, vitron: Vitron) -> None:
    ask_for, _ = question("generate", 1)
    made = vitron.reply([ask_for], seed=7)
    drawn = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": content(ask_for)}],  # type: ignore[list-item,misc]
        seed=7,
    )
    turns = [
        {"role": "user", "content": content(ask_for)},
        drawn.choices[0].message,
        {"role": "user", "content": "What is in the image?"},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=turns, seed=7)  # type: ignore[arg-type]
    then = [ask_for, assistant_message(made), user_message(["What is in the image?"])]
    assert answer.choices[0].message.content == vitron.reply(then, seed=7).text
    assert answer.usage is not None and answer.usage.prompt_tokens == vitron.reply(then, seed=7).prompt_tokens


def talk(client: openai.OpenAI, scene: Scene, added: str, asked: str) -> list[dict[str, object]]:
    """Hold the session of the paper's Fig. 11, and return what was made in each of its three turns."""
    turns: list[object] = []
    made = []
    for parts in (
        [{"type": "text", "text": "make a video of a red circle that moves to the right"}],
        [
            {"type": "image_url", "image_url": {"url": data_url(render(scene))}},
            {"type": "text", "text": f"add a {added} to the picture"},
        ],
        [{"type": "text", "text": asked}],
    ):
        turns.append({"role": "user", "content": parts})
        answer = client.chat.completions.create(model=MODEL, messages=turns, seed=7)  # type: ignore[arg-type]
        turns.append(answer.choices[0].message)
        made.append(extension(answer.choices[0].message))
    return made


@pytest.mark.parametrize("client", ["split"], indirect=True)
def test_the_session_of_the_paper_in_shapes(client: openai.OpenAI) -> None:
    """Fig. 11: a video from words, something added to a picture of the user's, and that set in motion."""
    right = []
    for number, added in LONELY.items():
        scene = scene_at("test", number)
        (there,) = [{"shape": each.shape, "color": each.color, "size": each.size} for each in scene.objects]
        new = dict(zip(("size", "color", "shape"), added.split(), strict=True))
        filmed, edited, moved = talk(client, scene, added, f"now make the {new['shape']} move up")
        wanted = [{"shape": "circle", "color": "red", "direction": "right", "event": "none"}]
        assert match_generated(made_clip(filmed), wanted).match
        ways = [{**there, "direction": STILL}, {**new, "direction": "up"}]
        follows = match_animated(made_clip(moved), ways, 1).follows
        right.append((oracle.matches(oracle.read(made_picture(edited)), [there, new]), follows))
    edits, motions = (sum(turn) for turn in zip(*right, strict=True))
    assert edits >= 2 and motions >= 1, right


@pytest.mark.parametrize("name", ["astronaut", "coffee", "page", "retina"])
def test_photos_of_any_kind_never_fail(client: openai.OpenAI, name: str) -> None:
    photo = getattr(skimage.data, name)()
    photo = np.repeat(photo[..., None], 3, -1) if photo.ndim == 2 else photo[..., :3]
    drawn = DrawnRegion(kind="box", box=(0.2, 0.3, 0.6, 0.9))
    for parts in ([photo, "what is this?"], [photo, "segment this one", drawn], [photo, "mask the red object"]):
        message = ask(client, user_message(parts))
        assert message.content is not None
        for item in extension(message).get("masks") or []:  # type: ignore[attr-defined]
            assert rle_to_mask(item["mask"]).shape == photo.shape[:2]


def photo_clip(name: str) -> np.ndarray:
    """Return 16 frames [16, 108, 192, 3] of a camera that moves over a photograph."""
    photo = getattr(skimage.data, name)()[..., :3]
    rows, columns = (np.linspace(0, photo.shape[axis] - size, 16).astype(int) for axis, size in enumerate((108, 192)))
    return np.stack([photo[y : y + 108, x : x + 192] for y, x in zip(rows, columns, strict=True)])


def test_a_camera_over_a_photograph_goes_through_chat_and_jobs(client: openai.OpenAI) -> None:
    frames = photo_clip("astronaut")
    data = encode_mp4(frames)
    url = "data:video/mp4;base64," + base64.b64encode(data).decode()
    said = ask_about(client, user_message([decode_clip(data), "what is in the video?"]), url)
    assert said.content
    for prompt in ("make the background blue", "remove the person from the video"):
        job = client.videos.edit(prompt=prompt, video=("real.mp4", data, "video/mp4"), extra_body={"seed": "3"})
        done = client.videos.poll(job.id, poll_interval_ms=200)
        assert (done.status, done.progress) == ("completed", 100), done.error
        edited = decode_clip(client.videos.download_content(job.id).read()).frames
        assert edited.shape == frames.shape
        assert np.abs(edited.astype(int) - decode_clip(data).frames).mean() > 0.1
    job = client.post("/videos/segmentations", cast_to=openai.types.Video, body={"prompt": "the person", "video": url})
    assert client.videos.poll(job.id, poll_interval_ms=200).status == "completed"
