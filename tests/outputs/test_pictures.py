"""Contact sheet, animation and figure: what they show, and that it is in proportion."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tiemcli import video
from tiemcli.errors import OutputError
from tiemcli.facts import Facts
from tiemcli.model import load_model
from tiemcli.outputs.animation import thinned
from tiemcli.outputs.contact_sheet import columns_for
from tiemcli.outputs.figure import colour, ticks
from tiemcli.outputs.lettering import font, shortened
from tiemcli.outputs.pictures import write_gif, write_png, write_svg
from tiemcli.pipeline import Explanation, explain, read_clip
from tiemcli.scorers.network import load_network
from tiemcli.settings import Settings
from tiemcli.temporal import time_importance

COLOURS = [(200, 60, 60), (60, 200, 60), (60, 60, 200), (190, 60, 190)]
ACCENT = (224, 134, 0)
DROPS = {
    1: np.array([0.1, 0.2, 0.4, -0.1]),
    2: np.array([0.1, 0.5, 0.6]),
    3: np.array([0.6, 0.6]),
}
SVG = "{http://www.w3.org/2000/svg}"


def record(
    path: Path,
    frames: list[np.ndarray],
    rate: int = 2,
    aspect: Fraction | None = None,
) -> Path:
    """A clip whose pixels are exactly these."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.astype(np.uint8))))
        container.mux(stream.encode(None))
    return path


