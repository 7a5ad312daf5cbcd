"""The paper's pictures: that they show the numbers they are given, at a page's size."""

import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tiemcli.bench.paper.figures import (
    Regressor,
    areas_figure,
    curve_figure,
    importance_figure,
    masks_figure,
    whitebox_figure,
)
from tiemcli.errors import OutputError, UsageError
from tiemcli.temporal import TemporalImportance, time_importance

GREEN, RED, ACCENT, WHITE, DARK = (
    (0, 158, 115),
    (200, 16, 46),
    (224, 134, 0),
    (255, 255, 255),
    (44, 49, 56),
)
DROPS = {
    1: np.array([0.1, 0.2, 0.4, 0.0]),
    2: np.array([0.1, 0.5, 0.6]),
    3: np.array([0.6, 0.6]),
}
SIGNATURE = np.array([False, False, True, False])


def temporal() -> TemporalImportance:
    return time_importance(DROPS, 4, alpha=0.8)


def corner(frames: int = 16) -> np.ndarray:
    """The left upper quarter of each frame: (T, 32, 32)."""
    mask = np.zeros((frames, 32, 32), np.float32)
    mask[:, :16, :16] = 1
    return mask


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        assert opened.info["dpi"] == pytest.approx((300, 300), abs=0.5)
        return np.asarray(opened.convert("RGB"))


def like(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(image.astype(int) - colour).max(axis=-1) <= 3


def draw_whitebox(path: Path) -> None:
    truth = corner() > 0
    whitebox_figure(path, [Regressor("gentle", truth, {"step": corner(), "tiem": 1 - corner()})])


def draw_masks(path: Path) -> None:
    frames = np.full((4, 32, 32, 3), (60, 120, 180), np.uint8)
    masks_figure(path, frames, {"tiem": corner(4)}, SIGNATURE)


def draw_importance(path: Path) -> None:
    importance_figure(path, temporal(), SIGNATURE)


def draw_curves(path: Path) -> None:
    shares = np.linspace(0, 1, 5)
    curve_figure(path, {"tiem": (shares, shares**0.5, shares * 0), "random": (shares,) * 3})


def draw_areas(path: Path) -> None:
    areas_figure(path, np.array([0.01, 0.1, 0.4]), np.array([0.2, 0.7, 0.95]), 0.6)


DRAWN: list[Callable[[Path], None]] = [
    draw_whitebox,
    draw_masks,
    draw_importance,
    draw_curves,
    draw_areas,
]


@pytest.mark.parametrize("draw", DRAWN)
def test_a_figure_is_no_wider_than_a_page(tmp_path: Path, draw: Callable[[Path], None]) -> None:
    """Seven inches at most, and not empty."""
    draw(tmp_path / "a.png")
    image = pixels(tmp_path / "a.png")
    assert 600 <= image.shape[1] <= 2100
    assert 300 <= image.shape[0] <= 2400
    assert (image < 128).any()


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_numbers_make_the_same_file(
    tmp_path: Path, draw: Callable[[Path], None], suffix: str
) -> None:
    """Byte for byte, as PNG and as SVG, so that a figure in a repository changes only with what it
    shows."""
    path = tmp_path / f"a{suffix}"
    draw(path)
    first = path.read_bytes()
    draw(path)
    assert path.read_bytes() == first
    if suffix == ".svg":
        assert ElementTree.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("draw", DRAWN)
def test_without_matplotlib_the_user_is_told_what_to_install(
    tmp_path: Path, draw: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One error that names the file and the extra, and no file."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"a\.png needs matplotlib") as caught:
        draw(tmp_path / "a.png")
    assert caught.value.hint == "pip install 'tiem[figures]'"
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_an_error_of_the_user(tmp_path: Path) -> None:
    """A folder that is not there: one error that names the file."""
    with pytest.raises(OutputError, match="gone"):
        draw_areas(tmp_path / "gone" / "a.png")


def test_the_region_is_white_and_what_is_kept_is_green(tmp_path: Path) -> None:
    """Three blocks: the region without green; a mask that covers it, without white; and one that
    covers all else, in three times as much green."""
    draw_whitebox(tmp_path / "a.png")
    image = pixels(tmp_path / "a.png")
    ruled = like(image, (150, 150, 150))
    rows, columns = (np.flatnonzero(ruled.sum(axis=axis) > 40) for axis in (1, 0))
    rules = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    assert len(rules) == 15  # five a block
    blocks = [np.concatenate(rules[first : first + 5]) for first in (0, 5, 10)]
    shares = []
    for block in blocks:
        inside = image[rows[0] : rows[-1] + 1, block[0] : block[-1] + 1]
        shares.append([like(inside, colour).mean() for colour in (WHITE, GREEN, DARK)])
    (white, *none), (hidden, quarter, _), (again, most, dark) = shares
    assert none[0] == hidden == dark == 0
    assert white == pytest.approx(again, rel=0.05)
    assert quarter == pytest.approx(white, rel=0.05)
    assert most == pytest.approx(3 * quarter, rel=0.05)


def test_kept_regions_are_bright_and_signature_frames_red(tmp_path: Path) -> None:
    """The clip is bright all over, a method's block in the quarter that it keeps; in each block one
    frame of four has a red edge, the lower left one."""
    draw_masks(tmp_path / "a.png")
    image = pixels(tmp_path / "a.png")
    bright = like(image, (60, 120, 180))
    middle = image.shape[1] // 2
    assert bright[:, middle:].sum() == pytest.approx(bright[:, :middle].sum() / 4, rel=0.1)
    red = like(image, RED)
    for half in (red[:, :middle], red[:, middle:]):
        rows, columns = np.flatnonzero(half.any(axis=1)), np.flatnonzero(half.any(axis=0))
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=8)
        assert np.ptp(columns) < 0.3 * image.shape[1]
        assert rows[0] > image.shape[0] / 2
        assert columns[0] < middle / 2
    masks_figure(tmp_path / "b.png", np.zeros((4, 32, 32, 3), np.uint8), {"tiem": corner(4)})
    assert not like(pixels(tmp_path / "b.png"), RED).any()


def test_more_methods_stand_in_further_rows(tmp_path: Path) -> None:
    """Four blocks stand side by side; the fifth goes below."""
    frames = np.zeros((16, 32, 32, 3), np.uint8)
    heights = []
    for count in (3, 4):
        masks_figure(tmp_path / "a.png", frames, {str(n): corner() for n in range(count)})
        heights.append(pixels(tmp_path / "a.png").shape[0])
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)


