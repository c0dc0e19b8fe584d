"""Videos as bytes: what is read, what is refused, and what is written."""

from __future__ import annotations

import pickle
from io import BytesIO

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from vitron.media import MediaError, parse_data_url
from vitron.video import VideoLimits, decode_clip, encode_mp4, probe

Frames = npt.NDArray[np.uint8]


def moving(count: int = 12, height: int = 48, width: int = 64) -> Frames:
    """A red block that goes to the right by four pixels a frame."""
    frames = np.full((count, height, width, 3), (20, 40, 200), np.uint8)
    for t in range(count):
        frames[t, height // 4 : height // 2, 4 * t : 4 * t + 12] = (250, 30, 30)
    return frames


def webm(frames: Frames) -> bytes:
    buffer = BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=8)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def gif(frames: Frames) -> bytes:
    buffer, pictures = BytesIO(), [PillowImage.fromarray(frame) for frame in frames]
    pictures[0].save(buffer, format="GIF", save_all=True, append_images=pictures[1:], duration=100)
    return buffer.getvalue()


FILES = {"mp4": encode_mp4(moving()), "webm": webm(moving()), "gif": gif(moving())}


@pytest.mark.parametrize("name", FILES)
def test_what_is_encoded_is_decoded_again(name: str) -> None:
    info, clip = probe(FILES[name]), decode_clip(FILES[name])
    assert info[:4] == (name, 64, 48, 12)
    assert clip.frames.dtype == np.uint8 and clip.frames.shape == (12, 48, 64, 3)
    assert clip.numbers == tuple(range(12)) and 7 < clip.fps < 11
    assert np.abs(clip.frames.astype(int) - moving()).mean() < 3


@pytest.mark.parametrize("name", FILES)
def test_frames_are_spread_over_the_video_and_keep_their_numbers(name: str) -> None:
    whole, some = decode_clip(FILES[name]), decode_clip(FILES[name], max_frames=4, keep=(5,))
    assert some.numbers == (0, 5, 7, 11)
    assert np.array_equal(some.frames, whole.frames[list(some.numbers)])


def test_the_index_comes_first_and_browsers_can_play_it() -> None:
    data = FILES["mp4"]
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(BytesIO(data)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize(("height", "width"), [(48, 63), (47, 64), (33, 35), (1, 1)])
def test_odd_sides_are_made_even_by_repeating_the_edge(height: int, width: int) -> None:
    frames = moving(3, 48, 64)[:, :height, :width]
    clip = decode_clip(encode_mp4(frames, fps=12.5))
    assert clip.frames.shape == (3, height + height % 2, width + width % 2, 3)
    assert clip.fps == pytest.approx(12.5)
    assert np.abs(clip.frames[:, :height, :width].astype(int) - frames).mean() < 4


def test_one_frame_is_a_video_too() -> None:
    assert decode_clip(encode_mp4(moving(1))).frames.shape == (1, 48, 64, 3)


def test_a_film_that_was_taken_sideways_is_turned() -> None:
    data = bytearray(FILES["mp4"])
    matrix = data.index(b"tkhd") + 44
    quarter = (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)  # show it turned clockwise
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter)
    turned, plain = decode_clip(bytes(data)), decode_clip(FILES["mp4"])
    assert turned.frames.shape == (12, 64, 48, 3)
    assert np.array_equal(turned.frames, np.rot90(plain.frames, -1, axes=(1, 2)))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8, 0.97])
def test_a_file_that_is_cut_off_is_refused(name: str, share: float) -> None:
    data = FILES[name][: int(share * len(FILES[name]))]
    with pytest.raises(MediaError) as caught:
        decode_clip(data)
    assert caught.value.status in (400, 415)


@pytest.mark.parametrize("name", FILES)
def test_damage_gives_an_error_or_frames_but_never_anything_else(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        data = bytearray(FILES[name])
        for _ in range(int(rng.integers(1, 12))):
            data[int(rng.integers(4, len(data)))] = int(rng.integers(256))
        try:
            clip = decode_clip(bytes(data))
        except MediaError as error:
            assert error.status in (400, 413, 415) and error.message.startswith("video: ")
        else:
            assert clip.frames.ndim == 4


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"hello, I am a video",
        b"<?xml version='1.0'?><MPD></MPD>",
    ],
)
def test_formats_that_are_not_listed_are_never_opened(data: bytes) -> None:
    with pytest.raises(MediaError) as caught:
        decode_clip(data)
    assert (caught.value.status, caught.value.code) == (415, "video_unsupported")


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0\x18ftypmp42" + bytes(500), b"GIF89a" + b"\xff" * 4 + bytes(20) + b";", b"\x1aE\xdf\xa3" + bytes(300)],
)
def test_headers_without_a_video_are_broken(data: bytes) -> None:
    with pytest.raises(MediaError) as caught:
        decode_clip(data)
    assert caught.value.status == 400


