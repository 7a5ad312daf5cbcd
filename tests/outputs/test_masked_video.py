"""The masked video: the source's frames, times and size, and what its pixels show."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tiemcli.errors import ClipError, OutputError
from tiemcli.outputs import masked_video
from tiemcli.outputs.atomic import replacing
from tiemcli.outputs.masked_video import record as encode
from tiemcli.outputs.masked_video import write
from tiemcli.outputs.painting import LINE, mix
from tiemcli.video import Timeline, iterate, scan

STYLES = ["mask", "overlay", "heat", "side-by-side"]
COLOUR = (180, 90, 60)
# Luma of BT.601, which OpenCV's gray is.
GRAY = 0.299 * COLOUR[0] + 0.587 * COLOUR[1] + 0.114 * COLOUR[2]


def record(
    path: Path,
    shape: tuple[int, int],
    pts: Sequence[int],
    *,
    rate: Fraction | int = 10,
    turn: int = 0,
    aspect: Fraction | None = None,
) -> Timeline:
    """A clip of one colour, with one frame at each of `pts` (in 1 / rate)."""
    codec, pix_fmt = ("png", "rgb24") if path.suffix == ".mov" else ("ffv1", "bgr0")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = shape
        stream.pix_fmt = pix_fmt
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn:
            stream.set_display_rotation(turn)
        for stamp in pts:
            frame = av.VideoFrame.from_ndarray(np.full((*shape, 3), COLOUR, np.uint8))
            frame.pts, frame.time_base = stamp, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return scan(path)


def frames_of(path: Path) -> np.ndarray:
    """(frames, H, W, 3) float of what was written."""
    return np.stack(list(iterate(scan(path)))).astype(float)


CLIPS = {
    "plain": ("a.mkv", (48, 64), range(9), 10, 0),
    "film rate": ("a.mov", (48, 64), range(9), Fraction(30000, 1001), 0),
    "variable rate": ("a.mov", (48, 64), (3, 4, 8, 9, 30, 31), 25, 0),
    "odd size": ("a.mkv", (47, 63), range(5), 10, 0),
    "turned": ("a.mov", (48, 70), range(5), 10, 90),
    "one pixel": ("a.mkv", (1, 1), range(3), 1, 0),
    "one frame": ("a.mkv", (48, 64), range(1), 10, 0),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("clip", CLIPS)
def test_it_has_the_sources_frames_times_and_size(tmp_path: Path, clip: str, style: str) -> None:
    """As many frames, each at its time, of the same size but for a pixel that makes it even."""
    name, shape, pts, rate, turn = CLIPS[clip]
    source = record(tmp_path / name, shape, pts, rate=rate, turn=turn)
    path = tmp_path / "out.mp4"
    sampled = [0, 0, source.frames // 2, source.frames - 1]
    keep = np.linspace(0, 1, 4 * 14 * 14, dtype=np.float32).reshape(4, 14, 14)
    write(path, source, sampled, keep, style=style, importance=np.array([0.1, 0.4, 0.3, -0.1]))

    written = scan(path)
    assert written.damaged == ""
    assert written.frames == source.frames == len(pts)
    np.testing.assert_allclose(written.timestamps, source.timestamps, atol=1e-9)
    if clip != "variable rate":
        assert float(written.fps) == pytest.approx(float(source.fps), rel=1e-6)
    width = source.width * (2 if style == "side-by-side" else 1)
    assert (written.width, written.height) == (width + width % 2, source.height + source.height % 2)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [name, "out.mp4"]


def test_it_is_what_a_browser_plays(tmp_path: Path) -> None:
    """H.264 yuv420p, BT.709 limited, its index ahead of its frames, its length the source's."""
    source = record(tmp_path / "a.mov", (48, 64), range(20), aspect=Fraction(4, 3))
    path = tmp_path / "out.mp4"
    write(path, source, [5], np.ones((1, 4, 4), np.float32))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.color_primaries, stream.color_trc, stream.colorspace) == (1, 1, 1)
        assert stream.color_range == 1
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        assert stream.duration * stream.time_base == 2
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_mask_keeps_the_kept_and_darkens_the_rest(tmp_path: Path) -> None:
    """Kept pixels are the source's; the others are gray at 15 % of their light."""
    source = record(tmp_path / "a.mkv", (64, 64), range(5))
    keep = np.zeros((2, 32, 32), np.float32)
    keep[:, :, :16] = 1
    write(tmp_path / "out.mp4", source, [1, 3], keep)
    frames = frames_of(tmp_path / "out.mp4")
    np.testing.assert_allclose(frames[:, :, 4:26], np.broadcast_to(COLOUR, (5, 64, 22, 3)), atol=4)
    np.testing.assert_allclose(frames[:, :, 38:60], 0.15 * GRAY, atol=4)
    across = frames[2, 32, 26:38].mean(-1)
    assert (np.diff(across) <= 2).all(), "the edge goes from light to dark without a ring"


