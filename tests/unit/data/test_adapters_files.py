"""What readers share: decoding videos frame by frame, choosing frames, boxes, and pickles that cannot run code."""

from __future__ import annotations

import pickle
import wave
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.data.media import HEIGHT, WIDTH, numbers_of, picture, save, save_video
from train.data.adapters import _pickle
from train.data.adapters._boxes import clip_corners, xywh_box
from train.data.adapters._dataset import Opening
from train.data.adapters._frames import frame_paths, read_sequence, uniform
from train.data.adapters._video import read_frames
from vitron.types import check_box


@given(st.integers(1, 500), st.integers(1, 40))
def test_frames_are_spread_evenly_from_the_first_to_the_last(count: int, num_frames: int) -> None:
    numbers = uniform(count, num_frames)
    assert len(numbers) == min(count, num_frames)
    assert numbers[0] == 0
    assert numbers[-1] == (count - 1 if len(numbers) > 1 else 0)
    steps = np.diff(numbers)
    assert not len(steps) or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4")])
def test_numbers_of_frames_are_exact_for_every_codec(name: str, codec: str, tmp_path: Path) -> None:
    save_video(tmp_path / name, 17, codec)
    assert numbers_of(read_frames(tmp_path / name, None).clip) == list(range(17))
    frames = read_frames(tmp_path / name, 5)
    assert numbers_of(frames.clip) == frames.numbers.tolist() == [0, 4, 8, 12, 16]
    assert frames.clip.shape == (5, HEIGHT, WIDTH, 3)


def test_a_video_shorter_than_the_clip_gives_all_its_frames(tmp_path: Path) -> None:
    save_video(tmp_path / "a.mp4", 3)
    assert read_frames(tmp_path / "a.mp4", 8).numbers.tolist() == [0, 1, 2]


def test_broken_videos_and_files_without_a_video_stream_are_errors(tmp_path: Path) -> None:
    save_video(tmp_path / "a.mp4", 12)
    data = (tmp_path / "a.mp4").read_bytes()
    for name, content in {"cut.mp4": data[: len(data) // 2], "empty.mp4": b"", "sound.wav": _silence()}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            read_frames(tmp_path / name, 4)
    with pytest.raises(FileNotFoundError):
        read_frames(tmp_path / "none.mp4", 4)


def _silence() -> bytes:
    buffer = BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
)
def test_the_rotation_that_a_phone_writes_is_applied(matrix: tuple[int, ...], turns: int, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    sketch = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    sketch[:8, :8] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(sketch, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    # The display matrix of a track: a, b, u, c, d, v, x, y, w; a to d as 16.16 fixed point.
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 65536 for value in matrix)
    values = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(bytes(data))
    clip = read_frames(path, None).clip
    expected = np.rot90(sketch, turns)
    assert clip[0].shape == expected.shape
    assert np.abs(clip[0].astype(int) - expected.astype(int)).mean() < 4


def test_frames_of_a_folder_are_in_the_order_of_their_names_and_of_one_size(tmp_path: Path) -> None:
    opening = Opening(name="x", root=tmp_path, split="s", task="t", home="http://x")
    for number in (2, 10, 1):
        save(tmp_path / f"{number:05d}.png", picture(number))
    paths = frame_paths(opening, tmp_path)
    assert [path.stem for path in paths] == ["00001", "00002", "00010"]
    assert np.array_equal(read_sequence(opening, paths, np.array([0, 2])).clip, [picture(1), picture(10)])
    save(tmp_path / "00011.png", picture(0, 5, 5))
    with pytest.raises(ValueError, match=r"00011\.png: got \(5, 5\) pixels, expected \(24, 32\)"):
        read_sequence(opening, frame_paths(opening, tmp_path), np.array([0, 3]))
    with pytest.raises(ValueError, match="got no frames"):
        (tmp_path / "empty").mkdir()
        frame_paths(opening, tmp_path / "empty")


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), st.integers(1, 4000), st.integers(1, 4000))
def test_boxes_are_cut_to_the_picture_or_refused(corners: list[float], width: int, height: int) -> None:
    box = clip_corners(corners, width, height)
    if box is not None:
        check_box(box)
        assert box[0] < box[2] and box[1] < box[3]


def test_boxes_of_corner_and_size_are_exact_and_errors_name_their_place() -> None:
    assert xywh_box([8, 6, 8, 6], 32, 24, "here") == (0.25, 0.25, 0.5, 0.5)
    with pytest.raises(ValueError, match=r"here: got box \(40, 6, 48, 12\), expected corners"):
        xywh_box([40, 6, 8, 6], 32, 24, "here")
    assert clip_corners([0, 0, float("nan"), 1], 32, 24) is None


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_plain_pickles_are_read_with_their_numbers(protocol: int, tmp_path: Path) -> None:
    content = {"a": [1, 2.5, "text", None, True], "b": (np.int64(7), np.float32(0.5)), "c": {1, 2}}
    (tmp_path / "x.p").write_bytes(pickle.dumps(content, protocol=protocol))
    loaded = _pickle.load(tmp_path / "x.p")
    assert loaded == {"a": [1, 2.5, "text", None, True], "b": (7, 0.5), "c": {1, 2}}
    assert type(loaded["b"][0]) is int


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    # {'sent': 'caf\xe9', 'id': 5L} with text as bytes, as Python 2 writes it with protocol 2.
    (tmp_path / "x.p").write_bytes(b"\x80\x02}q\x00(U\x04sentq\x01U\x04caf\xe9q\x02U\x02idq\x03\x8a\x01\x05u.")
    assert _pickle.load(tmp_path / "x.p") == {"sent": "caf\xe9", "id": 5}


class _Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "content",
    [_Call(eval, "1"), _Call(getattr, "x", "upper"), _Call(np.dtype, "O"), _Call(print, "x"), np.zeros(3), Path("x")],
)
def test_pickles_that_call_functions_are_refused(content: object, tmp_path: Path) -> None:
    (tmp_path / "x.p").write_bytes(pickle.dumps([content]))
    with pytest.raises(ValueError, match=r"x\.p: not a pickle of plain data"):
        _pickle.load(tmp_path / "x.p")


@pytest.mark.parametrize("data", [b"", b"\x80\x02}q\x00(U", b"hello", b"\x80\x05\x95"])
def test_broken_pickles_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.p").write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.p: not a pickle of plain data"):
        _pickle.load(tmp_path / "x.p")


def test_an_opening_refuses_negative_seeds_and_empty_clips(tmp_path: Path) -> None:
    for wrong in ({"seed": -1}, {"num_frames": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: got"):
            Opening(name="x", root=tmp_path, split="s", task="t", home="http://x", **wrong)