def test_formats_can_be_narrowed() -> None:
    with pytest.raises(MediaError, match="expected mp4"):
        decode_clip(FILES["gif"], VideoLimits(formats=("mp4",)))
    with pytest.raises(ValueError, match="formats"):
        VideoLimits(formats=("avi",))
    with pytest.raises(ValueError, match="max_frames: got 0"):
        VideoLimits(max_frames=0)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (VideoLimits(max_bytes=100), "video_too_large"),
        (VideoLimits(max_pixels=64 * 48 - 1), "video_too_many_pixels"),
        (VideoLimits(max_frames=11), "video_too_long"),
        (VideoLimits(max_seconds=1.0), "video_too_long"),
        (VideoLimits(max_decoded_bytes=12 * 64 * 48 * 3 - 1), "video_too_many_pixels"),
    ],
)
def test_every_limit_holds_for_every_format(name: str, limits: VideoLimits, code: str) -> None:
    with pytest.raises(MediaError) as caught:
        decode_clip(FILES[name], limits)
    assert (caught.value.status, caught.value.code) == (413, code)


def test_a_limit_that_is_just_reached_is_no_hindrance() -> None:
    limits = VideoLimits(
        max_bytes=len(FILES["mp4"]), max_pixels=64 * 48, max_frames=12, max_seconds=1.5, max_decoded_bytes=12 * 9216
    )
    assert len(decode_clip(FILES["mp4"], limits).frames) == 12


def test_a_small_file_of_huge_pictures_is_refused_before_it_is_decoded() -> None:
    bomb = encode_mp4(np.zeros((2, 2160, 3840, 3), np.uint8))
    assert len(bomb) < 20_000
    with pytest.raises(MediaError) as caught:
        decode_clip(bomb, VideoLimits(max_pixels=1920 * 1080))
    assert caught.value.code == "video_too_many_pixels"


def test_a_header_that_understates_the_size_does_not_help() -> None:
    # The container says 64 x 48; the pictures in it are larger.
    large = bytearray(encode_mp4(moving(3, 480, 640)))
    at = large.index(b"tkhd") + 80
    large[at : at + 8] = (64 << 16).to_bytes(4, "big") + (48 << 16).to_bytes(4, "big")
    with pytest.raises(MediaError) as caught:
        decode_clip(bytes(large), VideoLimits(max_pixels=64 * 48))
    assert caught.value.code == "video_too_many_pixels"


def test_a_frame_that_is_not_there_cannot_be_kept() -> None:
    with pytest.raises(MediaError, match="12 frames, no frame 12"):
        decode_clip(FILES["mp4"], keep=(12,))


def test_an_empty_file_and_sound_alone_are_refused() -> None:
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for data, code in ((b"", "video_empty"), (buffer.getvalue(), "video_broken")):
        with pytest.raises(MediaError) as caught:
            decode_clip(data)
        assert caught.value.code == code


def test_errors_survive_a_process_boundary() -> None:
    with pytest.raises(MediaError) as caught:
        decode_clip(FILES["mp4"], VideoLimits(max_frames=3))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.status, again.code, again.message) == (413, "video_too_long", caught.value.message)


def test_a_video_may_come_as_a_data_url() -> None:
    import base64

    url = "data:video/mp4;base64," + base64.b64encode(FILES["mp4"]).decode()
    assert parse_data_url(url, VideoLimits()).data == FILES["mp4"]
    with pytest.raises(MediaError):
        parse_data_url(url, VideoLimits(max_bytes=50))


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(ValueError, match="frames: got"):
        encode_mp4(moving()[0])
    with pytest.raises(ValueError, match="fps, crf"):
        encode_mp4(moving(), fps=0)
    with pytest.raises(ValueError, match="fps, crf"):
        encode_mp4(moving(), crf=60)
