"""Picture data sets in their official formats, a few records each. `more` is appended to every free text."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.unit.data.media import HEIGHT, WIDTH, encoded, picture, save, save_video, write, write_json, write_tar

Writer = Callable[[Path, str], None]
SQUARE = [[8.0, 6.0, 16.0, 6.0, 16.0, 12.0, 8.0, 12.0]]
"""A polygon: columns 8 to 15 and rows 6 to 11 of 24 x 32."""
RUNS = [0, 24, 744]
"""An RLE: the first column."""


def llava(root: Path, more: str = "") -> None:
    save(root / "photos/7.jpg", picture(7))
    save_video(root / "clips/8.mp4", 8)
    said = [("human", f"<image>\nWhat is\nthis <region>?{more}"), ("gpt", f"A clock.{more}")]
    asked = [("human", f"Mask the bag. <video>{more}"), ("gpt", "Sure. <module>E</module> <instruction>segmentation: bag</instruction>")]  # fmt: skip # noqa: E501
    records: list[dict[str, Any]] = [
        {"id": "a", "image": "photos/7.jpg", "bbox": [8, 6, 16, 12], "conversations": _turns(said)},
        {"id": "a", "video": "clips/8.mp4", "conversations": _turns(asked)},
        {"id": "b", "conversations": _turns([("gpt", "Hi."), ("human", f"2 + 2?{more}"), ("gpt", f"4{more}")])},
    ]
    write_json(root / "train.json", records)


def _turns(said: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"from": role, "value": value} for role, value in said]


def cc3m(root: Path, more: str = "") -> None:
    names = ("GCC_train_000000001", "GCC_train_000000002")
    for seed, name in enumerate(names):
        save(root / f"train/images/{name}.jpg", picture(seed))
    asks = {names[0]: "Provide a brief description.\n<image>", names[1]: "<image>\nWhat is this?"}
    said = {name: _turns([("human", ask), ("gpt", f"photo of {name[-1]}{more}")]) for name, ask in asks.items()}
    chat = [{"id": name, "image": f"{name}.jpg", "conversations": turns} for name, turns in said.items()]
    write_json(root / "train/chat.json", chat)


def laion(root: Path, more: str = "") -> None:
    members: dict[str, bytes] = {}
    for seed, name in enumerate(("000000000", "000000003")):
        members |= {f"{name}.jpg": encoded(picture(seed), "JPEG"), f"{name}.json": b'{"url": "http://x"}'}
        members[f"{name}.txt"] = f"caption {seed}{more}".encode()
    write_tar(root / "00000.tar", members)
    (root / "00000.parquet").write_bytes(b"PAR1")


def coco(root: Path, more: str = "") -> None:
    images = [{"id": id, "file_name": f"{id:012d}.jpg", "height": HEIGHT, "width": WIDTH} for id in (9, 25)]
    for image in images:
        save(root / "train2017" / str(image["file_name"]), picture(int(str(image["id"]))))
    captions = [(1, 9, "A cat on a mat."), (2, 9, "A sleeping cat."), (3, 25, "Two giraffes.")]
    said = [{"id": id, "image_id": image, "caption": text + more} for id, image, text in captions]
    write_json(root / "annotations/captions_train2017.json", {"images": images, "annotations": said})
    write_json(root / "annotations/instances_train2017.json", instances(images, more))


def instances(images: list[dict[str, Any]], more: str = "") -> dict[str, Any]:
    first, *others = [image["id"] for image in images]
    things: list[dict[str, Any]] = [
        {"id": 50, "image_id": first, "category_id": 17, "bbox": [8, 6, 8, 6], "segmentation": SQUARE, "iscrowd": 0},
        {"id": 51, "image_id": first, "category_id": 17, "bbox": [0, 0, 1, 24], "iscrowd": 1,
         "segmentation": {"size": [HEIGHT, WIDTH], "counts": RUNS}},
    ]  # fmt: skip
    things += [{**things[0], "id": 52, "image_id": id, "category_id": 25} for id in others]
    categories = [{"id": 17, "name": f"cat{more}"}, {"id": 25, "name": f"giraffe{more}"}]
    return {"images": images, "annotations": things, "categories": categories}


def refcoco_files(name: str) -> Writer:
    """Return a writer of one of the pickled sets."""
    folder, _, provider = name.partition("_")
    split_by = provider or ("umd" if folder == "refcocog" else "unc")

    def write_files(root: Path, more: str = "") -> None:
        image = {"id": 4, "file_name": "COCO_train2014_000000000004.jpg", "height": HEIGHT, "width": WIDTH}
        save(root / "images/mscoco/images/train2014" / str(image["file_name"]), picture(4))
        write_json(root / folder / "instances.json", instances([image], more))
        sents = [{"sent_id": 1, "sent": f"left cat{more}"}, {"sent_id": 2, "sent": f"gray one{more}"}]
        refs = [
            {"ref_id": 1, "ann_id": 50, "image_id": 4, "split": "train", "sentences": sents, "category_id": 17},
            {"ref_id": 2, "ann_id": 51, "image_id": 4, "split": "val", "sentences": sents[:1], "category_id": 17},
        ]
        # Protocol 2 and a NumPy number, as Python 2 wrote them.
        refs[0]["ann_id"] = np.int64(50)
        (root / folder / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=2))

    return write_files


def grefcoco(root: Path, more: str = "") -> None:
    refcoco_files("grefcoco")(root, more)
    sentences = ("both cats", "a dog", "cat")
    refs = [
        {"ref_id": id, "image_id": 4, "ann_id": ids, "split": "train", "sentences": [{"sent": text + more}]}
        for id, (ids, text) in enumerate(zip(([50, 51], [-1], [50]), sentences, strict=True))
    ]
    write_json(root / "grefcoco/grefs(unc).json", refs)


def flickr30k_entities(root: Path, more: str = "") -> None:
    write(root / "train.txt", "100\n")
    save(root / "flickr30k-images/100.jpg", picture(100))
    marked = "[/EN#1/people Two young guys] with [/EN#0/other hair] pet [/EN#2/animals/other a dog] ."
    write(root / "Sentences/100.txt", f"{marked}{more}\nNobody at all .{more}\n")
    boxes = "".join(_object(chain, box) for chain, box in (("1", (9, 7, 17, 13)), ("1", (1, 1, 5, 5)), ("2", (4, 4, 4, 9))))  # fmt: skip # noqa: E501
    scene = "<object><name>0</name><scene>1</scene><nobndbox>0</nobndbox></object>"
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    write(root / "Annotations/100.xml", f"<annotation>{size}{boxes}{scene}</annotation>")


def _object(chain: str, box: tuple[int, int, int, int]) -> str:
    sides = "".join(f"<{n}>{v}</{n}>" for n, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{chain}</name><bndbox>{sides}</bndbox></object>"


def visual_genome(root: Path, more: str = "") -> None:
    url, sizes = "https://cs.stanford.edu/people/rak248", {"width": WIDTH, "height": HEIGHT}
    images = [{"image_id": id, "url": f"{url}/{place}/{id}.jpg", **sizes} for id, place in ((1, "VG_100K_2"), (1592, "VG_100K"))]  # fmt: skip # noqa: E501
    save(root / "VG_100K_2/1.jpg", picture(1))
    write_json(root / "image_data.json", images)
    box, flat = {"x": 8, "y": 6, "width": 8, "height": 6}, {"x": 40, "y": 6, "width": 8, "height": 6}
    regions = [{"region_id": id, "image_id": 1, "phrase": f"a clock{more}", **at} for id, at in ((11, box), (12, flat))]
    broken = [{"region_id": 13, "image_id": 1592, "phrase": "x", **box}]
    write_json(root / "region_descriptions.json", [{"id": 1, "regions": regions}, {"id": 1592, "regions": broken}])
    at = {"x": -1, "y": 0, "w": 9, "h": 24}
    things = [{"object_id": id, "names": [name + more], **place} for id, name, place in (
        (21, "tree", at), (22, "Tree", {"x": 16, "y": 12, "w": 16, "h": 12}), (23, "sky", at))]  # fmt: skip
    write_json(root / "objects.json", [{"image_id": 1, "objects": things}])


def okvqa(root: Path, more: str = "") -> None:
    save(root / "train2014/COCO_train2014_000000000051.jpg", picture(51))
    question = {"image_id": 51, "question": f"What sport is it{more}", "question_id": 510}
    write_json(root / "OpenEnded_mscoco_train2014_questions.json", {"questions": [question]})
    given = ["race", "motocross", "ride", "motocross", "race", "race", "moto", "bike", "race", "ride"]
    answers = [{"answer_id": n + 1, "raw_answer": "racing", "answer": text + more} for n, text in enumerate(given)]
    record = {"image_id": 51, "question_id": 510, "answers": answers, "answer_type": "other", "confidence": 3}
    write_json(root / "mscoco_train2014_annotations.json", {"annotations": [record]})


def gqa(root: Path, more: str = "") -> None:
    save(root / "images/2354786.jpg", picture(23))
    box = {"x": 8, "y": 6, "w": 8, "h": 6, "attributes": [], "relations": []}
    objects = {"10": {"name": f"chair{more}", **box}, "11": {"name": f"table{more}", **box, "x": 16}}
    graph = {"width": WIDTH, "height": HEIGHT, "objects": objects}
    write_json(root / "train_sceneGraphs.json", {"2354786": graph})
    links = {"question": {"12": "11", "2:4": "10"}, "answer": {"0": "11"}, "fullAnswer": {}}
    base = {"imageId": "2354786", "isBalanced": True, "fullAnswer": "The chair."}
    questions = {
        "0715": {
            **base,
            "question": f"Is the brown chair left of the table?{more}",
            "answer": f"yes{more}",
            "annotations": links,
        },
        "0716": {
            **base,
            "question": f"Is it dark?{more}",
            "answer": "no",
            "annotations": {"question": {}, "answer": {}},
        },
    }
    write_json(root / "train_balanced_questions.json", questions)


def magicbrush(root: Path, more: str = "") -> None:
    folder = root / "train/images/139306"
    save(folder / "139306-input.png", picture(1))
    for turn in (1, 2):
        erased = np.dstack([picture(1, 48, 64), np.full((48, 64), 255, np.uint8)])
        erased[12:24, 16:32, 3] = 0
        save(folder / f"139306-mask{turn}.png", erased)
        save(folder / f"139306-output{turn}.png", picture(turn + 1))
    files = [("139306-input.png", 1), ("139306-output1.png", 2)]
    turns = [
        {
            "input": name,
            "mask": f"139306-mask{n}.png",
            "output": f"139306-output{n}.png",
            "instruction": f"add cat {n}{more}",
        }
        for name, n in files
    ]
    write_json(root / "train/edit_sessions.json", {"139306": turns})


def gray_mask(path: Path) -> None:
    """Write a mask as a gray picture: white in the left half."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, : WIDTH // 2] = 255
    Image.fromarray(mask).save(path)


IMAGE_WRITERS: dict[str, Writer] = {
    "llava": llava,
    "cc3m": cc3m,
    "laion": laion,
    "coco": coco,
    **{name: refcoco_files(name) for name in ("refcoco", "refcoco+", "refcocog", "refcoco_google", "refcocog_google")},
    "grefcoco": grefcoco,
    "flickr30k_entities": flickr30k_entities,
    "visual_genome": visual_genome,
    "okvqa": okvqa,
    "gqa": gqa,
    "magicbrush": magicbrush,
}