def test_a_blend_is_the_weighted_mean_of_every_pixel() -> None:
    """Of a frame too large to be blended at once too, and outside of what is kept as it was."""
    random = np.random.default_rng(0)
    under, over = random.integers(0, 256, (2, 1200, 1000, 3), np.uint8)
    share = random.integers(0, 256, (1200, 1000), np.uint8)
    share[:30], share[:, 900:] = 0, 0
    weight = share[..., None] / 255
    expected = over * weight + under * (1 - weight)
    np.testing.assert_allclose(mix(under.copy(), over, share), expected, atol=1)


def test_images_are_encoded_as_they_come(tmp_path: Path) -> None:
    """One for each frame of the clip, at its time."""
    source = record(tmp_path / "a.mov", (32, 32), (0, 1, 5))
    images = [np.full((32, 32, 3), level, np.uint8) for level in (200, 100, 30)]
    encode(tmp_path / "out.mp4", source, iter(images))
    np.testing.assert_allclose(scan(tmp_path / "out.mp4").timestamps, source.timestamps, atol=1e-9)
    levels = frames_of(tmp_path / "out.mp4")[:, 16, 16]
    np.testing.assert_allclose(levels.mean(-1), (200, 100, 30), atol=4)


def test_the_mask_is_linear_between_sampled_frames_and_held_outside(tmp_path: Path) -> None:
    """By time, not by index: halfway in time between all and nothing, half is kept."""
    source = record(tmp_path / "a.mov", (32, 32), (0, 1, 2, 3, 8, 12, 13, 14))
    keep = np.stack([np.full((4, 4), share, np.float32) for share in (1, 0)])
    write(tmp_path / "out.mp4", source, [2, 5], keep)
    levels = frames_of(tmp_path / "out.mp4")[:, 16, 16]
    shares = np.array([1, 1, 1, 0.9, 0.4, 0, 0, 0])[:, None]
    np.testing.assert_allclose(levels, shares * COLOUR + (1 - shares) * 0.15 * GRAY, atol=4)


def test_a_frame_sampled_twice_shows_the_mean_of_its_masks(tmp_path: Path) -> None:
    """The last frame of a short clip fills several places."""
    source = record(tmp_path / "a.mkv", (32, 32), range(3))
    keep = np.stack([np.full((4, 4), share, np.float32) for share in (0, 0, 1, 1, 1)])
    write(tmp_path / "out.mp4", source, [0, 2, 2, 2, 2], keep)
    expected = 0.75 * np.array(COLOUR) + 0.25 * 0.15 * GRAY
    np.testing.assert_allclose(frames_of(tmp_path / "out.mp4")[2, 16, 16], expected, atol=4)


@pytest.mark.parametrize("view", [(16, 8, 32, 32), (-20, 0, 60, 40), (40, 20, 60, 40)])
def test_nothing_is_kept_outside_of_the_view(
    tmp_path: Path, view: tuple[int, int, int, int]
) -> None:
    """A view inside the source, or one that reaches over its edge, is lit to its very border."""
    source = record(tmp_path / "a.mkv", (48, 64), range(2))
    write(tmp_path / "out.mp4", source, [0], np.ones((1, 7, 7), np.float32), view=view)
    left, top, width, height = view
    inside = np.zeros((48, 64), bool)
    inside[max(top, 0) : top + height, max(left, 0) : left + width] = True
    image = frames_of(tmp_path / "out.mp4")[0].mean(-1)
    bright, dark = np.mean(COLOUR), 0.15 * GRAY
    middle = (bright + dark) / 2
    np.testing.assert_array_equal(image > middle, inside)