def test_bars_are_as_high_as_the_frames_are_important(tmp_path: Path) -> None:
    """Four bars in order of time, in proportion; the signature frame alone has a red ground."""
    draw_importance(tmp_path / "a.png")
    image = pixels(tmp_path / "a.png")
    left = image[:, : image.shape[1] // 2]
    accent = like(left, ACCENT)
    columns = np.flatnonzero(accent.sum(axis=0) > 4)
    bars = np.split(columns, np.flatnonzero(np.diff(columns) > 10) + 1)
    heights = np.array([accent[:, bar[len(bar) // 2]].sum() for bar in bars])
    wanted = temporal().importance
    wanted = wanted[wanted > 0.02]
    # The broken line and the axis cross the bars.
    np.testing.assert_allclose(heights / heights.sum(), wanted / wanted.sum(), atol=0.02)
    ground = like(left, tuple(round(255 + 0.1 * (c - 255)) for c in RED))
    spans = np.flatnonzero(ground.sum(axis=0) > 40)  # more than letters have
    peak = bars[int(np.argmax(wanted))]
    assert spans[0] < peak[0] < peak[-1] < spans[-1]
    assert np.ptp(spans) < 1.5 * np.ptp(peak)


def test_windows_without_importance_are_drawn(tmp_path: Path) -> None:
    """A clip whose windows all say nothing has a chart as well."""
    flat = {size: np.zeros(5 - size) for size in (1, 2, 3)}
    importance_figure(tmp_path / "a.png", time_importance(flat, 4, alpha=0.8))
    assert not like(pixels(tmp_path / "a.png"), RED).any()


def test_the_smallest_area_that_is_enough_is_marked(tmp_path: Path) -> None:
    """A red line stands at the second of three areas; none where no score is enough."""
    draw_areas(tmp_path / "a.png")
    image = pixels(tmp_path / "a.png")
    line = np.flatnonzero(like(image, RED).sum(axis=0) > 0.6 * image.shape[0])
    dots = np.flatnonzero(like(image, ACCENT).any(axis=0))
    # Areas stand at their square roots: .1, .316 and .632.
    share = (line.mean() - dots[0]) / np.ptp(dots)
    assert share == pytest.approx((0.1**0.5 - 0.1) / (0.4**0.5 - 0.1), abs=0.02)
    areas_figure(tmp_path / "b.png", np.array([0.01, 0.1]), np.array([0.2, 0.5]), 0.6)
    assert not like(pixels(tmp_path / "b.png"), RED).any()


def test_chance_is_a_broken_gray_line(tmp_path: Path) -> None:
    """Nothing else is; every method has its own stroke, also of sixteen."""
    draw_curves(tmp_path / "a.svg")
    paths = [
        element.get("style", "")
        for element in ElementTree.parse(tmp_path / "a.svg").iter(
            "{http://www.w3.org/2000/svg}path"
        )
    ]
    broken = {style for style in paths if "stroke-dasharray" in style}
    assert broken
    assert all("#59636e" in style for style in broken)
    shares = np.linspace(0, 1, 5)
    curve_figure(tmp_path / "b.svg", {str(n): (shares, shares, shares) for n in range(16)})
    strokes = {
        element.get("style", "")
        for element in ElementTree.parse(tmp_path / "b.svg").iter(
            "{http://www.w3.org/2000/svg}path"
        )
        if "stroke-width: 1.6" in element.get("style", "")
    }
    assert len(strokes) == 16
