"""Picture data sets: what their official files say is what the samples hold."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.unit.data import official_images as official
from tests.unit.data.media import HEIGHT, WIDTH, encoded, load, picture, save, write, write_tar
from train.data.sources import open_source

SQUARE = np.zeros((HEIGHT, WIDTH), np.bool_)
SQUARE[6:12, 8:16] = True
COLUMN = np.zeros((HEIGHT, WIDTH), np.bool_)
COLUMN[:, 0] = True
BOX = (0.25, 0.25, 0.5, 0.5)
"""Columns 8 to 15 and rows 6 to 11."""


def change(path: Path, edit: Callable[[Any], object]) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_cc3m_reads_the_chat_file_of_llava(tmp_path: Path) -> None:
    official.cc3m(tmp_path)
    source = open_source("cc3m", tmp_path, "train")
    assert [sample.id for sample in (source[0], source[1])] == [
        "cc3m/caption/train/GCC_train_000000001",
        "cc3m/caption/train/GCC_train_000000002",
    ]
    sample = source[1]
    assert sample.turns[0].text.startswith("<image>\n")
    assert sample.turns[1].text == sample.target["answer"] == "photo of 2"
    assert np.array_equal(sample.images[0], load(tmp_path / "train/images/GCC_train_000000002.jpg"))


def test_cc3m_makes_requests_for_pictures_of_its_captions(tmp_path: Path) -> None:
    official.cc3m(tmp_path)
    sample = open_source("cc3m", tmp_path, "train", task="generate")[0]
    assert "photo of 1" in sample.turns[0].text
    assert sample.turns[1].text.endswith(
        "<Module>Image Generation</Module><Instruction>generation: photo of 1</Instruction>"
    )
    assert sample.condition_text == "photo of 1"
    assert not sample.images
    assert np.array_equal(sample.target["image"], load(tmp_path / "train/images/GCC_train_000000001.jpg"))


@pytest.mark.parametrize("name", ["cc3m", "laion"])
def test_folders_of_pairs_give_the_same_samples_as_shards(name: str, tmp_path: Path) -> None:
    inside = "validation" if name == "cc3m" else "."
    split = "validation" if name == "cc3m" else "train"
    official.laion(tmp_path / "shards" / inside)
    for seed, key in enumerate(("000000000", "000000003")):
        folder = tmp_path / "files" / inside / "00000"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{key}.jpg").write_bytes(encoded(picture(seed), "JPEG"))
        write(folder / f"{key}.txt", f"caption {seed}\n")
    shards, files = (open_source(name, tmp_path / kind, split, task="caption") for kind in ("shards", "files"))
    assert len(shards) == len(files) == 2
    for one, other in zip((shards[0], shards[1]), (files[0], files[1]), strict=True):
        assert one.id == other.id
        assert one.turns == other.turns
        assert np.array_equal(one.images[0], other.images[0])
    assert shards[1].target["answer"] == "caption 1"
    assert shards[1].id == f"{name}/caption/{split}/00000/000000003"


def test_pairs_with_an_empty_caption_are_left_out_and_counted(tmp_path: Path) -> None:
    jpeg = encoded(picture(0), "JPEG")
    write_tar(tmp_path / "00007.tar", {"a.jpg": jpeg, "a.txt": b"", "b.x.jpg": b"?", "b.jpg": jpeg, "b.txt": b"words"})
    source = open_source("laion", tmp_path, "train")
    assert len(source) == 1
    assert source.left_out == {"empty captions": 1}
    assert source[0].condition_text == "words"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.jpg": b"x"}, "a without its txt"),
        ({"a.txt": b"words"}, "a without its picture"),
        ({"a.jpg": b"no picture", "a.txt": b"words"}, r"00000.tar:a.jpg: image: format not recognised"),
        ({"a.jpg": b"x", "a.png": b"x", "a.txt": b"x"}, "a second picture"),
    ],
)
def test_shards_with_broken_pairs_are_refused(members: dict[str, bytes], message: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", members)
    with pytest.raises(ValueError, match=message):
        open_source("laion", tmp_path, "train")[0]


def test_a_shard_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    official.laion(tmp_path)
    data = (tmp_path / "00000.tar").read_bytes()
    (tmp_path / "00000.tar").write_bytes(data[:1000])
    with pytest.raises(ValueError, match=r"00000\.tar: not an uncompressed tar, or cut short"):
        open_source("laion", tmp_path, "train")


def test_coco_offers_all_captions_of_a_photo_as_references(tmp_path: Path) -> None:
    official.coco(tmp_path)
    source = open_source("coco", tmp_path, "train")
    assert len(source) == 2
    assert source[0].target["references"] == ("A cat on a mat.", "A sleeping cat.")
    assert source[0].target["answer"] in source[0].target["references"]
    assert source[1].target["references"] == ("Two giraffes.",)


def test_coco_segments_all_objects_of_a_category_from_polygons_and_run_lengths(tmp_path: Path) -> None:
    official.coco(tmp_path)
    sample = open_source("coco", tmp_path, "train", task="segment_text")[0]
    assert np.array_equal(sample.target["masks"][0], SQUARE)
    assert np.array_equal(sample.target["masks"][1], COLUMN)
    assert np.array_equal(sample.target["mask"], SQUARE | COLUMN)
    assert sample.target["box"] == (0.0, 0.0, 0.5, 1.0)
    assert "every cat" in sample.turns[0].text.lower()
    assert "<Instruction>segmentation: cat</Instruction>" in sample.turns[1].text


def test_refcoco_gives_one_sample_a_sentence_with_the_exact_box_and_mask(tmp_path: Path) -> None:
    official.refcoco_files("refcoco")(tmp_path, "")
    rec = open_source("refcoco", tmp_path, "train")
    assert [rec[index].id for index in range(len(rec))] == ["refcoco/rec/train/1/0", "refcoco/rec/train/1/1"]
    assert "left cat" in rec[0].turns[0].text
    assert rec[0].turns[1].text == "(0.25, 0.25, 0.50, 0.50)"
    assert rec[0].target["box"] == BOX
    segment = open_source("refcoco", tmp_path, "train", task="segment_text")[1]
    assert np.array_equal(segment.target["mask"], SQUARE)
    assert segment.condition_text == "gray one"
    assert "segmentation: cat<" in segment.turns[1].text
    caption = open_source("refcoco", tmp_path, "train", task="region_caption")
    assert len(caption) == 1
    assert caption[0].target["references"] == ("left cat", "gray one")
    assert caption[0].marks[0][0] == 0
    assert np.array_equal(caption[0].marks[0][1], SQUARE)


def test_refcoco_splits_are_those_of_the_refs(tmp_path: Path) -> None:
    official.refcoco_files("refcoco")(tmp_path, "")
    source = open_source("refcoco", tmp_path, "val")
    assert len(source) == 1
    assert source[0].target["box"] == (0.0, 0.0, 1 / 32, 1.0)
    with pytest.raises(ValueError, match="refcoco: no sample of split 'testA'"):
        open_source("refcoco", tmp_path, "testA")


def test_a_pickle_of_refs_that_runs_code_is_refused(tmp_path: Path) -> None:
    official.refcoco_files("refcoco")(tmp_path, "")

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (eval, ("open('/tmp/evil', 'w')",))

    (tmp_path / "refcoco/refs(unc).p").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: not a pickle of plain data \(it names builtins\.eval"):
        open_source("refcoco", tmp_path, "train")


def test_grefcoco_expressions_mean_several_objects_or_none(tmp_path: Path) -> None:
    official.grefcoco(tmp_path)
    rec = open_source("grefcoco", tmp_path, "train")
    assert rec[0].target["boxes"] == (BOX, (0.0, 0.0, 1 / 32, 1.0))
    assert rec[0].turns[1].text == "(0.25, 0.25, 0.50, 0.50), (0.00, 0.00, 0.03, 1.00)"
    assert rec[1].target["boxes"] == ()
    assert rec[1].target["box"] is None
    assert "(" not in rec[1].turns[1].text
    segment = open_source("grefcoco", tmp_path, "train", task="segment_text")
    assert np.array_equal(segment[0].target["mask"], SQUARE | COLUMN)
    assert not segment[1].turns[1].invokes
    assert not segment[1].target["mask"].any()


def test_flickr30k_links_phrases_to_their_boxes(tmp_path: Path) -> None:
    official.flickr30k_entities(tmp_path)
    source = open_source("flickr30k_entities", tmp_path, "train")
    assert len(source) == 1
    # The dog's box has no area: its phrase is a phrase without a box.
    assert source.left_out == {"boxes without an area": 1}
    sample = source[0]
    first, second = (9 / 32, 7 / 24, 17 / 32, 13 / 24), (1 / 32, 1 / 24, 5 / 32, 5 / 24)
    assert sample.target["boxes"] == (first, second)
    assert sample.target["labels"] == ("Two young guys", "Two young guys")
    assert sample.turns[1].text == (
        "Two young guys with hair pet a dog. "
        "Two young guys: (0.28, 0.29, 0.53, 0.54), Two young guys: (0.03, 0.04, 0.16, 0.21)"
    )
    rec = open_source("flickr30k_entities", tmp_path, "train", task="rec")
    assert len(rec) == 1
    assert rec[0].target["boxes"] == (first, second)
    caption = open_source("flickr30k_entities", tmp_path, "train", task="caption")[0]
    assert caption.target["references"] == ("Two young guys with hair pet a dog.", "Nobody at all.")


def test_visual_genome_marks_described_boxes(tmp_path: Path) -> None:
    official.visual_genome(tmp_path)
    source = open_source("visual_genome", tmp_path, "train")
    assert len(source) == 1
    assert source.left_out == {"boxes without an area": 1, "regions and objects of broken photos": 1}
    sample = source[0]
    assert sample.id == "visual_genome/region_caption/train/11"
    assert np.array_equal(sample.marks[0][1], SQUARE)
    assert sample.turns[1].text == "a clock"
    assert np.array_equal(sample.images[0], load(tmp_path / "VG_100K_2/1.jpg"))
    assert open_source("visual_genome", tmp_path, "train", task="rec")[0].target["box"] == BOX


def test_visual_genome_finds_all_objects_of_a_name(tmp_path: Path) -> None:
    official.visual_genome(tmp_path)
    source = open_source("visual_genome", tmp_path, "train", task="detect")
    assert [source[index].id.rpartition("/")[2] for index in range(len(source))] == ["tree", "sky"]
    # One begins a column outside its picture: it is cut to it.
    assert source[0].target["boxes"] == ((0.0, 0.0, 0.25, 1.0), (0.5, 0.5, 1.0, 1.0))
    assert source[0].turns[1].text == "(0.00, 0.00, 0.25, 1.00), (0.50, 0.50, 1.00, 1.00)"
    assert "tree" in source[0].turns[0].text.lower()


def test_okvqa_learns_the_most_frequent_of_ten_answers(tmp_path: Path) -> None:
    official.okvqa(tmp_path)
    sample = open_source("okvqa", tmp_path, "train")[0]
    assert sample.id == "okvqa/vqa/train/510"
    assert "What sport is it?" in sample.turns[0].text
    assert sample.turns[1].text == sample.target["answer"] == "race"
    assert len(sample.target["answers"]) == 10
    assert sample.target["answers"].count("motocross") == 2


def test_gqa_locates_the_objects_of_the_question_in_the_order_of_its_words(tmp_path: Path) -> None:
    official.gqa(tmp_path)
    plain = open_source("gqa", tmp_path, "train")
    assert len(plain) == 2
    assert plain[0].id == "gqa/vqa/train/0715"
    assert plain[0].turns[1].text == "yes"
    grounded = open_source("gqa", tmp_path, "train", task="grounded_vqa")
    assert len(grounded) == 1
    assert grounded.left_out == {"questions without a located object": 1}
    assert grounded[0].target["labels"] == ("chair", "table")
    assert grounded[0].target["boxes"] == (BOX, (0.5, 0.25, 0.75, 0.5))
    assert grounded[0].turns[1].text == (
        "chair: (0.25, 0.25, 0.50, 0.50), table: (0.50, 0.25, 0.75, 0.50), so the answer is yes."
    )


def test_gqa_has_no_scene_graphs_for_testdev(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split: got 'testdev' for grounded_vqa"):
        open_source("gqa", tmp_path, "testdev", task="grounded_vqa")


def test_magicbrush_edits_go_from_the_output_of_the_turn_before(tmp_path: Path) -> None:
    official.magicbrush(tmp_path)
    source = open_source("magicbrush", tmp_path, "train")
    assert [source[index].id.rpartition("train/")[2] for index in range(len(source))] == ["139306/0", "139306/1"]
    for number, sample in enumerate((source[0], source[1])):
        assert np.array_equal(sample.images[0], picture(1 if number == 0 else 2))
        assert np.array_equal(sample.target["image"], picture(number + 2))
        # The erased part, brought from 48 x 64 to the size of the input.
        assert np.array_equal(sample.target["editable"], SQUARE)
        assert sample.condition_text == f"add cat {number + 1}"
        assert f"<Module>Image Editing</Module><Instruction>edit: add cat {number + 1}<" in sample.turns[1].text


def test_magicbrush_takes_gray_masks_and_scales_outputs_of_other_sizes(tmp_path: Path) -> None:
    official.magicbrush(tmp_path)
    folder = tmp_path / "train/images/139306"
    official.gray_mask(folder / "139306-mask1.png")
    save(folder / "139306-output1.png", np.full((48, 64, 3), 77, np.uint8))
    sample = open_source("magicbrush", tmp_path, "train")[0]
    half: npt.NDArray[np.bool_] = np.zeros((HEIGHT, WIDTH), np.bool_)
    half[:, :16] = True
    assert np.array_equal(sample.target["editable"], half)
    assert np.array_equal(sample.target["image"], np.full((HEIGHT, WIDTH, 3), 77, np.uint8))


def test_magicbrush_refuses_outputs_of_other_proportions_and_masks_without_a_hole(tmp_path: Path) -> None:
    official.magicbrush(tmp_path)
    folder = tmp_path / "train/images/139306"
    save(folder / "139306-output1.png", picture(1, 40, 64))
    with pytest.raises(
        ValueError, match=r"139306-output1\.png: got 40 x 64 pixels, expected the proportions of 24 x 32"
    ):
        open_source("magicbrush", tmp_path, "train")[0]
    save(folder / "139306-output1.png", picture(1))
    save(folder / "139306-mask1.png", np.dstack([picture(1), np.full((HEIGHT, WIDTH), 255, np.uint8)]))
    with pytest.raises(ValueError, match=r"139306-mask1\.png: got nothing erased"):
        open_source("magicbrush", tmp_path, "train")[0]


@pytest.mark.parametrize(
    ("name", "task", "file", "edit", "message"),
    [
        ("cc3m", "caption", "train/chat.json", lambda c: c[1].pop("image"), r"\[1\]: got no image"),
        ("cc3m", "caption", "train/chat.json", lambda c: c[1].update(id=c[0]["id"]), r"\[1\]: got id .* a second time"),
        ("cc3m", "caption", "train/chat.json", lambda c: c[0].update(image="../x.jpg"), r"\[0\]: got the file name"),
        ("coco", "caption", "annotations/captions_train2017.json", lambda c: c["annotations"][2].update(image_id=1),
         r"annotations\[2\]: got image_id = 1"),
        ("coco", "segment_text", "annotations/instances_train2017.json",
         lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), r"annotations\[0\] .*: got a polygon of 3"),
        ("coco", "segment_text", "annotations/instances_train2017.json",
         lambda c: c["annotations"][1]["segmentation"].update(counts=[0, 24]), r"annotations\[1\] .* RLE of 24"),
        ("coco", "segment_text", "annotations/instances_train2017.json",
         lambda c: c["annotations"][0].pop("segmentation"), r"annotations\[0\]: got no segmentation"),
        ("coco", "caption", "annotations/captions_train2017.json", lambda c: c["images"][0].update(width=31),
         "got 24 x 32 pixels, expected 24 x 31, as its annotations say"),
        ("grefcoco", "rec", "grefcoco/grefs(unc).json", lambda c: c[0].update(ann_id=[50, 99]),
         r"refs\[0\]: got ann_id = \[50, 99\]"),
        ("visual_genome", "rec", "region_descriptions.json", lambda c: c[0]["regions"][0].update(x="8"),
         r"\[0\]: regions\[0\]: got x = '8', expected a number"),
        ("visual_genome", "rec", "region_descriptions.json", lambda c: c[0].update(id=5), r"\[0\]: got id = 5"),
        ("visual_genome", "detect", "objects.json", lambda c: c[0]["objects"][1].update(names=[]),
         r"\[0\]: objects\[1\]: got names = \[\]"),
        ("okvqa", "vqa", "mscoco_train2014_annotations.json", lambda c: c["annotations"][0]["answers"].pop(),
         r"annotations\[0\]: got 9 answers, expected 10"),
        ("okvqa", "vqa", "OpenEnded_mscoco_train2014_questions.json",
         lambda c: c["questions"].append(c["questions"][0]), r"questions\[1\]: got question_id = 510, .*once"),
        ("gqa", "vqa", "train_balanced_questions.json", lambda c: c["0716"].update(answer=""),
         "0716: got answer = '', expected text"),
        ("gqa", "grounded_vqa", "train_sceneGraphs.json", lambda c: c["2354786"]["objects"].pop("11"),
         "0715: scene graph: objects: got no 11"),
        ("magicbrush", "edit", "train/edit_sessions.json", lambda c: c["139306"][1].pop("mask"),
         r"139306\[1\]: got no mask"),
    ],
)  # fmt: skip
def test_malformed_records_are_named_with_their_file(
    name: str, task: str, file: str, edit: Callable[[Any], object], message: str, tmp_path: Path
) -> None:
    official.IMAGE_WRITERS[name](tmp_path, "")
    change(tmp_path / file, edit)
    with pytest.raises(ValueError, match=message) as raised:
        open_source(name, tmp_path, "train", task=task)[0]
    assert str(tmp_path) in str(raised.value)


def test_broken_json_and_broken_pictures_are_named(tmp_path: Path) -> None:
    official.coco(tmp_path)
    photo = tmp_path / "train2017/000000000009.jpg"
    photo.write_bytes(photo.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"000000000009\.jpg: image: cannot be decoded"):
        open_source("coco", tmp_path, "train")[0]
    write(tmp_path / "annotations/captions_train2017.json", '{"images": [')
    with pytest.raises(ValueError, match=r"captions_train2017\.json: not JSON"):
        open_source("coco", tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Sentences/100.txt", "[/EN#1/people ", "[/EN#1 ", r"100\.txt: line 1: got"),
        ("Annotations/100.xml", "<xmin>9<", "<xmin>nine<", r"100\.xml: got bndbox/xmin = 'nine', expected a number"),
        ("Annotations/100.xml", "</annotation>", "", r"100\.xml: not XML"),
    ],
)
def test_malformed_flickr30k_files_are_named(file: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    official.flickr30k_entities(tmp_path)
    path = tmp_path / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        open_source("flickr30k_entities", tmp_path, "train")[0]