def disc(size: int) -> np.ndarray:
    """(1, size, size) float32: a disc of half the width in the middle."""
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    return (np.hypot(x, y) < size / 4).astype(np.float32)[None]


@pytest.mark.parametrize("size", [64, 320])
def test_overlay_outlines_and_tints(tmp_path: Path, size: int) -> None:
    """Inside: the source, yellower; outside: the source, a little darker; between: a line."""
    source = record(tmp_path / "a.mkv", (size, size), range(2))
    write(tmp_path / "out.mp4", source, [0], disc(size), style="overlay")
    image = frames_of(tmp_path / "out.mp4")[1]
    middle, line = size // 2, np.array(LINE)
    np.testing.assert_allclose(image[middle, middle], 0.82 * np.array(COLOUR) + 0.18 * line, atol=6)
    np.testing.assert_allclose(image[2, 2], 0.8 * np.array(COLOUR), atol=6)
    row = image[middle, : middle - size // 8]
    distance = np.abs(row - line).max(-1)
    assert distance.min() < 60
    assert abs(int(distance.argmin()) - size // 4) <= max(size // 64, 2)


def test_heat_is_hot_where_kept(tmp_path: Path) -> None:
    """Brighter with `keep` throughout, and gray where nothing is kept."""
    source = record(tmp_path / "a.mkv", (64, 64), range(2))
    ramp = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32), (1, 64, 64))
    write(tmp_path / "out.mp4", source, [0], ramp, style="heat")
    image = frames_of(tmp_path / "out.mp4")[1]
    light = image[32] @ [0.299, 0.587, 0.114]
    assert light[60] - light[4] > 90
    assert (np.diff(light[::8]) > 0).all()
    assert np.ptp(image[32, 2]) < 20
    assert image[32, 44, 0] - image[32, 44, 2] > 40


def test_side_by_side_is_the_source_and_the_mask(tmp_path: Path) -> None:
    """Left the source, whatever was kept; right the same as style "mask"."""
    source = record(tmp_path / "a.mkv", (64, 64), range(2))
    keep = np.zeros((1, 8, 8), np.float32)
    write(tmp_path / "out.mp4", source, [0], keep, style="side-by-side")
    image = frames_of(tmp_path / "out.mp4")[1]
    np.testing.assert_allclose(image[:, 4:60], np.broadcast_to(COLOUR, (64, 56, 3)), atol=4)
    np.testing.assert_allclose(image[:, 68:124], 0.15 * GRAY, atol=4)


def test_the_strip_draws_importance_over_time(tmp_path: Path) -> None:
    """It lies along the lower edge, is high where importance is, and leaves the rest alone."""
    source = record(tmp_path / "a.mkv", (128, 128), range(21))
    keep = np.zeros((3, 8, 8), np.float32)
    plain, drawn = tmp_path / "plain.mp4", tmp_path / "drawn.mp4"
    importance = np.array([0.0, 1.0, 0.0])
    write(plain, source, [0, 10, 20], keep, style="heat")
    write(drawn, source, [0, 10, 20], keep, style="heat", importance=importance)
    without, image = frames_of(plain)[-2], frames_of(drawn)[-2]
    np.testing.assert_allclose(image[:118], without[:118], atol=6)
    yellow = image[120:, :, 0] - image[120:, :, 2] > 60
    heights = yellow.sum(0)
    assert heights[60:68].min() >= 6
    assert heights[:6].max() <= 2
    write(drawn, source, [0, 10, 20], keep, style="mask", importance=importance)
    np.testing.assert_allclose(frames_of(drawn)[5], 0.15 * GRAY, atol=4)


def test_no_importance_at_all_is_an_empty_strip(tmp_path: Path) -> None:
    """All zeroes divide nothing by nothing, and nothing is drawn but the ground."""
    source = record(tmp_path / "a.mkv", (64, 64), range(2))
    keep = np.zeros((1, 8, 8), np.float32)
    write(tmp_path / "out.mp4", source, [0], keep, style="heat", importance=np.zeros(1))
    strip = frames_of(tmp_path / "out.mp4")[0][-3:, 8:]
    assert (strip[..., 0] - strip[..., 2]).max() < 20


