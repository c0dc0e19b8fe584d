"""Video data sets: tracks, spans, masks, captions and answers are those of the official files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data import official_videos as official
from tests.unit.data.media import HEIGHT, WIDTH, load, numbers_of, save, save_video, write
from train.data.sample import Sample
from train.data.sources import open_source


def rows(sample: Sample) -> list[tuple[float, ...]]:
    """Return the boxes of a track in pixels, rounded to hundredths."""
    scale = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    return [tuple(round(float(v) * s, 2) for v, s in zip(row, scale, strict=True)) for row in sample.target["track"]]


def test_webvid_reads_captions_of_the_videos_that_are_there(tmp_path: Path) -> None:
    official.VIDEO_WRITERS["webvid"](tmp_path, "")
    source = open_source("webvid", tmp_path, "train", num_frames=4)
    assert len(source) == 1
    assert source.left_out == {"videos that are not there": 1, "rows without page_dir": 1}
    sample = source[0]
    assert sample.id == "webvid/video_caption/train/017/1066674784"
    assert sample.turns[0].text.startswith("<video>\n")
    assert sample.turns[1].text == "Cars, at night"
    assert sample.clips[0].shape == (4, HEIGHT, WIDTH, 3)
    assert numbers_of(sample.clips[0]) == sample.target["frame_numbers"].tolist() == [0, 5, 10, 15]


def test_webvid_makes_requests_for_videos_of_its_captions(tmp_path: Path) -> None:
    official.VIDEO_WRITERS["webvid_10m"](tmp_path, "")
    sample = open_source("webvid_10m", tmp_path, "train", task="video_generate", num_frames=None)[0]
    assert (
        "<Module>Video Generation</Module><Instruction>generation: Cars, at night</Instruction>" in sample.turns[1].text
    )
    assert sample.condition_text == "Cars, at night"
    assert not sample.clips
    assert numbers_of(sample.target["clip"]) == list(range(official.LENGTH))


def test_webvid_of_which_no_video_is_there_says_so(tmp_path: Path) -> None:
    official.VIDEO_WRITERS["webvid"](tmp_path, "")
    (tmp_path / "videos/017/1066674784.mp4").unlink()
    with pytest.raises(ValueError, match="left out: 2 videos that are not there"):
        open_source("webvid", tmp_path, "train")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("page_dir,name", "page_dir,caption", "expected name, page_dir, videoid"),
        (',"Cars, at night"', "", "line 2: got name = None"),
        ("1066674784,https", "../1066674784,https", "line 2: got the file name"),
    ],
)
def test_malformed_rows_of_webvid_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    official.VIDEO_WRITERS["webvid"](tmp_path, "")
    path = tmp_path / "results_2M_train.csv"
    assert old in path.read_text()
    write(path, path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"results_2M_train\.csv: .*{message}"):
        open_source("webvid", tmp_path, "train")


def test_activitynet_qa_joins_questions_answers_and_kinds(tmp_path: Path) -> None:
    official.activitynet_qa(tmp_path)
    source = open_source("activitynet_qa", tmp_path, "train")
    assert len(source) == 1
    assert source.left_out == {"questions about videos that are not there": 1}
    sample = source[0]
    assert sample.id == "activitynet_qa/video_qa/train/v_TIEzvhv6xaI_2"
    assert "is the athlete indoor?" in sample.turns[0].text
    assert sample.turns[1].text == sample.target["answer"] == "yes"
    assert sample.target["kind"] == "yes/no"
    assert numbers_of(sample.clips[0]) == [0, 2, 4, 6, 9, 11, 13, 15]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("train_a.json", '"type": 3', '"type": 9', r"train_a\.json: \[0\]: got type = 9, expected 0 to 8"),
        ("train_a.json", '"v_gone_2"', '"v_other_2"', r"train_q\.json: \[1\]: got question_id = 'v_gone_2'"),
        ("train_q.json", '"question": "is it dark"', '"question": ""', r"^$"),
    ],
)
def test_malformed_records_of_activitynet_qa_are_named(
    file: str, old: str, new: str, message: str, tmp_path: Path
) -> None:
    official.activitynet_qa(tmp_path)
    path = tmp_path / file
    assert old in path.read_text()
    write(path, path.read_text().replace(old, new))
    if message == "^$":  # nobody asks about a video that is gone
        assert len(open_source("activitynet_qa", tmp_path, "train")) == 1
        return
    with pytest.raises(ValueError, match=message):
        open_source("activitynet_qa", tmp_path, "train")


def test_lasot_tracks_by_a_sentence_in_runs_of_visible_frames(tmp_path: Path) -> None:
    official.lasot(tmp_path)
    sample = open_source("lasot", tmp_path, "train", num_frames=None)[0]
    assert sample.id == "lasot/video_grounding/train/airplane-2"
    assert "white airplane landing on ground" in sample.turns[0].text
    # Occluded in 6 to 8, out of view in 9; a pixel to the right in every frame.
    assert sample.target["spans"] == ((0, 5), (10, 15))
    assert rows(sample)[5] == (5, 6, 13, 12)
    assert not any(sample.target["track"][n].any() for n in (6, 7, 8, 9))
    assert sample.turns[1].text == "(0.00, 0.25, 0.25, 0.50 | 0, 5), (0.31, 0.25, 0.56, 0.50 | 10, 15)"
    assert numbers_of(sample.clips[0]) == list(range(official.LENGTH))


def test_frames_of_an_answer_are_those_of_the_clip(tmp_path: Path) -> None:
    official.lasot(tmp_path)
    sample = open_source("lasot", tmp_path, "train", num_frames=4)[0]
    assert sample.target["frame_numbers"].tolist() == [0, 5, 10, 15]
    assert sample.target["spans"] == ((0, 3),)
    assert rows(sample) == [(0, 6, 8, 12), (5, 6, 13, 12), (10, 6, 18, 12), (15, 6, 23, 12)]


def test_lasot_marks_the_object_in_its_first_frame(tmp_path: Path) -> None:
    official.lasot(tmp_path)
    sample = open_source("lasot", tmp_path, "train", task="video_grounding_mark")[0]
    assert sample.turns[0].text.count("<region>") == 1
    assert "airplane" not in sample.turns[0].text
    assert sample.target["mark_frame"] == 0
    expected = np.zeros((HEIGHT, WIDTH), np.bool_)
    expected[6:12, 0:8] = True
    assert np.array_equal(sample.marks[0][1], expected)


def test_lasot_captions_are_grounded_in_its_class(tmp_path: Path) -> None:
    official.lasot(tmp_path)
    sample = open_source("lasot", tmp_path, "train", task="video_grounded_caption", num_frames=4)[0]
    assert sample.turns[1].text == "white airplane landing on ground. airplane: (0.00, 0.25, 0.25, 0.50 | 0, 3)"
    assert sample.target["labels"] == ("airplane",)
    assert sample.target["spans"] == (((0, 3),),)
    assert sample.target["tracks"][0].shape == (4, 4)


def test_got10k_leaves_frames_out_in_which_the_object_is_absent(tmp_path: Path) -> None:
    official.got10k(tmp_path)
    sample = open_source("got10k", tmp_path, "train", num_frames=None)[0]
    assert "the anteater" in sample.turns[0].text
    assert sample.target["spans"] == ((3, 15),)
    assert rows(sample)[3] == (3, 6, 11, 12)
    marked = open_source("got10k", tmp_path, "train", task="video_grounding_mark", num_frames=None)[0]
    assert marked.target["mark_frame"] == 3
    assert np.flatnonzero(marked.marks[0][1].any(axis=0)).tolist() == list(range(3, 11))


def test_boxes_that_leave_the_picture_are_cut_and_then_not_seen(tmp_path: Path) -> None:
    official.got10k(tmp_path)
    write(tmp_path / "train/GOT-10k_Train_000001/groundtruth.txt", official.moving(first=20))
    sample = open_source("got10k", tmp_path, "train", num_frames=None)[0]
    # 24 pixels from the left the box begins to leave, from 32 it is gone.
    assert rows(sample)[8] == (28, 6, 32, 12)
    assert sample.target["spans"] == ((3, 11),)


def test_an_object_that_is_never_seen_is_an_error(tmp_path: Path) -> None:
    official.got10k(tmp_path)
    write(tmp_path / "train/GOT-10k_Train_000001/absence.label", "1\n" * official.LENGTH)
    with pytest.raises(ValueError, match="GOT-10k_Train_000001: got an object that is not seen"):
        open_source("got10k", tmp_path, "train")[0]


def test_mot16_counts_frames_and_pixels_from_one(tmp_path: Path) -> None:
    official.mot16(tmp_path)
    source = open_source("mot16", tmp_path, "train", num_frames=None)
    # A line of another class, or with flag 0, is nobody to be tracked.
    assert len(source) == 1
    sample = source[0]
    assert sample.id == "mot16/video_grounding_mark/train/MOT16-02/3"
    # Line "1,3,1,7,8,6": frame 0, columns 0 to 7, rows 6 to 11.
    assert rows(sample)[0] == (0, 6, 8, 12)
    assert rows(sample)[15] == (15, 6, 23, 12)
    # Hardly visible in frames 7 and 8, counted from one.
    assert sample.target["spans"] == ((0, 5), (8, 15))
    assert numbers_of(sample.clips[0]) == sample.target["frame_numbers"].tolist() == list(range(official.LENGTH))


def test_dancers_are_asked_for_in_a_window_around_their_life(tmp_path: Path) -> None:
    official.dancetrack(tmp_path)
    starts = set()
    for seed in range(12):
        sample = open_source("dancetrack", tmp_path, "train", seed=seed, num_frames=None)[1]
        assert sample.id == "dancetrack/video_grounding_mark/train/dancetrack0001/2"
        numbers = sample.target["frame_numbers"].tolist()
        assert numbers == list(range(numbers[0], numbers[-1] + 1)) == numbers_of(sample.clips[0])
        # Lines 5 to 12 are frames 4 to 11; the window reaches up to half a life beyond them.
        assert 0 <= numbers[0] <= 4 and 11 <= numbers[-1] <= 15
        first = 4 - numbers[0]
        assert sample.target["spans"] == ((first, first + 7),)
        assert sample.target["mark_frame"] == first
        assert rows(sample)[first] == (16, 12, 24, 24)
        starts.add(first)
    assert len(starts) > 2


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_a_person_is_in_the_clip_however_few_its_frames_are(num_frames: int, tmp_path: Path) -> None:
    # Seen in the first and in the last frame of a window only.
    rows_ = [(n, 1, 1, 1, 8, 6, 1, 1, 1) for n in (5, 12)]
    official.mot_sequence(tmp_path / "train/dancetrack0001", rows_, digits=8)
    for seed in range(8):
        sample = open_source("dancetrack", tmp_path, "train", seed=seed, num_frames=num_frames)[0]
        assert sample.target["track"].any()


def test_davis_masks_are_those_of_the_objects_number(tmp_path: Path) -> None:
    official.davis(tmp_path)
    source = open_source("davis", tmp_path, "train", num_frames=4)
    assert [source[index].id for index in range(len(source))] == [
        "davis/track_mark/train/bear/1",
        "davis/track_mark/train/bear/2",
    ]
    masks = source[0].target["masks"]
    assert masks.shape == (4, HEIGHT, WIDTH)
    for place, number in enumerate((0, 5, 10, 15)):
        expected = np.zeros((HEIGHT, WIDTH), np.bool_)
        if number < 12:
            expected[6:12, number : number + 8] = True
        assert np.array_equal(masks[place], expected)
    # 255 is undecided: it belongs to nobody.
    assert np.array_equal(np.flatnonzero(source[1].target["masks"][0].any(axis=1)), [20, 21, 22, 23])
    assert np.array_equal(source[0].marks[0][1], masks[0])
    assert source[0].target["mark_frame"] == 0
    assert source[0].target["spans"] == ((0, 2),)
    assert (
        source[0]
        .turns[1]
        .text.endswith(
            "<Instruction>segmentation: object</Instruction><Region>(0.00, 0.25, 0.25, 0.50 | 0, 2)</Region>"
        )
    )


def test_davis_expressions_of_both_annotators_name_the_objects(tmp_path: Path) -> None:
    official.davis(tmp_path)
    source = open_source("davis", tmp_path, "train", task="track_text")
    # Two objects in four files; camel is of another split.
    assert len(source) == 8
    assert source[0].condition_text == "a brown bear"
    assert {source[index].condition_text for index in (1, 3, 5, 7)} == {"the caf\xe9 floor"}
    assert source[5].id == "davis/track_text/train/bear/2/Davis17_annot2"
    assert not source[0].marks


Spoil = Callable[[Path], None]


def _add_frame(folder: Path) -> None:
    save(folder / "00000099.jpg", load(folder / "00000001.jpg"))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("lasot", lambda r: _add_frame(r / "airplane/airplane-2/img"),
         r"groundtruth\.txt: got 16 lines, expected one for each of 17 frames"),
        ("lasot", lambda r: write(r / "airplane/airplane-2/out_of_view.txt", "0,1"), r"out_of_view\.txt: got 2"),
        ("lasot", lambda r: write(r / "airplane/airplane-2/nlp.txt", " "), r"nlp\.txt: got an empty file"),
        ("lasot", lambda r: write(r / "training_set.txt", "../x-1\n"), "training_set.txt: got the file name"),
        ("lasot", lambda r: write(r / "airplane/airplane-2/groundtruth.txt", "1,2,3\n" * 16),
         r"groundtruth\.txt: got 3 columns, expected 4"),
        ("got10k", lambda r: write(r / "train/GOT-10k_Train_000001/absence.label", "2\n" * 16),
         r"absence\.label: got 16 numbers, expected 0 or 1"),
        ("got10k", lambda r: write(r / "train/GOT-10k_Train_000001/meta_info.ini", "[METAINFO]\nurl: x\n"),
         r"meta_info\.ini: got no object_class"),
        ("got10k", lambda r: write(r / "train/GOT-10k_Train_000001/meta_info.ini", "url: x\n"), r"meta_info\.ini: "),
        ("mot16", lambda r: write(r / "train/MOT16-02/gt/gt.txt", "17,1,1,1,8,6,1,1,1\n"),
         r"gt\.txt: line 1: got frame 17, expected 1 to 16"),
        ("mot16", lambda r: write(r / "train/MOT16-02/gt/gt.txt", "1,1,1,1,8,6,1,1,1\n" * 2),
         r"gt\.txt: got id 1 twice in a frame"),
        ("mot16", lambda r: write(r / "train/MOT16-02/gt/gt.txt", "1,1,x,1,8,6,1,1,1\n"), r"gt\.txt: could not"),
        ("mot16", lambda r: write(r / "train/MOT16-02/seqinfo.ini", "[Sequence]\nseqLength=none\n"),
         r"seqinfo\.ini: got seqLength = 'none'"),
        ("dancetrack", lambda r: (r / "train/dancetrack0001/img1/00000016.jpg").unlink(),
         "img1: got 15 frames, expected 16"),
        ("davis", lambda r: save(r / "Annotations/480p/bear/00000.png", load(r / "JPEGImages/480p/bear/00000.jpg")),
         r"00000\.png: got a picture of mode RGB"),
        ("davis", lambda r: save(r / "Annotations/480p/bear/00015.png", np.zeros((5, 5), np.uint8)),
         r"00015\.png: got \(5, 5\) pixels"),
        ("webvid", lambda r: write(r / "videos/017/1066674784.mp4", "no video"), r"1066674784\.mp4: cannot be decoded"),
    ],
)  # fmt: skip
def test_malformed_files_of_videos_are_named(name: str, spoil: Spoil, message: str, tmp_path: Path) -> None:
    official.VIDEO_WRITERS[name](tmp_path, "")
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_source(name, tmp_path, "train")[0]


def test_malformed_expressions_of_davis_are_named(tmp_path: Path) -> None:
    official.davis(tmp_path)
    write(tmp_path / "davis_text_annotations/Davis17_annot1.txt", 'bear 1 "a bear"\nbear one "x"\n')
    with pytest.raises(ValueError, match=r"Davis17_annot1\.txt: line 2: got"):
        open_source("davis", tmp_path, "train", task="track_text")


def test_a_missing_frame_annotation_says_what_is_expected(tmp_path: Path) -> None:
    official.davis(tmp_path)
    (tmp_path / "Annotations/480p/bear/00015.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"00015\.png; get it from https://davischallenge\.org"):
        open_source("davis", tmp_path, "train")[0]


def test_videos_of_other_containers_are_found(tmp_path: Path) -> None:
    official.activitynet_qa(tmp_path)
    (tmp_path / "videos/v_TIEzvhv6xaI.mp4").unlink()
    save_video(tmp_path / "videos/v_TIEzvhv6xaI.webm", official.LENGTH, codec="libvpx-vp9")
    sample = open_source("activitynet_qa", tmp_path, "train", num_frames=2)[0]
    assert numbers_of(sample.clips[0]) == [0, 15]