def flat(colour: tuple[int, int, int], shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.broadcast_to(np.array(colour), (*shape, 3))


@pytest.fixture
def made(tmp_path: Path, build_network: Callable[..., Path]) -> Callable[..., Explanation]:
    """A function from a clip to its explanation, whose every number but the score is known: the
    left half of four frames is kept, and the drops are DROPS."""
    network = load_network(load_model(build_network(), Facts(labels=list("abcde"))), "cpu", 1)

    def make(path: Path, sampled: tuple[int, ...] = (0, 1, 2, 3), **changes: Any) -> Explanation:
        settings = Settings(backend="finite-difference", queries=2)
        found = explain(read_clip(path, network.model, settings), network, settings)
        (mask,) = found.masks
        hard = np.zeros_like(mask.hard)
        hard[..., :8] = 1
        return replace(
            found,
            source=replace(found.source, sampled=sampled),
            evidence=replace(
                found.evidence,
                temporal=time_importance(DROPS, 4, alpha=0.8),
                masks=(replace(mask, hard=hard),),
            ),
            **changes,
        )

    return make


@pytest.fixture
def explanation(tmp_path: Path, made: Callable[..., Explanation]) -> Explanation:
    return made(record(tmp_path / "clip.mov", [flat(c) for c in COLOURS]))


def like(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(image.astype(int) - colour).max(axis=-1) <= 2


def test_the_sheet_shows_every_sampled_frame_in_order(
    tmp_path: Path, explanation: Explanation
) -> None:
    """Each frame is there once whole and once, below it, where it is kept; from left to right in
    order of time; the rest of the mask is dark and gray, and the paper white."""
    write_png(tmp_path / "sheet.png", explanation)
    with Image.open(tmp_path / "sheet.png") as opened:
        assert opened.info["dpi"] == pytest.approx((192, 192), abs=0.1)
        sheet = np.asarray(opened)
    assert (sheet[:8] == 255).all()
    assert (sheet[:, :8] == 255).all()
    lefts = []
    for shade in COLOURS:
        found = like(sheet, shade)
        rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
        left, top, width = columns[0], rows[0], np.ptp(columns) + 1
        height = round(width * 48 / 64)
        assert found[top : top + height, left : left + width].all()
        mask = sheet[top + height + 8 :][:height, left : left + width]
        kept = like(mask, shade)
        assert kept[:, : int(0.45 * width)].all()
        hidden = mask[:, int(0.55 * width) :]
        assert hidden.max() < 0.2 * max(shade)
        assert np.ptp(hidden, axis=-1).max() == 0
        lefts.append(left)
    assert lefts == sorted(set(lefts))


def test_the_bars_are_as_long_as_the_frames_are_important(
    tmp_path: Path, explanation: Explanation
) -> None:
    """The most important frame's bar is as wide as the frame, the others in proportion."""
    write_png(tmp_path / "sheet.png", explanation)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    importance = explanation.temporal.importance
    for shade, share in zip(COLOURS, importance, strict=True):
        columns = np.flatnonzero(like(sheet, shade).any(axis=0))
        under = sheet[sheet.shape[0] // 2 :, columns[0] : columns[-1] + 1]
        length = like(under, ACCENT).any(axis=0).sum()
        assert length == pytest.approx(share / importance.max() * len(columns), abs=3)


def test_a_frame_that_was_sampled_twice_stands_there_twice(
    tmp_path: Path, made: Callable[..., Explanation]
) -> None:
    """A clip shorter than the network's input is shown as the network sees it."""
    clip = record(tmp_path / "clip.mov", [flat(c) for c in COLOURS[:2]])
    write_png(tmp_path / "sheet.png", made(clip, (0, 0, 1, 1)))
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    top = np.flatnonzero(like(sheet, COLOURS[0]).any(axis=1))[0] + 4
    for shade in COLOURS[:2]:
        starts = np.diff(like(sheet[top], shade).astype(int)) == 1
        assert starts.sum() == 2


@given(count=st.integers(1, 200), aspect=st.floats(0.4, 3))
def test_bands_hold_all_frames_and_are_filled(count: int, aspect: float) -> None:
    """No column count leaves a band empty, and a page is at most as high as wide, or one band."""
    columns = columns_for(count, aspect)
    bands = -(-count // columns)
    assert (bands - 1) * columns < count <= bands * columns
    assert bands == 1 or columns * aspect > 3 * bands


def test_many_frames_wrap() -> None:
    """Four frames of 4:3 stand in one row, 16 in two, 64 in four."""
    assert [columns_for(count, 4 / 3) for count in (1, 4, 16, 64)] == [1, 4, 8, 16]


def test_the_animation_is_the_masked_clip(tmp_path: Path, explanation: Explanation) -> None:
    """Its frames are the source's, at their times, endlessly; what is kept has its colour."""
    write_gif(tmp_path / "clip.gif", explanation)
    timeline = video.scan(tmp_path / "clip.gif")
    np.testing.assert_allclose(timeline.timestamps, [0, 0.5, 1, 1.5], atol=0.011)
    for frame, shade in zip(video.iterate(timeline), COLOURS, strict=True):
        assert np.abs(frame[:, :28].astype(int) - shade).max() <= 10
        assert frame[:, 36:].max() < 0.2 * max(shade) + 5
    with Image.open(tmp_path / "clip.gif") as opened:
        assert (opened.info["loop"], opened.n_frames) == (0, 4)
        opened.seek(3)
        assert opened.info["duration"] == pytest.approx(500, abs=11)


def test_the_animation_is_small(tmp_path: Path, made: Callable[..., Explanation]) -> None:
    """A large clip of 30 frames a second is 480 pixels wide at 15, and lasts as long."""
    clip = record(tmp_path / "clip.mov", [flat(COLOURS[i % 4], (270, 960)) for i in range(30)], 30)
    write_gif(tmp_path / "clip.gif", made(clip))
    with Image.open(tmp_path / "clip.gif") as opened:
        assert (opened.size, opened.n_frames) == ((480, 135), 15)
        durations = []
        for index in range(15):
            opened.seek(index)
            durations.append(opened.info["duration"])
    assert sum(durations) == pytest.approx(1000, abs=11)


def test_noise_costs_nothing(tmp_path: Path, made: Callable[..., Explanation]) -> None:
    """A still picture with a little noise makes no more of a file than one without."""
    random = np.random.default_rng(0)
    sizes = []
    for name, noise in (("still", 0), ("noisy", 3)):
        frames = [flat((120, 130, 140), (96, 96)) + random.integers(0, noise + 1, (96, 96, 1))
                  for _ in range(12)]  # fmt: skip
        write_gif(tmp_path / f"{name}.gif", made(record(tmp_path / f"{name}.mov", frames, 10)))
        with av.open(tmp_path / f"{name}.gif") as container:
            sizes.append([packet.size for packet in container.demux() if packet.size])
    assert sum(sizes[1][1:]) <= sum(sizes[0][1:]) * 1.1


def test_wide_pixels_are_made_square(tmp_path: Path, made: Callable[..., Explanation]) -> None:
    """A clip whose pixels are twice as wide as high is shown twice as wide."""
    clip = record(tmp_path / "clip.mov", [flat(c) for c in COLOURS], aspect=Fraction(2))
    write_gif(tmp_path / "clip.gif", made(clip))
    assert Image.open(tmp_path / "clip.gif").size == (128, 48)


@given(
    steps=st.lists(st.floats(0.001, 3), min_size=1, max_size=300),
)
def test_frames_are_thinned_evenly(steps: list[float]) -> None:
    """The first is always there, none follows within a fifteenth of a second, 180 are enough."""
    times = np.concatenate([[0.0], np.cumsum(steps)])
    chosen = thinned(times)
    assert chosen[0] == 0
    assert len(chosen) <= 181
    assert (np.diff(times[chosen]) > 1 / 15 - 0.002).all()


def test_the_figure_has_a_bar_a_frame_and_a_cell_a_window(
    tmp_path: Path, explanation: Explanation
) -> None:
    """Bars are as high as their shares; a cell stands under its first frame; valid sizes have a
    dot; all is named for those who cannot see it, and nothing is fetched."""
    write_svg(tmp_path / "figure.svg", explanation)
    svg = ElementTree.parse(tmp_path / "figure.svg").getroot()
    temporal = explanation.temporal
    assert svg.get("role") == "img"
    named = {element.get("id") for element in svg}
    assert set((svg.get("aria-labelledby") or "").split()) <= named
    titled = [e for e in svg.iter(f"{SVG}rect") if e.find(f"{SVG}title") is not None]
    bars, cells = titled[:4], titled[4:]
    heights = np.array([float(bar.get("height", "")) for bar in bars])
    np.testing.assert_allclose(
        heights / heights.sum(), temporal.importance, atol=1e-3 * heights.sum()
    )
    assert len(cells) == sum(len(drop) for drop in DROPS.values())
    centres = [float(b.get("x", "")) + float(b.get("width", "")) / 2 for b in bars]
    wanted = [start for drop in DROPS.values() for start in range(len(drop))]
    for cell, start in zip(cells, wanted, strict=True):
        left = float(cell.get("x", ""))
        assert left < centres[start] < left + float(cell.get("width", ""))
    assert len(list(svg.iter(f"{SVG}circle"))) == sum(size.valid for size in temporal.windows)
    assert "http" not in (tmp_path / "figure.svg").read_text().replace(
        "http://www.w3.org/2000/svg", ""
    )


def test_a_figure_without_windows_is_the_chart_alone(
    tmp_path: Path, explanation: Explanation
) -> None:
    """Of a method that hides none it has its bars and times, and nothing of windows."""
    temporal = replace(explanation.temporal, windows=())
    evidence = replace(explanation.evidence, temporal=temporal)
    write_svg(tmp_path / "figure.svg", replace(explanation, evidence=evidence))
    svg = ElementTree.parse(tmp_path / "figure.svg").getroot()
    titled = [e for e in svg.iter(f"{SVG}rect") if e.find(f"{SVG}title") is not None]
    assert len(titled) == 4
    assert "window" not in (tmp_path / "figure.svg").read_text()
    _, _, _, height = map(float, (svg.get("viewBox") or "").split())
    lines = [float(text.get("y", "")) for text in svg.iter(f"{SVG}text")]
    assert height - 60 < max(lines) < height


def test_a_label_is_no_markup(tmp_path: Path, explanation: Explanation) -> None:
    """Whatever a class is called, the figure is well-formed and says it."""
    name = "<b> & \"Kanu\" 日本 'x'"
    model = replace(explanation.network.model, labels=(name,) * 5)
    renamed = replace(explanation, network=replace(explanation.network, model=model))
    write_svg(tmp_path / "figure.svg", renamed)
    write_png(tmp_path / "sheet.png", renamed)
    texts = [e.text or "" for e in ElementTree.parse(tmp_path / "figure.svg").iter(f"{SVG}text")]
    assert name in texts


@pytest.mark.parametrize("sign", [1, -1])
def test_more_is_darker(sign: int) -> None:
    """Also printed without colour: luma falls from white as the change of the score grows."""
    lumas = []
    for strength in np.linspace(0, 1, 41):
        red, green, blue = bytes.fromhex(colour(sign * float(strength))[1:])
        lumas.append(0.299 * red + 0.587 * green + 0.114 * blue)
    assert lumas[0] == pytest.approx(255)
    assert (np.diff(lumas) < 0).all()


@given(top=st.floats(1e-4, 1))
def test_ticks_are_few_and_round(top: float) -> None:
    """From 0 in equal steps of 1, 2 or 5 to the last that the chart reaches."""
    marks = ticks(top)
    assert marks[0] == 0
    assert 3 <= len(marks) <= 6
    assert marks[-1] <= top * (1 + 1e-6) < marks[-1] + marks[1] * (1 + 1e-6)
    assert f"{marks[1]:.0e}"[0] in "125"
    assert marks[1] == pytest.approx(float(f"{marks[1]:.0e}"))


@given(text=st.text(st.characters(codec="ascii", categories=["L", "N", "Zs"]), max_size=200))
def test_a_long_label_is_cut_to_fit(text: str) -> None:
    """It begins as it did and is no wider than its room; a short one stays whole."""
    face = font(text, 46)
    short = shortened(text, 46, 600)
    assert face.getlength(short) <= 600
    if short != text:
        assert text.startswith(short.removesuffix("..."))
        assert face.getlength(text) > 600


@pytest.mark.parametrize("write", [write_png, write_gif, write_svg])
def test_what_cannot_be_written_is_an_error_of_the_user(
    tmp_path: Path, explanation: Explanation, write: Callable[[Path, Explanation], None]
) -> None:
    """A folder that is not there: one error that names the file."""
    with pytest.raises(OutputError, match="gone"):
        write(tmp_path / "gone" / "picture", explanation)


@pytest.mark.parametrize(
    ("write", "name"), [(write_png, "a.png"), (write_svg, "a.svg"), (write_gif, "a.gif")]
)
def test_the_same_explanation_makes_the_same_picture(
    tmp_path: Path,
    explanation: Explanation,
    write: Callable[[Path, Explanation], None],
    name: str,
) -> None:
    """Byte for byte, so that a figure in a repository changes only with what it shows."""
    write(tmp_path / name, explanation)
    first = (tmp_path / name).read_bytes()
    write(tmp_path / name, explanation)
    assert (tmp_path / name).read_bytes() == first
