"""Video data sets in their official formats, a few records each. `more` is appended to every free text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.unit.data.media import HEIGHT, WIDTH, save, save_frames, save_video, write, write_json
from tests.unit.data.official_images import Writer

LENGTH = 16
"""Frames of a sequence."""


def webvid_files(prefix: str) -> Writer:
    """Return a writer of WebVid 2M or 10M."""

    def write_files(root: Path, more: str = "") -> None:
        save_video(root / "videos/017/1066674784.mp4", LENGTH)
        rows = [
            f'1066674784,https://x/1066674784.mp4,PT00H00M12S,017,"Cars, at night{more}"',
            "21179416,https://x/21179416.mp4,PT00H00M11S,017,Gone from the web",
            "4160950,https://x/4160950.mp4,PT00H00M30S,,Without a folder",
        ]
        write(root / f"{prefix}_train.csv", "\n".join(["videoid,contentUrl,duration,page_dir,name", *rows]) + "\n")

    return write_files


def activitynet_qa(root: Path, more: str = "") -> None:
    save_video(root / "videos/v_TIEzvhv6xaI.mp4", LENGTH)
    asked = [("TIEzvhv6xaI", f"is the athlete indoor {more}"), ("gone", "is it dark")]
    questions = [{"video_name": v, "question": q, "question_id": f"v_{v}_2"} for v, q in asked]
    write_json(root / "train_q.json", questions)
    answers = [{"answer": f"yes{more}", "type": 3, "question_id": f"v_{v}_2"} for v, _ in reversed(asked)]
    write_json(root / "train_a.json", answers)


def lasot(root: Path, more: str = "") -> None:
    write(root / "training_set.txt", "airplane-2\n")
    write(root / "testing_set.txt", "airplane-1\n")
    folder = root / "airplane/airplane-2"
    save_frames(folder / "img", LENGTH)
    write(folder / "groundtruth.txt", moving())
    hidden = [int(6 <= n <= 8) for n in range(LENGTH)]
    write(folder / "full_occlusion.txt", ",".join(map(str, hidden)))
    write(folder / "out_of_view.txt", ",".join("1" if n == 9 else "0" for n in range(LENGTH)))
    write(folder / "nlp.txt", f"white airplane landing on ground{more}\n")


def moving(first: int = 0) -> str:
    """Return boxes of 8 x 6 pixels that move a pixel to the right in a frame, from column `first`, in row 6."""
    return "".join(f"{first + n},6,8,6\n" for n in range(LENGTH))


def got10k(root: Path, more: str = "") -> None:
    write(root / "train/list.txt", "GOT-10k_Train_000001\n")
    folder = root / "train/GOT-10k_Train_000001"
    save_frames(folder, LENGTH)
    write(folder / "groundtruth.txt", moving().replace(",6,8,6", ".0000,6.0000,8.0000,6.0000"))
    write(folder / "absence.label", "".join("1\n" if n < 3 else "0\n" for n in range(LENGTH)))
    write(folder / "cover.label", "8\n" * LENGTH)
    meta = ["[METAINFO]", "url: https://youtu.be/b0ZnfLI8YPw", "anno_fps: 10Hz", f"object_class: anteater{more}"]
    write(folder / "meta_info.ini", "\n".join([*meta, "motion_class: walking", "resolution: (1920, 1080)"]) + "\n")


def dancetrack(root: Path, more: str = "") -> None:
    # The second dancer is there in frames 5 to 12 only, counted from 1.
    second = [(n, 2, 16, 12, 8, 12, 1, 1, 1) for n in range(5, 13)]
    rows = [(n, 1, n, 6, 8, 6, 1, 1, 1) for n in range(1, LENGTH + 1)]
    mot_sequence(root / "train/dancetrack0001", [*rows, *second], digits=8)
    write(root / "train_seqmap.txt", "name\ndancetrack0001\n")


def mot16(root: Path, more: str = "") -> None:
    rows: list[tuple[float, ...]] = [
        *((n, 3, n, 7, 8, 6, 1, 1, 0.05 if n in (7, 8) else 0.9) for n in range(1, LENGTH + 1)),
        *((n, 4, 1, 1, 4, 4, 0, 1, 1) for n in range(1, LENGTH + 1)),  # to be ignored
        *((n, 5, 1, 1, 4, 4, 1, 7, 1) for n in range(1, LENGTH + 1)),  # a static person
    ]
    mot_sequence(root / "train/MOT16-02", rows, digits=6)


def mot_sequence(folder: Path, rows: Sequence[tuple[float, ...]], digits: int) -> None:
    """Write a sequence of the MOTChallenge layout."""
    save_frames(folder / "img1", LENGTH, digits=digits)
    write(folder / "gt/gt.txt", "".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows))
    info = {"name": folder.name, "imDir": "img1", "frameRate": 30, "seqLength": LENGTH, "imWidth": WIDTH,
            "imHeight": HEIGHT, "imExt": ".jpg"}  # fmt: skip
    write(folder / "seqinfo.ini", "[Sequence]\n" + "".join(f"{key}={value}\n" for key, value in info.items()))


def davis(root: Path, more: str = "") -> None:
    write(root / "ImageSets/2017/train.txt", "bear\n")
    write(root / "ImageSets/2017/val.txt", "camel\n")
    save_frames(root / "JPEGImages/480p/bear", LENGTH, first=0, digits=5)
    for number in range(LENGTH):
        indices = np.zeros((HEIGHT, WIDTH), np.uint8)
        if number < 12:
            indices[6:12, number : number + 8] = 1
        indices[20:24] = 2
        indices[0] = 255
        save(root / f"Annotations/480p/bear/{number:05d}.png", indices, mode="P")
    folder = root / "davis_text_annotations"
    for annotator in (1, 2):
        lines = f'bear 1 "a brown bear{more}"\nbear 2 "the caf\xe9 floor{more}"\ncamel 1 "a camel"\n'
        for part in ("", "_full_video"):
            write(folder / f"Davis17_annot{annotator}{part}.txt", lines, "utf-8" if annotator == 1 else "latin-1")


VIDEO_WRITERS: dict[str, Writer] = {
    "webvid": webvid_files("results_2M"),
    "webvid_10m": webvid_files("results_10M"),
    "activitynet_qa": activitynet_qa,
    "lasot": lasot,
    "got10k": got10k,
    "dancetrack": dancetrack,
    "mot16": mot16,
    "davis": davis,
}