FULL_DISK = """
import resource, signal
from pathlib import Path
import numpy as np
from tiemcli.errors import OutputError
from tiemcli.outputs.masked_video import write
from tiemcli.video import scan

source = scan(Path("a.mkv"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    write(Path("out.mp4"), source, [0], np.random.default_rng(0).random((1, 64, 64), np.float32))
except OutputError as error:
    print(error.message, "|", error.hint)
"""


def test_a_disk_that_fills_up_is_an_output_error(tmp_path: Path) -> None:
    """What was there before stays, and nothing else does. No file of the process, which is one of
    its own, can grow beyond 1500 bytes."""
    pytest.importorskip("resource")
    record(tmp_path / "a.mkv", (64, 64), range(30))
    (tmp_path / "out.mp4").write_text("the old one")
    command = [sys.executable, "-c", FULL_DISK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.match(r"out\.mp4 cannot be written: .*arge \| \w+", done.stdout)
    assert (tmp_path / "out.mp4").read_text() == "the old one"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.mkv", "out.mp4"]


@pytest.mark.parametrize("where", ["absent/out.mp4", "a.mkv/out.mp4", "folder", "x" * 300 + ".mp4"])
def test_a_path_that_cannot_be_written_is_an_output_error(tmp_path: Path, where: str) -> None:
    """No folder, a file for a folder, a folder for a file, a name that is too long."""
    source = record(tmp_path / "a.mkv", (16, 16), range(2))
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write(tmp_path / where, source, [0], np.ones((1, 2, 2), np.float32))
    assert caught.value.hint
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.mkv", "folder"]


def test_a_source_that_breaks_halfway_is_a_clip_error(tmp_path: Path) -> None:
    """The fault is the clip's, not the disk's, and no half of a video remains."""
    source = record(tmp_path / "a.mkv", (16, 16), range(9))
    record(tmp_path / "a.mkv", (16, 16), range(4))
    with pytest.raises(ClipError):
        write(tmp_path / "out.mp4", source, [0], np.ones((1, 2, 2), np.float32))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mkv"]


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control-C in the middle of the video passes through, after the removal."""
    source = record(tmp_path / "a.mkv", (16, 16), range(9))

    def interrupted(timeline: Timeline) -> Iterator[np.ndarray]:
        for index, frame in enumerate(iterate(timeline)):
            if index == 5:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(masked_video, "iterate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out.mp4", source, [0], np.ones((1, 2, 2), np.float32))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mkv"]


def test_replacing_renames_only_what_is_complete(tmp_path: Path) -> None:
    """Until the body has ended the old file stands; a bug in the body keeps its own exception."""
    path = tmp_path / "a.tiem.json"
    path.write_text("old")
    with replacing(path) as part:
        assert part.parent == tmp_path
        assert part.suffix == ".json"
        assert part.name.startswith(".")
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"

    def fail_halfway() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tiem.json"]


def test_a_real_clip_can_be_masked(tmp_path: Path, bikes: Path) -> None:
    """Where everything is kept, the masked video is the clip, but for its compression."""
    source = scan(bikes)
    write(tmp_path / "out.mp4", source, [0, 249], np.ones((2, 7, 7), np.float32))
    errors = []
    for before, after in zip(iterate(source), iterate(scan(tmp_path / "out.mp4")), strict=True):
        errors.append(np.square(before[::4, ::4].astype(float) - after[::4, ::4]).mean())
    assert 10 * np.log10(255**2 / np.mean(errors)) > 32


@pytest.mark.shared
@pytest.mark.slow
def test_every_odd_clip_can_be_masked(tmp_path: Path, shared_data: Path) -> None:
    """Damaged, turned, of variable rate, of one pixel: frame for frame at the source's times."""
    done = 0
    for path in sorted((shared_data / "robust").iterdir()):
        try:
            source = scan(path)
        except ClipError:
            continue
        target = tmp_path / f"{path.stem}.mp4"
        write(target, source, [0], disc(28), style="overlay")
        written = scan(target)
        assert written.frames == source.frames, path.name
        np.testing.assert_allclose(
            written.timestamps, source.timestamps, atol=1e-9, err_msg=path.name
        )
        done += 1
    assert done == 28
