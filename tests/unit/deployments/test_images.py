"""The two endpoints that go straight to a specialist."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from tests.unit.deployments.conftest import Local, data_url, region
from vitron.media import decode_image, encode_png
from vitron.regions import rle_to_mask

GENERATE = "/v1/images/generations"
SEGMENT = "/v1/images/segmentations"


def test_pictures_follow_count_seed_and_layout(gateway: Local) -> None:
    body = {"prompt": "x", "n": 3, "seed": 5, "layout": [{"label": "red circle", "box": [0, 0, 0.5, 1]}]}
    answer = gateway.client.post(GENERATE, json=body).json()
    assert len(answer["data"]) == 3 and answer["size"] == "64x64"
    assert (decode_image(base64.b64decode(answer["data"][0]["b64_json"])) == 15).all()


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "red"},
        {"boxes": [[0, 0, 0.5, 0.5]]},
        {"points": [[0.1, 0.2], [0.3, 0.4]]},
        {"regions": [region("scribble", points=[[0, 0], [1, 1]])["region"]]},
        {"prompt": "red", "threshold": 0.3},
        {"prompt": "red", "image": {"url": data_url()}},
        {"prompt": "red", "image": {"image_url": data_url()}},
    ],
)
def test_every_kind_of_prompt_segments(gateway: Local, fields: dict[str, object]) -> None:
    answer = gateway.client.post(SEGMENT, json={"image": data_url(), **fields})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["width"], document["height"], document["mask_format"]) == (16, 12, "rle")
    assert rle_to_mask(document["data"][0]["mask"]).shape == (12, 16)


def test_a_form_with_a_file_is_the_same_as_json(gateway: Local) -> None:
    png = encode_png(np.full((12, 16, 3), 9, np.uint8))
    data = {"prompt": "red", "boxes": json.dumps([[0, 0, 1, 1]]), "threshold": "0.5"}
    form = gateway.client.post(SEGMENT, files={"image": ("a.png", png, "image/png")}, data=data)
    body = {"image": data_url(9), "prompt": "red", "boxes": [[0, 0, 1, 1]], "threshold": 0.5}
    plain = gateway.client.post(SEGMENT, json=body)
    assert form.status_code == 200, form.text
    assert form.json()["data"] == plain.json()["data"]


@pytest.mark.parametrize(
    ("files", "data", "status", "field"),
    [
        ({}, {"prompt": "x"}, 400, "image"),
        ({"image": b""}, {"prompt": "x"}, 400, "image"),
        ({"image": b"not a picture"}, {"prompt": "x"}, 415, "image"),
        ({"image": b"x", "mask": b"x"}, {"prompt": "x"}, 400, None),
        ({"image": b"x"}, {"prompt": "x", "boxes": "[[0,0,1,"}, 400, None),
        ({"image": b"x"}, {"prompt": "x", "threshold": "high"}, 400, "threshold"),
        ({"image": b"x"}, {"prompt": "x", "threshold": "nan"}, 400, "threshold"),
        ({"image": b"x"}, {"prompt": "x", "thresholt": "1"}, 400, "thresholt"),
        ({"image": b"x"}, {}, 400, None),
        ({"image": b"x"}, {"prompt": ["x", "y"]}, 400, "prompt"),
    ],
)
def test_a_wrong_form_is_refused(
    gateway: Local, files: dict[str, bytes], data: dict[str, object], status: int, field: str | None
) -> None:
    named = {name: ("f.png", value, "image/png") for name, value in files.items()} or {"x": (None, "y")}
    answer = gateway.client.post(SEGMENT, files=named, data=data)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert answer.json()["error"]["param"] == field
